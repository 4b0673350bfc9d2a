//! Launching kernels: on a CUDA device, or on the CPU through the emulator of `kernels/emulate.h`.
//!
//! Both go through the same host code: an output is an [`Out`], a launch names a kernel and its arguments in
//! order. What a kernel reads are contiguous tensors. The emulator lays every buffer between margins of NaN, fills
//! outputs with NaN, checks the type of every argument, and refuses what was written outside or into an input.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use super::device;
#[cfg(feature = "emulate")]
use super::emulator;

/// Threads in a block, unless a kernel says otherwise.
pub(crate) const THREADS: usize = 256;

/// Grid, block, and bytes of shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub grid: [usize; 3],
    pub threads: usize,
    pub shared: usize,
}

impl Shape {
    /// So many blocks of so many threads.
    pub fn new(blocks: usize, threads: usize) -> Self {
        Self { grid: [blocks, 1, 1], threads, shared: 0 }
    }

    /// One thread for each of `n` items.
    pub fn each(n: usize) -> Self {
        Self::new(n.div_ceil(THREADS), THREADS)
    }

    /// With so many bytes of shared memory.
    pub fn shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }
}

/// An argument of a kernel.
pub(crate) enum Arg<'a> {
    /// Read from its first element.
    In(&'a Tensor),
    /// Written, all of it.
    Out(&'a mut Out),
    /// Memory changed in place.
    At(At),
    /// No such tensor.
    Null,
    /// A number of things.
    Count(usize),
    /// A number.
    Number(f64),
}

/// Memory that stays where it is; see [`in_place`].
#[derive(Clone)]
pub(crate) struct At {
    pub dtype: DType,
    pub address: u64,
    pub device: Device,
}

impl Arg<'_> {
    /// The same once more, where it is no output.
    pub fn again(&self) -> Arg<'static> {
        match self {
            Self::At(at) => Arg::At(at.clone()),
            Self::Count(n) => Arg::Count(*n),
            Self::Number(x) => Arg::Number(*x),
            _ => Arg::Null,
        }
    }
}

impl<'a> From<&'a At> for Arg<'a> {
    fn from(at: &'a At) -> Self {
        Self::At(at.clone())
    }
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(t: &'a Tensor) -> Self {
        Self::In(t)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(t: Option<&'a Tensor>) -> Self {
        t.map_or(Self::Null, Self::In)
    }
}

impl<'a> From<&'a mut Out> for Arg<'a> {
    fn from(t: &'a mut Out) -> Self {
        Self::Out(t)
    }
}

impl From<usize> for Arg<'_> {
    fn from(n: usize) -> Self {
        Self::Count(n)
    }
}

impl From<f64> for Arg<'_> {
    fn from(x: f64) -> Self {
        Self::Number(x)
    }
}

/// Arguments in the order of a kernel's parameters.
macro_rules! args {
    ($($x:expr),* $(,)?) => { [$($crate::launch::args::Arg::from($x)),*] };
}
pub(crate) use args;

/// A tensor in the making. Its elements are undefined until a kernel has written them (NaN when emulated).
pub(crate) struct Out {
    dims: Vec<usize>,
    dtype: DType,
    memory: Memory,
}

enum Memory {
    #[cfg(feature = "cuda")]
    Device(Tensor),
    #[cfg(feature = "emulate")]
    Emulated(emulator::Guarded),
    #[cfg(not(any(feature = "cuda", feature = "emulate")))]
    None(std::convert::Infallible),
}

impl Out {
    /// Room for a tensor of these dimensions, where `beside` lies.
    pub fn new(dims: &[usize], dtype: DType, beside: &Tensor) -> Result<Self> {
        let memory = Memory::new(dims, dtype, beside.device())?;
        Ok(Self { dims: dims.to_vec(), dtype, memory })
    }

    /// Room for a tensor like another one.
    pub fn like(t: &Tensor) -> Result<Self> {
        Self::new(t.dims(), t.dtype(), t)
    }

    /// What the kernels have written.
    pub fn done(self) -> Result<Tensor> {
        match self.memory {
            #[cfg(feature = "cuda")]
            Memory::Device(t) => Ok(t),
            #[cfg(feature = "emulate")]
            Memory::Emulated(memory) => emulator::tensor(&memory, self.dtype, &self.dims),
            #[cfg(not(any(feature = "cuda", feature = "emulate")))]
            Memory::None(never) => match never {},
        }
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of its elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
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
            Device::Cuda(_) => Ok(Self::Device(device::empty(dims, dtype, device)?)),
            #[cfg(feature = "emulate")]
            Device::Cpu => Ok(Self::Emulated(emulator::Guarded::new(
                dims.iter().product::<usize>() * dtype.size_in_bytes(),
                0,
            ))),
            other => bail!("no kernels for {other:?}"),
        }
    }
}

/// Whether ops on this tensor go to kernels.
pub(crate) fn takes(t: &Tensor) -> bool {
    #[cfg(feature = "emulate")]
    if t.device().is_cpu() && matches!(t.dtype(), DType::F32 | DType::BF16) && emulator::is_on() {
        return true;
    }
    t.device().is_cuda()
}

/// The kernel `name` for elements of type `dtype`: `name_f32` or `name_bf16`.
pub(crate) fn launch(name: &str, dtype: DType, shape: Shape, args: &mut [Arg<'_>]) -> Result<()> {
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
fn run(name: &str, shape: Shape, args: &mut [Arg<'_>]) -> Result<()> {
    #[cfg(feature = "emulate")]
    if emulator::is_on() && args.iter().filter_map(device_of).all(|device| device.is_cpu()) {
        return emulator::run(name, shape, args);
    }
    #[cfg(feature = "cuda")]
    return device::run(name, shape, args);
    #[cfg(not(feature = "cuda"))]
    bail!("built without the feature cuda")
}

/// The address of an argument on the device.
#[cfg(feature = "cuda")]
pub(super) fn address_of(arg: &Arg<'_>) -> Result<u64> {
    match arg {
        Arg::In(t) => device::address(t),
        Arg::At(at) => Ok(at.address),
        Arg::Null => Ok(0),
        Arg::Out(out) => match &out.memory {
            Memory::Device(t) => device::address(t),
            #[cfg(feature = "emulate")]
            Memory::Emulated(_) => bail!("an emulated buffer on a device"),
        },
        Arg::Count(_) | Arg::Number(_) => bail!("a number has no address"),
    }
}

/// The device that an argument lies on.
#[cfg(any(feature = "cuda", feature = "emulate"))]
pub(super) fn device_of(arg: &Arg<'_>) -> Option<Device> {
    match arg {
        Arg::In(t) => Some(t.device().clone()),
        Arg::At(at) => Some(at.device.clone()),
        Arg::Out(out) => match &out.memory {
            #[cfg(feature = "cuda")]
            Memory::Device(t) => Some(t.device().clone()),
            #[cfg(feature = "emulate")]
            Memory::Emulated(_) => Some(Device::Cpu),
        },
        _ => None,
    }
}

/// The guarded bytes of an output.
#[cfg(feature = "emulate")]
pub(super) fn guarded(out: &mut Out) -> Result<&mut emulator::Guarded> {
    match &mut out.memory {
        Memory::Emulated(memory) => Ok(memory),
        #[cfg(feature = "cuda")]
        Memory::Device(_) => bail!("a device's buffer in the emulator"),
    }
}

/// Lets `f` launch kernels that change `t` in place. They must not be given `t`, or a view of it, besides.
pub(crate) fn in_place(t: &Tensor, f: impl Fn(&At) -> Result<()>) -> Result<()> {
    t.inplace_op1(&InPlace(f, t.device().clone()))
}

struct InPlace<F>(F, Device);

impl<F: Fn(&At) -> Result<()>> InplaceOp1 for InPlace<F> {
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
        let (dtype, base) = device::base(storage)?;
        self.at(dtype, base, layout)
    }
}

impl<F: Fn(&At) -> Result<()>> InPlace<F> {
    fn at(&self, dtype: DType, base: u64, layout: &Layout) -> Result<()> {
        if !layout.is_contiguous() {
            bail!("not contiguous: {layout:?}");
        }
        let address = base + (layout.start_offset() * dtype.size_in_bytes()) as u64;
        (self.0)(&At { dtype, address, device: self.1.clone() })
    }
}

/// The address of a tensor's first element, for kernels that are given many at once. It must outlive their launch.
pub(crate) fn address(t: &Tensor) -> Result<u64> {
    if !t.is_contiguous() {
        bail!("not contiguous: {:?}", t.layout());
    }
    #[cfg(feature = "cuda")]
    if t.device().is_cuda() {
        return device::address(t);
    }
    #[cfg(feature = "emulate")]
    return emulator::address(t);
    #[cfg(not(feature = "emulate"))]
    bail!("no kernels for {:?}", t.device())
}

/// A matrix operand of [`gemm`]: row-major from element `start` on, rows `stride` elements apart.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub tensor: &'a Tensor,
    pub start: usize,
    pub stride: usize,
    /// Read as its transpose.
    pub turned: bool,
}

impl<'a> Operand<'a> {
    /// A whole matrix.
    pub fn of(tensor: &'a Tensor) -> Self {
        let stride = tensor.dims().last().copied().unwrap_or(1);
        Self { tensor, start: 0, stride, turned: false }
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        Self { turned: !self.turned, ..self }
    }
}

/// Where a product goes: rows `stride` elements apart from element `start` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub start: usize,
    pub stride: usize,
    /// Added to what is there.
    pub keep: bool,
}

/// `out = a·b` ([m, k] times [k, n]), summed in float32 whatever the element types; a and b have the same.
pub(crate) fn gemm(
    out: &mut Out,
    place: Place,
    [m, n, k]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) -> Result<()> {
    let reach = |rows: usize, cols: usize, start: usize, stride: usize| match rows * cols {
        0 => 0,
        _ => start + (rows - 1) * stride + cols,
    };
    let inside = |x: Operand<'_>, rows, cols| {
        let (rows, cols) = if x.turned { (cols, rows) } else { (rows, cols) };
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
    match &mut out.memory {
        #[cfg(feature = "cuda")]
        Memory::Device(to) => device::gemm(to, place, [m, n, k], a, b),
        #[cfg(feature = "emulate")]
        Memory::Emulated(to) => emulator::gemm(to, out.dtype, place, [m, n, k], a, b),
        #[cfg(not(any(feature = "cuda", feature = "emulate")))]
        Memory::None(never) => match *never {},
    }
}
