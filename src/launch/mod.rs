//! The ops' kernels: host code that allocates outputs and launches what `kernels/*.cu` defines.
//!
//! An op asks `runs_on_kernels` of its first input. Tensors on a CUDA device go to kernels, and so do, where the process
//! was told to `emulate`, float32 and bfloat16 tensors on the CPU: the very same host and kernel code, so that
//! both are tested on machines without a GPU. float64 stays with the ops' own CPU paths.
//!
//! Activations and matrices are float32 or bfloat16. Parameter vectors, recurrent states, sums and gradients of
//! parameters are float32 always. Nothing is atomic: a launch gives the same bits every time.

#[cfg_attr(
    not(any(feature = "cuda", feature = "emulate")),
    expect(dead_code, reason = "without a device nothing is launched")
)]
mod args;
pub(crate) mod attention;
pub(crate) mod convolution;
pub(crate) mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod dispatch;
pub(crate) mod elementwise;
pub(crate) mod embedding;
#[cfg(feature = "emulate")]
mod emulator;
pub(crate) mod fusion;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod optimizer;
#[cfg(feature = "emulate")]
mod races;
#[cfg(feature = "emulate")]
mod record;
pub(crate) mod row;
pub(crate) mod ssd;
pub(crate) mod token_mix;
pub(crate) mod wkv6;

use candle_core::{DType, Result, Tensor};

pub(crate) use args::{Arg, LaunchShape, Operand, Out, OutputView, THREADS, args};
#[cfg(feature = "cuda")]
pub use cuda::poison_outputs;
pub(crate) use dispatch::{block_memory, gemm, launch, runs_on_kernels};
#[cfg(feature = "emulate")]
pub use emulator::with_block_memory;
#[cfg(feature = "emulate")]
pub use races::{barriers_met, detect_races, without_barrier};
#[cfg(feature = "emulate")]
pub use record::{DeviceWork, asked_for, planned};
pub use row::Pointwise;

/// From now on, for this whole process, float32 and bfloat16 tensors go through kernels on the CPU; `seed` decides
/// in which order their threads run.
#[cfg(feature = "emulate")]
pub fn emulate(seed: u32) {
    emulator::turn_on();
    emulator::reseed(seed);
}

/// A CUDA device ready for work, and its name.
#[cfg(feature = "cuda")]
pub(crate) fn open(ordinal: usize) -> Result<(candle_core::Device, String)> {
    cuda::open(ordinal)
}

/// Bytes in use on a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) fn memory_in_use(device: &candle_core::Device) -> Result<usize> {
    cuda::memory_in_use(device)
}

/// What `f` returns, and the most bytes in use on a CUDA device meanwhile.
#[cfg(feature = "cuda")]
pub(crate) fn peak_of<T>(device: &candle_core::Device, f: impl FnOnce() -> T) -> Result<(T, usize)> {
    cuda::reset_peak(device)?;
    let result = f();
    Ok((result, cuda::peak(device)?))
}

/// A parameter vector as kernels read it.
pub(crate) fn vector(t: &Tensor) -> Result<Tensor> {
    t.to_dtype(DType::F32)?.contiguous()
}
