//! Every op through its CUDA kernels, against its reference in float64: on the CPU by the emulator of
//! `kernels/emulate.h`, on a GPU where the crate is built with `cuda` and there is one.
//!
//! The emulator runs the very source that nvcc compiles, and the host code that launches it. Buffers lie between
//! NaN, outputs start as NaN, threads run in random order. What remains for a GPU to show: that the compiler, the
//! tensor cores and cuBLAS do what their manuals say, and how fast.

mod compare;
mod cubins;
mod decoding;
mod launches;
mod races;
mod training;

use candle_core::Device;
use libtest_mimic::Arguments;

/// What takes longest and has a shorter neighbour that runs every day; `scripts/races.sh` runs it too.
const LENGTHY: [&str; 4] = [
    "emulated::loss_in_parts::float32",
    "emulated::training::audited::mamba2",
    "emulated::training::audited::rwkv6",
    "races::ssd::float32",
];

fn main() {
    let arguments = Arguments::from_args();
    v5gate::launch::emulate(1);
    let mut trials = compare::trials("emulated", Some(&Device::Cpu));
    trials.extend(training::trials("emulated", true));
    // Without kernels: the processor's own float32 and bfloat16.
    trials.extend(training::trials("cpu", true));
    trials.extend(races::trials());
    trials.extend(cubins::trials());
    trials.extend(launches::trials());
    trials.extend(decoding::trials());
    #[cfg(feature = "cuda")]
    {
        let gpu = v5gate::device::choose();
        if let Err(error) = &gpu {
            eprintln!("the trials on a GPU are ignored: {error}");
        }
        v5gate::launch::poison_outputs();
        let gpu = gpu.ok().map(|chosen| chosen.device()).filter(|device| device.is_cuda());
        trials.extend(compare::trials("cuda", gpu));
        trials.extend(training::trials("cuda", gpu.is_some()));
    }
    let all = trials.into_iter().map(|trial| match LENGTHY.contains(&trial.name()) {
        true => trial.with_ignored_flag(true),
        false => trial,
    });
    libtest_mimic::run(&arguments, all.collect()).exit();
}
