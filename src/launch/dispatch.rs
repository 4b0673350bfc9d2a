//! Launching kernels: on a CUDA device, or on the CPU through the emulator of `kernels/emulate.h`.
//!
//! Both go through the same host code: an output is an [`Out`], a launch names a kernel and its arguments in
//! order. What a kernel reads are contiguous tensors. The emulator lays every buffer between margins of NaN, fills
//! outputs with NaN, checks the type of every argument, and refuses what was written outside or into an input.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};

use super::args::{Arg, DevicePtr, LaunchShape, Memory, Operand, Out, OutputView};
#[cfg(feature = "emulate")]
use super::args::{Guarded, device_of};
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "emulate")]
use super::{emulator, record};

impl Out {
    /// Room for a tensor of these dimensions, on the device of `like_device`.
    pub fn new(dims: &[usize], dtype: DType, like_device: &Tensor) -> Result<Self> {
        let memory = Memory::new(dims, dtype, like_device.device())?;
        Ok(Self { dims: dims.to_vec(), dtype, memory })
    }

    /// Room for a tensor like another one.
    pub fn like(t: &Tensor) -> Result<Self> {
        Self::new(t.dims(), t.dtype(), t)
    }

    /// What the kernels have written.
    pub fn finish(self) -> Result<Tensor> {
        match self.memory {
            #[cfg(feature = "cuda")]
            Memory::Device(t) => Ok(t),
            #[cfg(feature = "emulate")]
            Memory::Emulated(_) if !record::computes() => Tensor::zeros(self.dims, self.dtype, &Device::Cpu),
            #[cfg(feature = "emulate")]
            Memory::Emulated(memory) => emulator::tensor(&memory, self.dtype, &self.dims),
            #[cfg(not(any(feature = "cuda", feature = "emulate")))]
            Memory::None(never) => match never {},
        }
    }
}

impl Memory {
    #[cfg_attr(
        not(any(feature = "cuda", feature = "emulate")),
        expect(unused_variables, reason = "without a device there is no memory")
    )]
    fn new(dims: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Ok(Self::Device(cuda::empty(dims, dtype, device)?)),
            #[cfg(feature = "emulate")]
            Device::Cpu => {
                let bytes = dims.iter().product::<usize>() * dtype.size_in_bytes();
                let computes = record::computes();
                Ok(Self::Emulated(if computes { Guarded::new(bytes, 0) } else { Guarded::untouched(bytes) }))
            }
            other => bail!("no kernels for {other:?}"),
        }
    }
}

/// Whether ops on this tensor go to kernels.
pub(crate) fn runs_on_kernels(t: &Tensor) -> bool {
    #[cfg(feature = "emulate")]
    if t.device().is_cpu() && matches!(t.dtype(), DType::F32 | DType::BF16) && emulator::is_on() {
        return true;
    }
    t.device().is_cuda()
}

/// Bytes of shared memory that a block can have where this tensor lies.
#[cfg_attr(
    all(feature = "emulate", not(feature = "cuda")),
    expect(unused_variables, reason = "the emulator has one card")
)]
pub(crate) fn block_memory(t: &Tensor) -> Result<usize> {
    #[cfg(feature = "cuda")]
    if t.device().is_cuda() {
        return cuda::block_memory(t.device());
    }
    #[cfg(feature = "emulate")]
    return Ok(emulator::block_memory());
    #[cfg(not(feature = "emulate"))]
    bail!("no kernels for {:?}", t.device())
}

/// The kernel `name` for elements of type `dtype`: `name_f32` or `name_bf16`.
pub(crate) fn launch(name: &str, dtype: DType, shape: LaunchShape, args: &mut [Arg<'_>]) -> Result<()> {
    let suffix = match dtype {
        DType::F32 => "f32",
        DType::BF16 => "bf16",
        other => bail!("{name}: kernels compute in float32 or bfloat16, got {other:?}"),
    };
    let name = format!("{name}_{suffix}");
    if shape.grid.contains(&0) {
        // Nothing to do: empty tensors.
        return Ok(());
    }
    let checked = args.iter().try_for_each(|arg| match arg {
        Arg::In(t) if !t.is_contiguous() => bail!("not contiguous: {:?}", t.layout()),
        Arg::Count(n) if u32::try_from(*n).is_err() => bail!("{n} is more than 32 bits hold"),
        _ => Ok(()),
    });
    let failed = |e: candle_core::Error| candle_core::Error::Msg(format!("kernel {name}: {e}"));
    checked.and_then(|()| run(&name, shape, args)).map_err(failed)
}

#[cfg_attr(
    not(any(feature = "cuda", feature = "emulate")),
    expect(unused_variables, reason = "built without either")
)]
fn run(name: &str, shape: LaunchShape, args: &mut [Arg<'_>]) -> Result<()> {
    #[cfg(feature = "emulate")]
    if emulator::is_on() && args.iter().filter_map(device_of).all(|device| device.is_cpu()) {
        return if record::launch(name, shape, args) { emulator::run(name, shape, args) } else { Ok(()) };
    }
    #[cfg(feature = "cuda")]
    return cuda::run(name, shape, args);
    #[cfg(not(feature = "cuda"))]
    bail!("built without the feature cuda")
}

/// Lets `f` launch kernels that change `t` in place. They must not be given `t`, or a view of it, besides.
pub(crate) fn in_place(t: &Tensor, f: impl Fn(&DevicePtr) -> Result<()>) -> Result<()> {
    t.inplace_op1(&InPlace(f, t.device().clone()))
}

struct InPlace<F>(F, Device);

impl<F: Fn(&DevicePtr) -> Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in_place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (dtype, base) = match storage {
            CpuStorage::F32(x) => (DType::F32, x.as_mut_ptr() as u64),
            CpuStorage::BF16(x) => (DType::BF16, x.as_mut_ptr() as u64),
            _ => bail!("kernels compute in float32 or bfloat16"),
        };
        self.at(dtype, base, layout)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        let (dtype, base) = cuda::base(storage)?;
        self.at(dtype, base, layout)
    }
}

impl<F: Fn(&DevicePtr) -> Result<()>> InPlace<F> {
    fn at(&self, dtype: DType, base: u64, layout: &Layout) -> Result<()> {
        if !layout.is_contiguous() {
            bail!("not contiguous: {layout:?}");
        }
        let address = base + (layout.start_offset() * dtype.size_in_bytes()) as u64;
        (self.0)(&DevicePtr { dtype, address, device: self.1.clone() })
    }
}

/// The address of a tensor's first element, for kernels that are given many at once. It must outlive their launch.
pub(crate) fn address(t: &Tensor) -> Result<u64> {
    if !t.is_contiguous() {
        bail!("not contiguous: {:?}", t.layout());
    }
    #[cfg(feature = "cuda")]
    if t.device().is_cuda() {
        return cuda::address(t);
    }
    #[cfg(feature = "emulate")]
    return emulator::address(t);
    #[cfg(not(feature = "emulate"))]
    bail!("no kernels for {:?}", t.device())
}

/// `out = a·b` ([m, k] times [k, n]), summed in float32 whatever the element types; a and b have the same.
pub(crate) fn gemm(
    out: &mut Out,
    place: OutputView,
    [m, n, k]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) -> Result<()> {
    let reach = |rows: usize, cols: usize, start: usize, stride: usize| match rows * cols {
        0 => 0,
        _ => start + (rows - 1) * stride + cols,
    };
    let inside = |x: Operand<'_>, rows, cols| {
        let (rows, cols) = if x.transposed { (cols, rows) } else { (rows, cols) };
        x.tensor.is_contiguous() && reach(rows, cols, x.start, x.stride) <= x.tensor.elem_count()
    };
    let fits = inside(a, m, k) && inside(b, k, n) && reach(m, n, place.start, place.stride) <= out.len();
    if !fits || a.tensor.dtype() != b.tensor.dtype() {
        bail!(
            "product [{m}, {k}] x [{k}, {n}]: {:?} {:?} and {:?} {:?} into {:?}",
            a.tensor.dims(),
            a.tensor.dtype(),
            b.tensor.dims(),
            b.tensor.dtype(),
            out.dims
        );
    }
    if m * n == 0 {
        return Ok(());
    }
    #[cfg(feature = "emulate")]
    if matches!(out.memory, Memory::Emulated(_)) && !record::product(out, place, [m, n, k], [a, b]) {
        return Ok(());
    }
    match &mut out.memory {
        #[cfg(feature = "cuda")]
        Memory::Device(to) => cuda::gemm(to, place, [m, n, k], a, b).map_err(|e| {
            let dtype = a.tensor.dtype();
            candle_core::Error::Msg(format!("product [{m}, {k}] x [{k}, {n}] of {dtype:?}: {e}"))
        }),
        #[cfg(feature = "emulate")]
        Memory::Emulated(to) => emulator::gemm(to, out.dtype, place, [m, n, k], a, b),
        #[cfg(not(any(feature = "cuda", feature = "emulate")))]
        Memory::None(never) => match *never {},
    }
}
