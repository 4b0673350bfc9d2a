//! Every op through its CUDA kernels, against its reference in float64: on the CPU by the emulator of
//! `kernels/emulate.h`, on a GPU where the crate is built with `cuda` and there is one.
//!
//! The emulator runs the very source that nvcc compiles, and the host code that launches it. Buffers lie between
//! NaN, outputs start as NaN, threads run in random order. What remains for a GPU to show: that the compiler, the
//! tensor cores and cuBLAS do what their manuals say, and how fast.

#[path = "kernels/compare.rs"]
mod compare;
#[path = "kernels/training.rs"]
mod training;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = compare::trials();
    trials.extend(training::trials("emulated"));
    libtest_mimic::run(&arguments, trials).exit();
}
