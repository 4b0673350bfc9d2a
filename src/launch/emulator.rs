//! The CPU side of `kernels/emulate.h`: guarded buffers, arguments, and matrix products in place of cuBLAS's.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use half::bf16;

use super::args::{Arg, Guarded, LaunchShape, Operand, OutputView, enough, guarded};
use super::races::{self, MESSAGE, Raw, v5_emulate};

/// Bytes of shared memory that a block can have on Hopper and later.
const SHARED: usize = 227 * 1024;

thread_local! {
    static BLOCK_MEMORY: Cell<usize> = const { Cell::new(SHARED) };
}

/// Bytes of shared memory that a block can have, for this thread.
pub(super) fn block_memory() -> usize {
    BLOCK_MEMORY.get()
}

/// What `f` returns on a card whose blocks can have so many bytes of shared memory.
pub fn with_block_memory<R>(bytes: usize, f: impl FnOnce() -> R) -> R {
    let before = BLOCK_MEMORY.replace(bytes);
    let result = f();
    BLOCK_MEMORY.set(before);
    result
}

static ON: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU32 = AtomicU32::new(1);

/// From now on float32 and bfloat16 tensors of this process go through emulated kernels.
pub(super) fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}

pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Every launch draws an order of threads of its own; this says from where on.
pub(super) fn reseed(seed: u32) {
    SEED.store(seed, Ordering::Relaxed);
}

/// Runs `f` on the bytes of a CPU tensor, and with the offset of its first byte in its storage.
fn with_bytes<R>(t: &Tensor, f: impl FnOnce(&[u8], usize) -> R) -> Result<R> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else { bail!("{:?} in the emulator", t.device()) };
    let size = t.dtype().size_in_bytes();
    let range = layout.start_offset() * size..(layout.start_offset() + t.elem_count()) * size;
    let all = match cpu {
        CpuStorage::F32(x) => as_bytes(x),
        CpuStorage::BF16(x) => as_bytes(x),
        CpuStorage::U32(x) => as_bytes(x),
        CpuStorage::F64(x) => as_bytes(x),
        _ => bail!("kernels know no elements of type {:?}", t.dtype()),
    };
    Ok(f(&all[range.clone()], range.start))
}

/// Where a tensor's first element is.
pub(super) fn address(t: &Tensor) -> Result<u64> {
    with_bytes(t, |bytes, _| bytes.as_ptr() as u64)
}

fn as_bytes<T: Copy>(x: &[T]) -> &[u8] {
    #[expect(unsafe_code, reason = "a tensor's elements as bytes")]
    // SAFETY: plain numbers without padding, and the slice ends where they end.
    unsafe {
        std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x))
    }
}

/// The elements of a buffer as a tensor.
pub(super) fn tensor(from: &Guarded, dtype: DType, dims: &[usize]) -> Result<Tensor> {
    let bytes = from.bytes();
    let words = || bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    match dtype {
        DType::F32 => {
            Tensor::from_vec(words().map(f32::from_le_bytes).collect::<Vec<_>>(), dims, &Device::Cpu)
        }
        DType::U32 => {
            Tensor::from_vec(words().map(u32::from_le_bytes).collect::<Vec<_>>(), dims, &Device::Cpu)
        }
        DType::BF16 => {
            let all = bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]));
            Tensor::from_vec(all.collect::<Vec<_>>(), dims, &Device::Cpu)
        }
        DType::F64 => {
            let all = bytes.chunks_exact(8).map(|b| f64::from_le_bytes(std::array::from_fn(|i| b[i])));
            Tensor::from_vec(all.collect::<Vec<_>>(), dims, &Device::Cpu)
        }
        other => bail!("kernels know no elements of type {other:?}"),
    }
}

/// A tensor's bytes between margins, as far behind an aligned address as they were.
fn guarded_copy(t: &Tensor) -> Result<Guarded> {
    with_bytes(t, |bytes, offset| {
        let mut copy = Guarded::new(bytes.len(), offset);
        copy.bytes_mut().copy_from_slice(bytes);
        copy
    })
}

fn pointer_kind(dtype: DType) -> Result<u32> {
    match dtype {
        DType::F32 => Ok(0),
        DType::BF16 => Ok(1),
        DType::U32 => Ok(2),
        DType::F64 => Ok(3),
        other => bail!("kernels know no elements of type {other:?}"),
    }
}

pub(super) fn run(name: &str, shape: LaunchShape, args: &mut [Arg<'_>]) -> Result<()> {
    enough(shape.shared, block_memory())?;
    let copy = |arg: &Arg<'_>| match arg {
        Arg::In(t) => guarded_copy(t).map(Some),
        _ => Ok(None),
    };
    let mut inputs: Vec<Option<Guarded>> = args.iter().map(copy).collect::<Result<_>>()?;
    let mut raw = Vec::with_capacity(args.len());
    for (arg, input) in args.iter_mut().zip(&mut inputs) {
        raw.push(match arg {
            Arg::In(t) => {
                Raw { bits: input.as_mut().map_or(0, Guarded::address), kind: pointer_kind(t.dtype())? }
            }
            Arg::Out(out) => {
                let kind = pointer_kind(out.dtype())?;
                Raw { bits: guarded(out)?.address(), kind }
            }
            Arg::At(at) => Raw { bits: at.address, kind: pointer_kind(at.dtype)? },
            Arg::Null => Raw { bits: 0, kind: 100 },
            Arg::Count(n) => Raw { bits: *n as u64, kind: 10 },
            Arg::Number(x) => Raw { bits: u64::from((*x as f32).to_bits()), kind: 11 },
        });
    }
    let mut message: [c_char; MESSAGE] = [0; MESSAGE];
    let emulate = races::wanted()?.unwrap_or(v5_emulate);
    let (grid, size) = (shape.grid.map(|n| n as u32), [shape.threads as u32, 1, 1]);
    let Ok(c_name) = CString::new(name) else { bail!("a name with a zero byte") };
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    #[expect(unsafe_code, reason = "the emulator is C++")]
    // SAFETY: the emulator checks number and types of the arguments; every address is that of a live buffer, and
    // the message has the bytes that are its limit.
    let failed = unsafe {
        emulate(
            c_name.as_ptr(),
            grid.as_ptr(),
            size.as_ptr(),
            shape.shared as u32,
            raw.as_ptr(),
            raw.len() as u32,
            seed,
            &raw mut message,
        )
    };
    if failed != 0 {
        #[expect(unsafe_code, reason = "the emulator is C++")]
        // SAFETY: zeros beyond what was written end the string.
        let text = unsafe { CStr::from_ptr(message.as_ptr()) };
        bail!("{}", text.to_string_lossy());
    }
    check_bounds(args, &inputs)
}

/// Refuses what a launch wrote into an input, or outside an output.
fn check_bounds(args: &mut [Arg<'_>], inputs: &[Option<Guarded>]) -> Result<()> {
    for (i, (arg, input)) in args.iter_mut().zip(inputs).enumerate() {
        if let (Arg::In(t), Some(copy)) = (&*arg, input)
            && !(copy.is_whole() && with_bytes(t, |bytes, _| bytes == copy.bytes())?)
        {
            bail!("argument {i}, which it should read, was written to");
        }
        if let Arg::Out(out) = arg
            && !guarded(out)?.is_whole()
        {
            bail!("argument {i} was written to outside its {} bytes", guarded(out)?.len);
        }
    }
    Ok(())
}

/// The product in float32; what cuBLAS does on a device.
pub(super) fn gemm(
    to: &mut Guarded,
    dtype: DType,
    place: OutputView,
    [m, n, k]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) -> Result<()> {
    // Row by row of `rows` · `cols`.
    let laid = |o: Operand<'_>, rows: usize, cols: usize| -> Result<Vec<f32>> {
        let x = o.tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let [down, along] = if o.transposed { [1, o.stride] } else { [o.stride, 1] };
        let row = |i| (0..cols).map(move |j| o.start + i * down + j * along);
        Ok((0..rows).flat_map(row).map(|at| x[at]).collect())
    };
    let (x, y) = (laid(a, m, k)?, laid(b, k, n)?);
    let size = dtype.size_in_bytes();
    for i in 0..m {
        // Each sum in the order of its terms, all sums of a row side by side.
        let mut sums = vec![0.0f32; n];
        for (a, row) in x[i * k..][..k].iter().zip(y.chunks_exact(n)) {
            sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
        }
        let start = (place.start + i * place.stride) * size;
        let row = &mut to.bytes_mut()[start..start + n * size];
        for (to, sum) in row.chunks_exact_mut(size).zip(sums) {
            match dtype {
                DType::F32 => {
                    let old = if place.keep { f32::from_le_bytes([to[0], to[1], to[2], to[3]]) } else { 0.0 };
                    to.copy_from_slice(&(old + sum).to_le_bytes());
                }
                _ => {
                    let old = if place.keep { bf16::from_le_bytes([to[0], to[1]]).to_f32() } else { 0.0 };
                    to.copy_from_slice(&bf16::from_f32(old + sum).to_le_bytes());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::{Out, args, detect_races};

    const N: usize = 60;

    fn input() -> Result<Tensor> {
        Tensor::arange(0f32, N as f32, &Device::Cpu)
    }

    /// What a planted kernel makes of 0, 1, 2, …, or why it failed.
    fn planted(name: &str) -> Result<Vec<f32>> {
        planted_as(&format!("{name}_f32"), DType::F32, LaunchShape::new(1, 64))
    }

    fn planted_as(name: &str, dtype: DType, shape: LaunchShape) -> Result<Vec<f32>> {
        let (x, mut y) = (input()?.to_dtype(dtype)?, Out::new(&[N], DType::F32, &input()?)?);
        run(&format!("planted_{name}"), shape.shared(4 * 64), &mut args![&x, &mut y, N])?;
        y.finish()?.to_vec1()
    }

    #[test]
    fn a_sound_kernel_runs() {
        let expected: Vec<f32> = (1..N).chain([0]).map(|i| i as f32).collect();
        for _ in 0..10 {
            assert_eq!(planted("exchange").unwrap(), expected);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let cases = [
            ("divergent", "__syncthreads"),
            ("early", "lanes at a warp operation"),
            ("beyond", "written to outside"),
            ("careless", "was written to"),
            ("greedy", "outside the 256 bytes of shared memory"),
            ("unaligned", "not aligned"),
        ];
        for (name, says) in cases {
            let error = planted(name).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{name}: {error:?}");
        }
        let (x, mut y) = (input().unwrap(), Out::new(&[N], DType::F32, &input().unwrap()).unwrap());
        let shape = LaunchShape::new(1, 64).shared(SHARED + 1);
        let error = run("planted_exchange_f32", shape, &mut args![&x, &mut y, N]).unwrap_err().to_string();
        assert!(error.contains("asks for 232449 bytes of shared memory, a block of this device has 232448"));
    }

    /// Whatever the order of threads and copies: in each of some.
    #[test]
    fn the_detector_names_every_kind_of_race() {
        let says: [(&str, &[&str]); 17] = [
            ("race", &["race on 4 bytes at byte", "of shared memory", "read", "planted.cpp:"]),
            ("other_warp", &["race on", "and no barrier lies between"]),
            ("shuffled", &["race on", "and no __syncwarp or barrier lies between"]),
            ("overwritten", &["race on", "read", "lies between"]),
            ("both_write", &["race on", "of argument 1", "writes it at planted.cpp:", "wrote it at"]),
            ("impatient", &["copy not waited for", "copied there asynchronously at"]),
            ("uncommitted", &["copy not waited for"]),
            ("waits_alone", &["race on", "there asynchronously", "lies between"]),
            ("block_same", &["race on", "of argument 1", "nothing orders blocks of a launch"]),
            ("block_next", &["race on", "of argument 1", "nothing orders blocks of a launch"]),
            ("uninitialised", &["uninitialised 4 bytes at byte", "reads it at planted.cpp:"]),
            ("greedy", &["outside the 256 bytes of shared memory", "writes it at planted.cpp:"]),
            ("divergent", &["divergent: 60 of 64 threads at __syncthreads, 4 have ended"]),
            ("early", &["divergent: warp 1: 28 lanes at a warp operation, 4 have ended"]),
            ("two_barriers", &["divergent: of the same block", "waits at planted.cpp:"]),
            ("two_shuffles", &["divergent: of the same warp", "waits at common.cuh:"]),
            ("tile_early", &["race on 16 bytes", "no __syncwarp or barrier lies between"]),
        ];
        for (name, words) in says {
            for _ in 0..4 {
                let error = detect_races(|| raced(name)).err().map(|e| e.to_string()).unwrap_or_default();
                assert!(
                    words.iter().all(|word| error.contains(word)),
                    "{name}: {error:?}, expected {words:?}"
                );
            }
        }
    }

    #[test]
    fn the_detector_is_silent_where_there_is_order() {
        let expected: Vec<f32> = (1..N).chain([0]).map(|i| i as f32).collect();
        assert_eq!(detect_races(|| raced("exchange")).unwrap(), expected);
        for name in ["warp_exchange", "patient", "block_each", "tile"] {
            for _ in 0..4 {
                let found = detect_races(|| raced(name)).map_err(|e| e.to_string());
                assert!(found.is_ok(), "{name}: {found:?}");
            }
        }
    }

    fn raced(name: &str) -> Result<Vec<f32>> {
        match name {
            "tile" | "tile_early" => {
                planted_as(&format!("{name}_bf16"), DType::BF16, LaunchShape::new(1, 32))
            }
            "block_each" | "block_same" | "block_next" => {
                planted_as(&format!("{name}_f32"), DType::F32, LaunchShape::new(2, 32))
            }
            _ => planted(name),
        }
    }

    #[test]
    fn what_reads_the_unknown_becomes_nan() {
        for (name, place) in [("before", 0), ("unwritten", N - 1)] {
            assert!(planted(name).unwrap()[place].is_nan(), "{name}");
        }
        // Whoever runs first has not been given anything: some element, in some order of threads and copies.
        for name in ["race", "impatient"] {
            assert!((0..10).any(|_| planted(name).unwrap().iter().any(|x| x.is_nan())), "{name}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let refused = |args: &mut [Arg<'_>], says: &str| {
            let shape = LaunchShape::new(1, 64).shared(4 * 64);
            let error =
                run("planted_exchange_f32", shape, args).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{error:?}");
        };
        let x = input().unwrap();
        let half = x.to_dtype(DType::BF16).unwrap();
        let out = || Out::new(&[N], DType::F32, &x).unwrap();
        refused(&mut args![&x, &mut out()], "2 arguments, the kernel takes 3");
        refused(&mut args![&half, &mut out(), N], "argument 0 is of another type");
        refused(&mut args![&x, N, &mut out()], "argument 1 is of another type");
        refused(&mut args![&x, &mut out(), 1.0], "argument 2 is of another type");
        let mut y = out();
        let mut all = args![&x, &mut y, N];
        let error = run("planted_nothing_f32", LaunchShape::new(1, 64), &mut all).unwrap_err().to_string();
        assert!(error.contains("no kernel of that name"), "{error}");
        let error = run("planted_exchange_f32", LaunchShape::new(1, 65), &mut all).unwrap_err().to_string();
        assert!(error.contains("65 x 1 x 1 threads"), "{error}");
    }
}
