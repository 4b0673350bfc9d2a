//! What no version of a case does without: the floor under its time.

use anyhow::{Result, bail};
use v5gate::device::Precision;

use super::cases::{Case, GENERATED, PREFILL, Size, config, find, ops::branches, precision};

/// Operations, and bytes that are read or written once.
pub struct Least {
    pub flops: f64,
    pub bytes: f64,
}

impl Least {
    /// Seconds, where so many TFLOP/s and TB/s are the most.
    pub fn seconds(&self, [product, copy]: [f64; 2]) -> f64 {
        (self.flops / product).max(self.bytes / copy) / 1e12
    }
}

/// Bytes of an activation.
fn element() -> f64 {
    if precision().on(v5gate::device::current()) == Precision::Bfloat16 { 2.0 } else { 4.0 }
}

/// For a unit of the work that a name stands for. The backward pass is counted as two forward passes, generation
/// as reading every matrix for every token.
pub fn least(name: &str) -> Result<Least> {
    let (kind, model, size) = match find(name)? {
        Case::Op(kind, size) => return of_op(kind, size),
        Case::Model(kind, model, size) => (kind, model, size),
    };
    let context = if kind == "train" { size.time } else { PREFILL };
    let model_stats = config(model, size, context)?.model_stats();
    let head = 2.0 * (size.d_model * size.vocab) as f64;
    let all = (size.batch() * size.time) as f64;
    let forward = model_stats.forward_flops_per_token;
    let read = (model_stats.embedding + model_stats.non_embedding) as f64 * element();
    Ok(match kind {
        "train" => Least { flops: 3.0 * forward * all, bytes: 0.0 },
        // The head sees the last position only.
        "prefill" => Least { flops: (forward - head) * PREFILL as f64 + head, bytes: read },
        _ => Least { flops: 0.0, bytes: read * GENERATED as f64 },
    })
}

/// Every input of a pass read once, every output written once; what came in is read again on the way back.
/// Products of matrices where the definition has them.
fn of_op(kind: &str, size: &Size) -> Result<Least> {
    let c = branches(size)?;
    let rows = (size.batch() * size.time) as f64;
    let (d, vocab, time) = (size.d_model as f64, size.vocab as f64, size.time as f64);
    let (inner, maps) = ((c.mamba.expand * c.d_model) as f64, (c.mamba.n_groups * c.mamba.state_size) as f64);
    let steps = inner / c.mamba.head_dim as f64;
    let (flops, elements) = match kind {
        // r, k, v, ω to y; the same and dy to dr, dk, dv, dω.
        "wkv6" => (0.0, 14.0 * rows * d),
        // x, δ, B, C to y; the same and dy to their gradients.
        "ssd" => (0.0, rows * (5.0 * inner + 3.0 * steps + 6.0 * maps)),
        // Half of two products forward and of five backward, where the scores are made again; q, k, v to y; the
        // same, y and dy to dq, dk, dv.
        "attention" => (7.0 * rows * time * d, 12.0 * rows * d),
        // 12 d² of weights: each product forward, and twice on the way back.
        "linear" => (72.0 * rows * d * d, 2.0 * (19.0 * rows * d + 12.0 * d * d)),
        "cross_entropy" => (6.0 * rows * d * vocab, 2.0 * (rows + vocab) * d),
        "adamw" => {
            // p, m, v and g read, p, m, v written, g read once more for its norm: float32 always. And p rounded.
            let rounded = if element() == 2.0 { 2.0 } else { 0.0 };
            let count = config("gpt2", size, size.time)?.model_stats().total as f64;
            return Ok(Least { flops: 0.0, bytes: count * (32.0 + rounded) });
        }
        _ => bail!("no op {kind:?}"),
    };
    Ok(Least { flops, bytes: elements * element() })
}
