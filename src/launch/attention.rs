//! Causal attention: what `kernels/attention.cu` is launched with.

use candle_core::{DType, Result, Tensor, bail};

use super::dispatch::in_place;
use super::{Arg, LaunchShape, Out, THREADS, args, launch};

/// Threads in a block of all but `merge` and `append`.
const BLOCK: usize = 128;
/// Rows streamed through shared memory at a time.
const STREAM: usize = 64;
/// Rows that a block of `append` copies.
const ROWS: usize = 8;
/// As many queries as decoding takes at a time; for more the tiles of the forward kernel are worth it.
const FEW: usize = 16;
/// Multiprocessors of a large GPU, and the shared memory that blocks on one of them divide among themselves.
const PROCESSORS: usize = 132;
const SHARED: usize = 227 * 1024;
/// Bytes of keys and values that stay in the second-level cache while queries go over them.
const CACHED: usize = 24 << 20;

/// What is attended to. `size` is of a head, `past` the positions of the cache before these.
#[derive(Clone, Copy)]
pub(crate) struct AttentionSizes {
    pub batch: usize,
    pub heads: usize,
    pub size: usize,
    pub time: usize,
    pub past: usize,
}

impl AttentionSizes {
    fn width(self) -> usize {
        self.heads * self.size
    }

    fn keys(self) -> usize {
        self.past + self.time
    }

    fn pairs(self) -> usize {
        self.batch * self.heads
    }

    fn scale(self) -> f64 {
        (self.size as f64).sqrt().recip()
    }

    /// Columns of a head in shared memory.
    fn padded(self) -> Result<usize> {
        match [16, 32, 64, 128].into_iter().find(|&d| self.size <= d) {
            Some(d) => Ok(d),
            None => bail!("attention: heads of {} columns, the kernels take at most 128", self.size),
        }
    }

    /// Bytes of a row in shared memory.
    fn row(self, dtype: DType) -> Result<usize> {
        Ok((self.padded()? + 8) * dtype.size_in_bytes())
    }

    /// Queries (or keys) that a block of the forward and backward kernels has.
    fn tile(self, dtype: DType) -> Result<usize> {
        Ok(if dtype == DType::BF16 && self.padded()? <= 64 { 128 } else { 64 })
    }

    /// A block per tile of a head, few enough heads at a time that their keys and values stay cached.
    fn tiles(self, dtype: DType, shared: usize) -> Result<LaunchShape> {
        let bytes = 2 * self.keys() * self.size * dtype.size_in_bytes();
        let groups = self.pairs().div_ceil((CACHED / bytes).max(1));
        let grid = [self.pairs().div_ceil(groups), self.time.div_ceil(self.tile(dtype)?), groups];
        Ok(LaunchShape { grid, threads: BLOCK, shared })
    }

    /// The kernel for heads of this size.
    fn kernel(self, name: &str) -> Result<String> {
        Ok(format!("attention_{name}_{}", self.padded()?))
    }
}

/// Keys and values where they lie: in qkv, or in a cache [B, P+T, d].
struct Keys<'a> {
    k: &'a Tensor,
    v: &'a Tensor,
    k_at: usize,
    v_at: usize,
    stride: usize,
}

impl<'a> Keys<'a> {
    fn of(qkv: &'a Tensor, cache: Option<&'a (Tensor, Tensor)>, s: AttentionSizes) -> Self {
        let width = s.width();
        match cache {
            None => Self { k: qkv, v: qkv, k_at: width, v_at: 2 * width, stride: 3 * width },
            Some((k, v)) => Self { k, v, k_at: 0, v_at: 0, stride: width },
        }
    }

    /// The numbers that every kernel over keys runs_on_kernels, in their order.
    fn numbers(&self, s: AttentionSizes) -> Vec<Arg<'static>> {
        let counts = [s.batch, s.heads, s.size, s.time, s.past, self.k_at, self.v_at, self.stride];
        counts.map(Arg::Count).into_iter().chain([s.scale().into()]).collect()
    }
}

/// The cache with new keys and values behind it: 2 × [B, P+T, d].
pub(crate) fn append(qkv: &Tensor, past: &(Tensor, Tensor), s: AttentionSizes) -> Result<(Tensor, Tensor)> {
    let (dtype, width) = (qkv.dtype(), s.width());
    let old = |t: &Tensor| -> Result<Option<Tensor>> {
        (s.past > 0).then(|| t.to_dtype(dtype)?.contiguous()).transpose()
    };
    let (old_k, old_v) = (old(&past.0)?, old(&past.1)?);
    let dims = [s.batch, s.keys(), width];
    let (mut k, mut v) = (Out::new(&dims, dtype, qkv)?, Out::new(&dims, dtype, qkv)?);
    let shape =
        LaunchShape { grid: [(s.batch * s.keys()).div_ceil(ROWS), 2, 1], threads: THREADS, shared: 0 };
    let mut args = args![old_k.as_ref(), old_v.as_ref(), qkv, &mut k, &mut v, s.batch, width, s.time, s.past];
    launch("attention_append", dtype, shape, &mut args)?;
    Ok((k.finish()?, v.finish()?))
}

/// Keys and values of one sequence written where there is room for them, two of [1, C, d], behind the `past` that lies
/// there.
pub(crate) fn append_in_place(qkv: &Tensor, room: &[Tensor; 2], s: AttentionSizes) -> Result<()> {
    let shape = LaunchShape { grid: [s.time.div_ceil(ROWS), 2, 1], threads: THREADS, shared: 0 };
    let [k, v] = room.each_ref().map(|t| t.narrow(1, s.past, s.time));
    let (none, v) = (None::<&Tensor>, v?);
    in_place(&k?, |k| {
        in_place(&v, |v| {
            let mut args = args![none, none, qkv, k, v, s.batch, s.width(), s.time, 0];
            launch("attention_append", qkv.dtype(), shape, &mut args)
        })
    })
}

/// y [B·T, d], and ℓ [B·T, H] in float32. `cache` holds keys and values of all positions, these included;
/// without one they are in qkv and there is no past.
pub(crate) fn forward(
    qkv: &Tensor,
    cache: Option<&(Tensor, Tensor)>,
    s: AttentionSizes,
) -> Result<(Tensor, Tensor)> {
    let rows = s.batch * s.time;
    let mut y = Out::new(&[rows, s.width()], qkv.dtype(), qkv)?;
    let mut log_sums = Out::new(&[rows, s.heads], DType::F32, qkv)?;
    let x = Keys::of(qkv, cache, s);
    if s.time <= FEW {
        decode(qkv, &x, &mut y, &mut log_sums, s)?;
    } else {
        let shape = s.tiles(qkv.dtype(), (s.tile(qkv.dtype())? + 4 * STREAM) * s.row(qkv.dtype())?)?;
        let mut args = Vec::from(args![qkv, x.k, x.v, &mut y, &mut log_sums]);
        args.extend(x.numbers(s));
        launch(&s.kernel("output")?, qkv.dtype(), shape, &mut args)?;
    }
    Ok((y.finish()?, log_sums.finish()?))
}

/// Keys split over so many blocks that they fill the device; then the splits are put together.
fn decode(qkv: &Tensor, x: &Keys<'_>, y: &mut Out, log_sums: &mut Out, s: AttentionSizes) -> Result<()> {
    let (dtype, rows) = (qkv.dtype(), s.batch * s.time);
    let tiles = s.time.div_ceil(FEW);
    let shared = (400 * s.row(dtype)?).max(4 * STREAM * (s.padded()? + 2));
    let wanted = (PROCESSORS * (SHARED / (shared + 1024)) / (s.pairs() * tiles)).max(1);
    let chunk = s.keys().div_ceil(wanted).next_multiple_of(STREAM);
    let splits = s.keys().div_ceil(chunk);
    let shape = LaunchShape { grid: [s.pairs(), splits, tiles], threads: BLOCK, shared };
    let room = |columns: usize| Out::new(&[splits, rows * columns], DType::F32, qkv);
    let mut parts = (splits > 1)
        .then(|| Ok::<_, candle_core::Error>((room(s.width())?, room(2 * s.heads)?)))
        .transpose()?;
    let (to_parts, to_marks) = match &mut parts {
        Some((parts, marks)) => (parts.into(), marks.into()),
        None => (Arg::Null, Arg::Null),
    };
    let mut args = Vec::from(args![qkv, x.k, x.v, &mut *y, &mut *log_sums, to_parts, to_marks, chunk]);
    args.extend(x.numbers(s));
    launch(&s.kernel("decode")?, dtype, shape, &mut args)?;
    let Some((parts, marks)) = parts else { return Ok(()) };
    let (parts, marks) = (parts.finish()?, marks.finish()?);
    let shape = LaunchShape::new(rows * s.heads, THREADS).shared(THREADS / 32 * 128 * 4);
    let mut args = args![&parts, &marks, y, log_sums, s.size, splits, s.scale()];
    launch("attention_merge", dtype, shape, &mut args)
}

/// The gradient of qkv; the past gets none.
pub(crate) fn backward(
    qkv: &Tensor,
    cache: Option<&(Tensor, Tensor)>,
    [y, log_sums, dy]: [&Tensor; 3],
    s: AttentionSizes,
) -> Result<Tensor> {
    let dtype = qkv.dtype();
    let units = s.pairs() * s.time;
    let mut exponents = Out::new(&[s.pairs(), s.time], DType::F32, qkv)?;
    let mut alongs = Out::new(&[s.pairs(), s.time], DType::F32, qkv)?;
    let lanes = s.padded()? * dtype.size_in_bytes() / 16;
    let shape = LaunchShape::new((units * lanes).div_ceil(BLOCK), BLOCK);
    let mut args = args![y, dy, log_sums, &mut exponents, &mut alongs, s.batch, s.heads, s.size, s.time];
    launch(&s.kernel("along")?, dtype, shape, &mut args)?;
    let (exponents, alongs) = (exponents.finish()?, alongs.finish()?);
    let mut dqkv = Out::like(qkv)?;
    let shared = (2 * s.tile(dtype)? + 4 * STREAM) * s.row(dtype)?;
    let x = Keys::of(qkv, cache, s);
    for (name, more) in [("queries", 0), ("keys", 16 * STREAM)] {
        let mut args = Vec::from(args![qkv, x.k, x.v, dy, &exponents, &alongs, &mut dqkv]);
        args.extend(x.numbers(s));
        launch(&s.kernel(name)?, dtype, s.tiles(dtype, shared + more)?, &mut args)?;
    }
    dqkv.finish()
}
