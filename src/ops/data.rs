//! Reading and making tensors as plain slices: the seam between candle's storage and CPU loops.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLockReadGuard;

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Storage, Tensor, WithDType, bail};
use half::bf16;
use rayon::prelude::*;

use super::real::{Real, dispatch_dtype};
use super::simd;
use super::stored::Stored;
use crate::launch;
use crate::products::{self, BLOCK, widen_into, zeros};

/// Rows handled by one task. Fixed, so that partial sums do not depend on the number of threads.
pub(crate) const ROWS: usize = 64;

/// A read lock on a contiguous CPU tensor.
pub struct Data<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    start: usize,
    len: usize,
}

impl<'a> Data<'a> {
    /// Locks `tensor`. An error where it is not contiguous, or lives on a device for which the
    /// calling op has no path: nothing falls back silently.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("an op needs a contiguous tensor, got {:?}", layout)
        };
        if !matches!(&*storage, Storage::Cpu(_)) {
            bail!("this op has no path for {:?}", tensor.device());
        }
        Ok(Self { storage, start, len: end - start })
    }

    /// The elements.
    pub fn get<T: WithDType>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(cpu) => Ok(&T::cpu_storage_as_slice(cpu)?[self.start..self.start + self.len]),
            _ => bail!("not a CPU tensor"),
        }
    }
}

/// Runs `f` on one of rayon's own threads. From any other thread every parallel loop is handed over and
/// waited for, which for small tensors costs more than the loop.
pub fn on_worker<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// The same for work whose parallel loops are short and follow each other closely, as in decoding: a second
/// thread is kept from falling asleep between them, since waking it would cost as much as a loop.
pub fn on_two_workers<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let done = AtomicBool::new(false);
    let work = || {
        // Said on leaving, a panic included: the other thread waits for it.
        let _done = Done(&done);
        f()
    };
    let company = || {
        while !done.load(Ordering::Acquire) {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::hint::spin_loop();
            }
        }
    };
    rayon::join(work, company).0
}

/// A CPU tensor from elements.
pub(crate) fn tensor<T: WithDType>(data: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Whether values are stored in bfloat16 and no kernel computes with them (ruling R28). An op then computes in float32
/// and rounds where a kernel stores.
pub(super) fn is_brief(x: &Tensor) -> bool {
    x.dtype() == DType::BF16 && !launch::runs_on_kernels(x)
}

/// A tensor in float32 where it is bfloat16; any other as it is.
pub(super) fn wide(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::BF16 || launch::runs_on_kernels(x) || !x.device().is_cpu() {
        return if x.dtype() == DType::BF16 { x.contiguous()?.to_dtype(DType::F32) } else { Ok(x.clone()) };
    }
    let x = x.contiguous()?;
    let data = Data::of(&x)?;
    let from = data.get::<bf16>()?;
    let mut y = zeros(from.len());
    y.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(y, x)| widen_into(y, x));
    tensor(y, x.dims())
}

/// A float32 tensor on a CPU as it is stored in bfloat16.
pub(super) fn brief(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let data = Data::of(&x)?;
    let from = data.get::<f32>()?;
    let mut y = zeros(from.len());
    y.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(y, x)| products::round_into(y, x));
    tensor(y, x.dims())
}

/// The same values on the CPU. A view on a device is copied there first: what crosses is the whole memory that a
/// tensor looks at.
///
/// # Shapes
/// - `t`: any
/// - result: the same
pub fn on_cpu(t: &Tensor) -> Result<Tensor> {
    if t.device().is_cpu() {
        return Ok(t.clone());
    }
    t.force_contiguous()?.to_device(&Device::Cpu)
}

/// The elements of a float tensor as `f64`, row by row.
///
/// # Shapes
/// - `t`: any
/// - result: as many numbers as it has elements
pub fn to_vec_f64(t: &Tensor) -> Result<Vec<f64>> {
    let t = wide(&on_cpu(t)?.contiguous()?)?;
    dispatch_dtype!(t.dtype(), T => Ok(Data::of(&t)?.get::<T>()?.iter().map(|x| x.wide()).collect()))
}

/// The index of the largest logit of a single row, the first of equals. An error where one is NaN.
///
/// # Shapes
/// - `logits`: `[V]` or [1, V]
/// - result: a token id
pub fn likeliest(logits: &Tensor) -> Result<u32> {
    if launch::runs_on_kernels(logits) {
        if rows_cols(logits).0 != 1 || logits.elem_count() == 0 {
            bail!("the likeliest of logits {:?}: expected one row", logits.dims());
        }
        let Some(best) = launch::linear::likeliest(&logits.contiguous()?)? else {
            bail!("a logit is not a number");
        };
        return Ok(best);
    }
    let logits = &wide(logits)?;
    dispatch_dtype!(logits.dtype(), T => {
        let data = Data::of(logits)?;
        let all = data.get::<T>()?;
        if rows_cols(logits).0 != 1 || all.is_empty() {
            bail!("the likeliest of logits {:?}: expected one row", logits.dims());
        }
        if let Some(i) = all.iter().position(|x| x.is_nan()) {
            bail!("the logit of token {i} is not a number");
        }
        let most = simd(#[inline(always)] || super::real::largest(all));
        Ok(all.iter().position(|x| *x == most).unwrap_or(0) as u32)
    })
}

/// (rows, columns) of a tensor seen as a matrix whose columns are its last dimension.
pub(crate) fn rows_cols(t: &Tensor) -> (usize, usize) {
    let cols = t.dims().last().copied().unwrap_or(1);
    (t.elem_count() / cols.max(1), cols)
}

struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add_in_place"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, l1: &Layout, from: &CpuStorage, l2: &Layout) -> Result<()> {
        fn go<S: Stored, F: Stored<Real = S::Real>>(to: &mut [S], from: &[F]) {
            to.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(to, from)| {
                simd(
                    #[inline(always)]
                    || to.iter_mut().zip(from).for_each(|(a, b)| *a = S::narrow(a.widen() + b.widen())),
                );
            });
        }
        let (a, b) = (l1.start_offset(), l2.start_offset());
        let n = l1.shape().elem_count();
        match (to, from) {
            (CpuStorage::BF16(x), CpuStorage::BF16(y)) => go(&mut x[a..a + n], &y[b..b + n]),
            (CpuStorage::BF16(x), CpuStorage::F32(y)) => go(&mut x[a..a + n], &y[b..b + n]),
            (CpuStorage::F32(x), CpuStorage::BF16(y)) => go(&mut x[a..a + n], &y[b..b + n]),
            (CpuStorage::F32(x), CpuStorage::F32(y)) => go(&mut x[a..a + n], &y[b..b + n]),
            (CpuStorage::F64(x), CpuStorage::F64(y)) => go(&mut x[a..a + n], &y[b..b + n]),
            _ => bail!("add_in_place: element types differ"),
        }
        Ok(())
    }
}

/// `sum += t`, in memory order; shapes may differ, element counts may not.
pub(crate) fn add_in_place(sum: &Tensor, t: &Tensor) -> Result<()> {
    if sum.elem_count() != t.elem_count() {
        bail!("gradient has {} elements, expected {}", t.elem_count(), sum.elem_count());
    }
    if launch::runs_on_kernels(sum) {
        return launch::elementwise::accumulate(sum, t);
    }
    sum.inplace_op2(t, &AddInPlace)
}

struct AddRows<'a>(&'a [u32]);

impl InplaceOp2 for AddRows<'_> {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, l1: &Layout, from: &CpuStorage, l2: &Layout) -> Result<()> {
        fn go<S: Stored>(to: &mut [S::Real], from: &[S], ids: &[u32]) {
            let width = from.len() / ids.len().max(1);
            for (&id, row) in ids.iter().zip(from.chunks_exact(width.max(1))) {
                let to = &mut to[id as usize * width..][..width];
                to.iter_mut().zip(row).for_each(|(t, r)| *t += r.widen());
            }
        }
        let (a, b) = (l1.start_offset(), l2.start_offset());
        let (n, m) = (l1.shape().elem_count(), l2.shape().elem_count());
        match (to, from) {
            (CpuStorage::F32(x), CpuStorage::F32(y)) => go(&mut x[a..a + n], &y[b..b + m], self.0),
            (CpuStorage::F32(x), CpuStorage::BF16(y)) => go(&mut x[a..a + n], &y[b..b + m], self.0),
            (CpuStorage::F64(x), CpuStorage::F64(y)) => go(&mut x[a..a + n], &y[b..b + m], self.0),
            _ => bail!("add_rows: element types differ"),
        }
        Ok(())
    }
}

/// `table[ids[i]] += rows[i]`, in this order: the same sum every time.
pub(crate) fn add_rows(table: &Tensor, ids: &[u32], rows: &Tensor) -> Result<()> {
    let ((vocab, width), inside) = (table.dims2()?, |id: &u32| (*id as usize) < table.dims()[0]);
    if rows.elem_count() != ids.len() * width || !ids.iter().all(inside) {
        bail!("{:?} rows for {} ids of a table [{vocab}, {width}]", rows.dims(), ids.len());
    }
    if launch::runs_on_kernels(table) {
        return launch::embedding::add_rows(table, ids, rows);
    }
    table.inplace_op2(rows, &AddRows(ids))
}

/// Adds vectors in the order given.
pub(crate) fn sum_in_order<T: Real>(partial: &[Vec<T>], len: usize) -> Vec<T> {
    let mut total = vec![T::zero(); len];
    for p in partial {
        total.iter_mut().zip(p).for_each(|(s, v)| *s += *v);
    }
    total
}

/// Sums of columns, over blocks of fixed size.
pub(crate) fn column_sums<S: Stored>(x: &[S], cols: usize) -> Vec<S::Real> {
    let partial: Vec<Vec<S::Real>> = x
        .par_chunks(ROWS * cols.max(1))
        .map(|block| {
            let mut sum = vec![<S::Real as num_traits::Zero>::zero(); cols];
            simd(
                #[inline(always)]
                || {
                    for row in block.chunks_exact(cols) {
                        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v.widen());
                    }
                },
            );
            sum
        })
        .collect();
    sum_in_order(&partial, cols)
}

/// Rows of a task of [`by_rows`].
const FEW_ROWS: usize = 16;

/// Runs `f` on every row of a matrix.
pub(super) fn by_rows<T: Real>(x: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    x.par_chunks_mut(FEW_ROWS * width).enumerate().for_each(|(block, x)| {
        simd(
            #[inline(always)]
            || {
                for (i, row) in x.chunks_exact_mut(width).enumerate() {
                    f(block * FEW_ROWS + i, row);
                }
            },
        );
    });
}
