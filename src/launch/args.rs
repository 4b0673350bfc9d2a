//! What kernels are given: launch shapes, arguments, operands of products, and outputs in the making.

use candle_core::{DType, Device, Result, Tensor, bail};

/// Threads in a block, unless a kernel says otherwise.
pub(crate) const THREADS: usize = 256;

/// Grid, block, and bytes of shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaunchShape {
    pub grid: [usize; 3],
    pub threads: usize,
    pub shared: usize,
}

impl LaunchShape {
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

/// Whether a block of a device can have the shared memory that a launch asks for.
pub(super) fn enough(asked: usize, most: usize) -> Result<()> {
    match asked > most {
        true => {
            bail!("asks for {asked} bytes of shared memory, a block of this device has {most} (docs/gpu.md)")
        }
        false => Ok(()),
    }
}

/// An argument of a kernel.
pub(crate) enum Arg<'a> {
    /// Read from its first element.
    In(&'a Tensor),
    /// Written, all of it.
    Out(&'a mut Out),
    /// Memory changed in place.
    At(DevicePtr),
    /// No such tensor.
    Null,
    /// A number of things.
    Count(usize),
    /// A number.
    Number(f64),
}

/// Memory that stays where it is; see [`in_place`].
#[derive(Clone)]
pub(crate) struct DevicePtr {
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

impl<'a> From<&'a DevicePtr> for Arg<'a> {
    fn from(at: &'a DevicePtr) -> Self {
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
    pub(super) dims: Vec<usize>,
    pub(super) dtype: DType,
    pub(super) memory: Memory,
}

pub(super) enum Memory {
    #[cfg(feature = "cuda")]
    Device(Tensor),
    #[cfg(feature = "emulate")]
    Emulated(Guarded),
    #[cfg(not(any(feature = "cuda", feature = "emulate")))]
    None(std::convert::Infallible),
}

impl Out {
    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of its elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A matrix operand of [`gemm`]: row-major from element `start` on, rows `stride` elements apart.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub tensor: &'a Tensor,
    pub start: usize,
    pub stride: usize,
    /// Read as its transpose.
    pub transposed: bool,
}

impl<'a> Operand<'a> {
    /// A whole matrix.
    pub fn of(tensor: &'a Tensor) -> Self {
        let stride = tensor.dims().last().copied().unwrap_or(1);
        Self { tensor, start: 0, stride, transposed: false }
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}

/// Where a product goes: rows `stride` elements apart from element `start` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputView {
    pub start: usize,
    pub stride: usize,
    /// Added to what is there.
    pub keep: bool,
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
pub(super) fn guarded(out: &mut Out) -> Result<&mut Guarded> {
    match &mut out.memory {
        Memory::Emulated(memory) => Ok(memory),
        #[cfg(feature = "cuda")]
        Memory::Device(_) => candle_core::bail!("a device's buffer in the emulator"),
    }
}

/// Bytes on either side of a buffer.
#[cfg(feature = "emulate")]
const MARGIN: usize = 1024;
/// What the device aligns its allocations to.
#[cfg(feature = "emulate")]
const ALIGNMENT: usize = 256;
/// As a float32 or a bfloat16, NaN.
#[cfg(feature = "emulate")]
const NAN: u8 = 0xff;

/// Bytes between two margins of NaN.
#[cfg(feature = "emulate")]
pub(crate) struct Guarded {
    all: Vec<u8>,
    start: usize,
    pub(super) len: usize,
}

#[cfg(feature = "emulate")]
impl Guarded {
    /// So many bytes of NaN, `shift` bytes behind an aligned address.
    pub fn new(len: usize, shift: usize) -> Self {
        Self::filled(NAN, len, shift)
    }

    /// The same of zeros, which costs nothing while nobody looks at them.
    pub fn untouched(len: usize) -> Self {
        Self::filled(0, len, 0)
    }

    fn filled(byte: u8, len: usize, shift: usize) -> Self {
        let all = vec![byte; len + 2 * MARGIN + 2 * ALIGNMENT];
        let base = all.as_ptr() as usize + MARGIN;
        let start = MARGIN + base.next_multiple_of(ALIGNMENT) - base + shift % ALIGNMENT;
        Self { all, start, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.all[self.start..self.start + self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.all[self.start..self.start + self.len]
    }

    pub(super) fn address(&mut self) -> u64 {
        self.bytes_mut().as_mut_ptr() as u64
    }

    pub(super) fn is_whole(&self) -> bool {
        let margins = self.all[..self.start].iter().chain(&self.all[self.start + self.len..]);
        margins.copied().all(|b| b == NAN)
    }
}
