//! Differentiable tensor functions: each with its equations, a slow obvious `reference`, a CPU
//! path and the seam to its kernels (`src/launch/`, `kernels/*.cu`), to which tensors on a GPU go.
//!
//! candle's custom ops take at most three tensors and return one, have no saved activations and
//! no no-grad mode, and its `backward` adds every gradient to a fresh zero tensor. The functions
//! here need up to nine inputs, several outputs and recurrent states. So candle supplies tensors,
//! devices and storage, and differentiation is ours: a [`Tape`] of closures. An op computes its
//! outputs, keeps what its backward pass needs, and pushes one closure; a tape that is off records
//! nothing and keeps nothing. The references are written in candle's own differentiable functions,
//! so every gradient is checked against an implementation that shares no code with it.
//!
//! Results do not depend on the number of threads: reductions go over blocks of fixed size whose
//! partial sums are added in order.
//!
//! The recurrences of RWKV-6 and Mamba-2 run step by step, not in chunks. The chunked form (Yang et al.
//! 2024; Dao & Gu 2024, §6) exists to feed matrix units: chunks of L steps cost about 2·L·N multiply-adds
//! a token and head on top of the recurrence's own, and a decay per channel has to be split into factors
//! that stay finite. With the state in vector registers of float32 there is nothing to feed (`cargo bench --bench
//! training` shows what the two cost beside a step). On tiles of bfloat16 there would be: there the products of chunks of
//! 64 steps alone take a quarter (WKV-6) to two fifths (SSD) of the scans' time. The kernels run in chunks.
//!
//! To add an op: a file with the op, its `reference` and its `cases`, and a row in [`OPS`]; for a GPU a `.cu` file and
//! its host code in `src/launch/`, which `tests/kernels/` then puts through the same cases on any machine.

mod attention;
mod attention_blocks;
mod attention_brief;
mod attention_cache;
mod case;
mod convolution;
mod cross_entropy;
mod cross_entropy_brief;
mod data;
mod elementwise;
mod embedding;
mod fusion;
mod kept;
mod linear;
mod linear_brief;
mod matmul;
mod norm;
mod real;
mod row;
mod row_mix;
mod row_output;
mod scan;
mod ssd;
mod ssd_convolved;
mod ssd_scan;
mod stored;
mod table;
mod tape;
mod token_mix;
mod weights;
mod wkv6;
mod wkv6_head;

pub use crate::launch::Pointwise;
pub(crate) use crate::products::simd;
pub use attention::causal_attention;
pub use attention_cache::KeyValueCache;
pub use case::{Case, Normal, OpSpec};
pub use convolution::causal_conv_silu;
pub use cross_entropy::{linear_cross_entropy, token_losses};
pub use data::{Data, likeliest, on_cpu, on_two_workers, on_worker, to_vec_f64};
pub use elementwise::{add, gelu, relu_squared, sigmoid_product, split, tanh};
pub use embedding::embedding;
pub use fusion::gated_fusion;
pub use linear::{linear, linear_onto};
pub use norm::{gated_rms_norm, group_norm_gate, layer_norm, rms_norm};
pub use real::Real;
pub(crate) use real::dispatch_dtype;
pub use row::{FusionInputs, Normed, gelu_of_fusion, linear_of_norm};
pub use row_mix::{MixProducts, ShiftedRows, mix_products, shifted_rows};
pub use row_output::{GatedNorm, LayerOutput, layer_outputs};
pub use ssd::{SsdInputs, ssd};
pub use ssd_convolved::{ConvolvedSsd, SsdOutput, convolved_ssd};
pub use table::OPS;
pub use tape::{Consumed, Gradients, Tape, Var};
pub use token_mix::{MixWeights, lerp, low_rank_mix, token_shift};
pub use weights::Layout;
pub use wkv6::{Wkv6Inputs, wkv6};
pub use wkv6_head::{HeadsOutput, Wkv6Heads, wkv6_heads};
