//! Kernels on a CUDA device: modules, launches, matrix products by cuBLAS.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys as blas};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, DevicePtr, LaunchConfig, PushKernelArg, result as driver, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, WrapErr};
use candle_core::{CudaStorage, DType, Device, Error, Result, Storage, Tensor, bail};
use parking_lot::{Mutex, MutexGuard};

use super::args::{Arg, LaunchShape, Memory, Operand, OutputView, device_of as one_device, enough};

include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));

/// Shared memory that a block gets without asking.
const MODEST: usize = 48 * 1024;

static POISONED: AtomicBool = AtomicBool::new(false);

/// From now on every output on a device is filled with NaN before a kernel writes it.
pub fn poison_outputs() {
    POISONED.store(true, Ordering::Relaxed);
}

/// An uninitialised tensor.
pub(super) fn empty(dims: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    #[expect(unsafe_code, reason = "zeros first would be one more pass over memory")]
    // SAFETY: its elements are numbers, for which every bit pattern is a value; an `Out` is written by a kernel
    // before anybody reads it.
    let t = unsafe { Tensor::empty(dims, dtype, device) };
    let t = t.map_err(|e| without_room(&e, dims, dtype, device))?;
    if POISONED.load(Ordering::Relaxed) {
        poison(&t)?;
    }
    Ok(t)
}

/// What was asked for, and what there is.
fn without_room(why: &Error, dims: &[usize], dtype: DType, device: &Device) -> Error {
    let bytes = dims.iter().product::<usize>() * dtype.size_in_bytes();
    let left = cuda(device).and_then(|device| device.cuda_stream().context().mem_get_info().w());
    let left = left.map_or_else(|_| String::new(), |(free, all)| format!("; {free} of {all} bytes are free"));
    Error::Msg(format!("a tensor {dims:?} of {dtype:?}, {bytes} bytes: {why}{left}"))
}

/// Fills a tensor with NaN.
fn poison(t: &Tensor) -> Result<()> {
    let bytes = t.elem_count() * t.dtype().size_in_bytes();
    let stream = cuda(t.device())?.cuda_stream();
    let at = address(t)?;
    stream.context().bind_to_thread().w()?;
    #[expect(unsafe_code, reason = "the driver's memset")]
    // SAFETY: the allocation has so many bytes, and nobody else knows it yet.
    unsafe {
        sys::cuMemsetD8Async(at, 0xff, bytes, stream.cu_stream()).result().w()
    }
}

fn cuda(device: &Device) -> Result<&CudaDevice> {
    match device {
        Device::Cuda(device) => Ok(device),
        other => bail!("{other:?} is no CUDA device"),
    }
}

/// The address of a tensor's first element.
pub(super) fn address(t: &Tensor) -> Result<u64> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor on {:?}, expected CUDA", t.device()) };
    Ok(base(storage)?.1 + (layout.start_offset() * t.dtype().size_in_bytes()) as u64)
}

/// Element type and address of the first element of an allocation.
pub(super) fn base(storage: &CudaStorage) -> Result<(DType, u64)> {
    // All work goes to one stream, in the order of the program: the guards that come with addresses, which
    // would order streams, have nothing to do.
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::F32(x) => (DType::F32, x.device_ptr(&stream).0),
        CudaStorageSlice::BF16(x) => (DType::BF16, x.device_ptr(&stream).0),
        CudaStorageSlice::U32(x) => (DType::U32, x.device_ptr(&stream).0),
        CudaStorageSlice::F64(x) => (DType::F64, x.device_ptr(&stream).0),
        _ => bail!("kernels know no such elements"),
    })
}

/// The device that the arguments lie on.
fn device_of(args: &[Arg<'_>]) -> Result<CudaDevice> {
    let mut devices = args.iter().filter_map(one_device);
    let Some(device) = devices.next() else { bail!("no argument tells the device") };
    match devices.find(|other| !other.same_device(&device)) {
        Some(other) => bail!("a tensor on {other:?}, expected {device:?}"),
        None => Ok(cuda(&device)?.clone()),
    }
}

/// All kernels, and those that were asked for with the shared memory that they may have.
#[derive(Default)]
struct Loaded {
    modules: Vec<Arc<CudaModule>>,
    functions: HashMap<String, (CudaFunction, usize)>,
}

/// Loads all kernels, once.
fn loaded(context: &Arc<CudaContext>) -> Result<MutexGuard<'static, Loaded>> {
    static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
    context.bind_to_thread().w()?;
    let mut loaded = LOADED.get_or_init(Mutex::default).lock();
    if loaded.modules.is_empty() {
        let all = FATBINS.iter().map(|fatbin| context.load_module(Ptx::from_binary(fatbin.to_vec())).w());
        loaded.modules = all.collect::<Result<_>>()?;
    }
    Ok(loaded)
}

/// Bytes of shared memory that a block can ask for.
const BLOCK_MEMORY: sys::CUdevice_attribute =
    sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;

/// How much of that memory a block of the device can have.
pub(super) fn block_memory(device: &Device) -> Result<usize> {
    Ok(cuda(device)?.cuda_stream().context().attribute(BLOCK_MEMORY).w()? as usize)
}

/// The kernel of that name, for blocks with so many bytes of shared memory.
fn function(context: &Arc<CudaContext>, name: &str, shared: usize) -> Result<CudaFunction> {
    let mut loaded = loaded(context)?;
    if !loaded.functions.contains_key(name) {
        let found = loaded.modules.iter().map(|module| module.load_function(name));
        // One of the modules has it; where none does, the last one says why.
        let found = found.reduce(|found, next| found.or(next));
        let Some(found) = found else { bail!("no kernels at all") };
        loaded.functions.insert(name.to_owned(), (found.w()?, MODEST));
    }
    let Some((function, allowed)) = loaded.functions.get_mut(name) else { bail!("no kernel of that name") };
    if shared > *allowed {
        enough(shared, context.attribute(BLOCK_MEMORY).w()? as usize)?;
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(attribute, shared as i32).w()?;
        *allowed = shared;
    }
    Ok(function.clone())
}

/// Refuses a card on which kernels, ours or candle's, do not load.
fn try_out(device: &Device, card: &str) -> Result<()> {
    let context = cuda(device)?.cuda_stream().context().clone();
    let tried = loaded(&context).and_then(|_| Tensor::ones(1, DType::F32, device)?.to_vec1::<f32>());
    match tried {
        Ok(ones) if ones == [1.0] => Ok(()),
        Ok(other) => bail!("asked for a one it gave {other:?}"),
        Err(e) => bail!("kernels do not load on {card} (docs/gpu.md, CUDA_COMPUTE_CAP): {e}"),
    }
}

pub(super) fn run(name: &str, shape: LaunchShape, args: &mut [Arg<'_>]) -> Result<()> {
    enum KernelArgument {
        Address(u64),
        Count(u32),
        Number(f32),
    }
    let device = device_of(args)?;
    let stream = device.cuda_stream();
    let function = function(stream.context(), name, shape.shared)?;
    let value = |arg: &Arg<'_>| match arg {
        Arg::Count(n) => Ok(KernelArgument::Count(*n as u32)),
        Arg::Number(x) => Ok(KernelArgument::Number(*x as f32)),
        other => Ok(KernelArgument::Address(address_of(other)?)),
    };
    let values = args.iter().map(value).collect::<Result<Vec<_>>>()?;
    let mut builder = stream.launch_builder(&function);
    for value in &values {
        match value {
            KernelArgument::Address(x) => builder.arg(x),
            KernelArgument::Count(x) => builder.arg(x),
            KernelArgument::Number(x) => builder.arg(x),
        };
    }
    let config = LaunchConfig {
        grid_dim: (shape.grid[0] as u32, shape.grid[1] as u32, shape.grid[2] as u32),
        block_dim: (shape.threads as u32, 1, 1),
        shared_mem_bytes: shape.shared as u32,
    };
    #[expect(unsafe_code, reason = "kernels are not checked by the compiler")]
    // SAFETY: the emulated tests check number and types of this call's arguments and that the kernel stays inside
    // its buffers; they live until the stream has done with them, because it also frees them.
    unsafe {
        builder.launch(config).w()?;
    }
    Ok(())
}

/// cuBLAS thinks in columns: the product of the transposes, in reverse order.
pub(super) fn gemm(
    to: &Tensor,
    place: OutputView,
    [m, n, k]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) -> Result<()> {
    let kind = |dtype| match dtype {
        DType::F32 => Ok(blas::cudaDataType::CUDA_R_32F),
        DType::BF16 => Ok(blas::cudaDataType::CUDA_R_16BF),
        other => bail!("products of {other:?}"),
    };
    let turn = |transposed| match transposed {
        true => blas::cublasOperation_t::CUBLAS_OP_T,
        false => blas::cublasOperation_t::CUBLAS_OP_N,
    };
    let at =
        |t: &Tensor, start: usize| Ok::<_, Error>(address(t)? + (start * t.dtype().size_in_bytes()) as u64);
    let (alpha, beta) = (1.0f32, if place.keep { 1.0f32 } else { 0.0 });
    let device = cuda(to.device())?;
    let handle = device.cublas_handle();
    device.cuda_stream().context().bind_to_thread().w()?;
    let (ap, bp, cp) = (at(a.tensor, a.start)?, at(b.tensor, b.start)?, at(to, place.start)?);
    let (input, output) = (kind(a.tensor.dtype())?, kind(to.dtype())?);
    #[expect(unsafe_code, reason = "cuBLAS takes addresses")]
    // SAFETY: `launch::gemm` has checked that both operands and the result lie inside their tensors.
    unsafe {
        cublas::gemm_ex(
            *handle.handle(),
            turn(b.transposed),
            turn(a.transposed),
            n as i32,
            m as i32,
            k as i32,
            (&raw const alpha).cast(),
            bp as *const c_void,
            input,
            b.stride as i32,
            ap as *const c_void,
            input,
            a.stride as i32,
            (&raw const beta).cast(),
            cp as *mut c_void,
            output,
            place.stride as i32,
            blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
        .w()
    }
}

/// A device ready for work, and its name.
pub(super) fn open(ordinal: usize) -> Result<(Device, String)> {
    // A stream of our own: candle's default is another one on every thread of the host.
    let device = Device::new_cuda_with_stream(ordinal)?;
    let inner = cuda(&device)?;
    #[expect(unsafe_code, reason = "events would order several streams, and cost time")]
    // SAFETY: all work goes to one stream.
    unsafe {
        inner.disable_event_tracking();
    }
    // Products of bfloat16 are summed in float32 all the way, as the emulator does.
    let exact = blas::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    #[expect(unsafe_code, reason = "a setting of cuBLAS")]
    // SAFETY: the handle is open.
    unsafe {
        blas::cublasSetMathMode(*inner.cublas_handle().handle(), exact).result().w()?;
    }
    // By default the pool gives its memory back at every synchronisation.
    set_pool(inner, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)?;
    let (context, least) = (inner.cuda_stream().context().clone(), (8, 0));
    let (name, (major, minor)) = (context.name().w()?, context.compute_capability().w()?);
    if (major, minor) < least {
        bail!(
            "{name}: expected compute capability 8.0 or later, for products of bfloat16, got {major}.{minor}"
        );
    }
    try_out(&device, &format!("compute capability {major}.{minor}"))?;
    Ok((device, name))
}

fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    #[expect(unsafe_code, reason = "the driver's pool of memory")]
    // SAFETY: the device is open.
    unsafe {
        driver::device::get_default_mem_pool(device.cuda_stream().context().cu_device()).w()
    }
}

fn set_pool(device: &CudaDevice, what: sys::CUmemPool_attribute, mut value: u64) -> Result<()> {
    #[expect(unsafe_code, reason = "the driver's pool of memory")]
    // SAFETY: these attributes are 64-bit numbers.
    unsafe {
        driver::mem_pool::set_attribute(pool(device)?, what, (&raw mut value).cast()).w()
    }
}

fn get_pool(device: &CudaDevice, what: sys::CUmemPool_attribute) -> Result<usize> {
    let mut value = 0u64;
    #[expect(unsafe_code, reason = "the driver's pool of memory")]
    // SAFETY: these attributes are 64-bit numbers.
    unsafe {
        driver::mem_pool::get_attribute(pool(device)?, what, (&raw mut value).cast()).w()?;
    }
    Ok(value as usize)
}

/// Bytes of the pool in use, once all work is done.
pub(super) fn memory_in_use(device: &Device) -> Result<usize> {
    device.synchronize()?;
    get_pool(cuda(device)?, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
}

/// Lets the high-water mark begin at what is in use now.
pub(super) fn reset_peak(device: &Device) -> Result<()> {
    device.synchronize()?;
    set_pool(cuda(device)?, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)
}

/// The most bytes in use since then.
pub(super) fn peak(device: &Device) -> Result<usize> {
    device.synchronize()?;
    get_pool(cuda(device)?, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// The address of an argument on the device.
fn address_of(arg: &Arg<'_>) -> Result<u64> {
    match arg {
        Arg::In(t) => address(t),
        Arg::At(at) => Ok(at.address),
        Arg::Null => Ok(0),
        Arg::Out(out) => match &out.memory {
            Memory::Device(t) => address(t),
            #[cfg(feature = "emulate")]
            Memory::Emulated(_) => bail!("an emulated buffer on a device"),
        },
        Arg::Count(_) | Arg::Number(_) => bail!("a number has no address"),
    }
}
