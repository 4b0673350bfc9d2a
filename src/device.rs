//! What computes: the CPU, a CUDA device, or the CPU pretending to be one.
//!
//! Invariant: nothing falls back silently. A program built for a GPU that finds none says so, and computes on the
//! CPU only when told to (`V5_DEVICE=cpu`). Who never chooses computes on the CPU.

use std::sync::OnceLock;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::heap;
use crate::products::{Path, path};

/// The arithmetic of the forward and backward pass. Parameters, moments, sums and recurrent states are float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// IEEE single precision throughout.
    Float32,
    /// Activations and matrices in bfloat16; on a CPU that has no products of them slower than float32.
    Bfloat16,
    /// What the device is made for: bfloat16 on a GPU and on a CPU with products of it (AMX, AVX-512 BF16), else
    /// float32.
    Native,
}

impl Precision {
    /// What it means on a device: float32 or bfloat16.
    pub fn on(self, compute: &Compute) -> Self {
        match (self, compute.kernels) {
            (Self::Native, true) => Self::Bfloat16,
            (Self::Native, false) if path() != Path::Portable => Self::Bfloat16,
            (Self::Native, false) => Self::Float32,
            (other, _) => other,
        }
    }

    /// Its name in provenances, on a device.
    pub fn name(self, compute: &Compute) -> &'static str {
        if self.on(compute) == Self::Bfloat16 { "bfloat16" } else { "float32" }
    }
}

/// Why there is no device to compute on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// `V5_DEVICE` names no device.
    #[error("V5_DEVICE: expected {expected}, got {got:?}")]
    Unknown {
        /// What this program knows.
        expected: &'static str,
        /// What was asked for.
        got: String,
    },
    /// There is no such device, or it cannot be used.
    #[error(
        "no CUDA device {ordinal}: {reason}\nThis program was built to compute on a GPU; V5_DEVICE=cpu computes on the CPU"
    )]
    Missing {
        /// Which was asked for.
        ordinal: usize,
        /// What the driver said.
        reason: String,
    },
}

/// What computes.
pub struct Compute {
    device: Device,
    name: String,
    /// Whether ops go to kernels.
    kernels: bool,
}

static CURRENT: OnceLock<Compute> = OnceLock::new();

/// What computes in this process: the choice, or the CPU. Programs ask once and pass it on.
pub fn current() -> &'static Compute {
    CURRENT.get_or_init(cpu)
}

/// Chooses by `V5_DEVICE`, for the whole process: `cpu`, `cuda`, `cuda:N`. Where it is unset a program built for
/// GPUs takes the first, any other the CPU.
pub fn choose() -> Result<&'static Compute, DeviceError> {
    if let Some(chosen) = CURRENT.get() {
        return Ok(chosen);
    }
    let default = if cfg!(feature = "cuda") { "cuda" } else { "cpu" };
    let asked = std::env::var("V5_DEVICE").unwrap_or_else(|_| default.to_owned());
    let chosen = named(&asked)?;
    Ok(CURRENT.get_or_init(|| chosen))
}

fn named(asked: &str) -> Result<Compute, DeviceError> {
    let expected = if cfg!(feature = "cuda") { "cpu, cuda or cuda:N" } else { "cpu (built without CUDA)" };
    let unknown = || DeviceError::Unknown { expected, got: asked.to_owned() };
    match asked.split_once(':').unwrap_or((asked, "0")) {
        ("cpu", "0") if asked == "cpu" => Ok(cpu()),
        #[cfg(feature = "emulate")]
        ("emulated", "0") if asked == "emulated" => {
            crate::launch::emulate(1);
            Ok(Compute { device: Device::Cpu, name: "emulated".to_owned(), kernels: true })
        }
        #[cfg(feature = "cuda")]
        ("cuda", n) => cuda(n.parse().map_err(|_| unknown())?),
        _ => Err(unknown()),
    }
}

fn cpu() -> Compute {
    Compute { device: Device::Cpu, name: instruction_set().to_owned(), kernels: false }
}

/// Which instruction set decides the last bits of a product.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if path() == Path::Amx {
            return "cpu x86-64 amx";
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "cpu x86-64 avx512";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "cpu x86-64 avx2";
        }
    }
    "cpu generic"
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Compute, DeviceError> {
    // The first line: a backtrace may follow.
    let missing = |error: candle_core::Error| DeviceError::Missing {
        ordinal,
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    let (device, name) = crate::launch::open(ordinal).map_err(missing)?;
    Ok(Compute { device, name: format!("cuda {name}"), kernels: true })
}

impl Compute {
    /// Where tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its name in provenances.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What of it decides a training's result in this precision. On CPUs that is the same whatever their instruction
    /// set, but for products of bfloat16 in tiles.
    pub fn identity(&self, precision: Precision) -> &str {
        match (self.kernels, precision.on(self)) {
            (true, _) => &self.name,
            (false, Precision::Bfloat16) => path().sums(),
            _ => "cpu",
        }
    }

    /// Whether ops go to kernels.
    pub fn has_kernels(&self) -> bool {
        self.kernels
    }

    /// Whether it works on its own while the host goes on, so that looking at a result means waiting.
    pub fn is_asynchronous(&self) -> bool {
        self.kernels
    }

    /// Waits until all that was begun is done: before a clock is read.
    pub fn finish(&self) -> candle_core::Result<()> {
        self.device.synchronize()
    }

    /// Bytes in use where models live.
    pub fn memory_in_use(&self) -> candle_core::Result<usize> {
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            return crate::launch::memory_in_use(&self.device);
        }
        Ok(heap::in_use())
    }

    /// What `f` returns, and the most bytes that were in use there meanwhile.
    pub fn peak_of<T>(&self, f: impl FnOnce() -> T) -> candle_core::Result<(T, usize)> {
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            return crate::launch::peak_of(&self.device, f);
        }
        Ok(heap::peak_of(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_refused() {
        for asked in ["", "gpu", "cpu:0", "cpu:1", "cuda:x", "CPU"] {
            let error = named(asked).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(
                error.contains("expected cpu") && error.contains(&format!("{asked:?}")),
                "{asked}: {error}"
            );
        }
        assert!(named("cpu").is_ok());
    }

    /// Nobody falls back: where the program was not built for it, or there is none, that is an error.
    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        if let Ok(compute) = named("cuda") {
            assert!(compute.device().is_cuda());
        }
    }
}
