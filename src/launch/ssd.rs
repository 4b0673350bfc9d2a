//! Mamba-2's selective state space, in chunks of 64 steps, or step by step where there are few.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::column_sums;
use super::{LaunchShape, Out, THREADS, args, block_memory, launch, vector};

/// What is scanned.
#[derive(Clone, Copy)]
pub(crate) struct Ssd {
    pub batch: usize,
    pub time: usize,
    pub heads: usize,
    /// Channels of a head.
    pub size: usize,
    /// Rows of the state.
    pub state: usize,
    pub groups: usize,
    pub limit: (f64, f64),
}

/// Steps of a chunk.
const CHUNK: usize = 64;
/// With fewer steps than this, one after the other is faster than in chunks.
const FEW: usize = 16;
/// The most rows of a state.
const MOST: usize = 128;
/// As many blocks keep a large GPU busy: of the output, of the gradients, and of the scans.
const BUSY: [usize; 3] = [384, 256, 132];

/// Sizes for which there are kernels: rows of a state, and channels at a time.
fn tiles(state: usize, channels: usize, dtype: DType) -> (usize, usize) {
    match (dtype, state, channels) {
        (_, ..=32, ..=32) => (32, 32),
        (DType::BF16, ..=64, ..=32) => (64, 32),
        (DType::BF16, ..=64, _) => (64, 64),
        (DType::BF16, _, ..=32) => (128, 32),
        _ => (128, 64),
    }
}

/// What the kernels of one call share.
struct SsdPlan {
    s: Ssd,
    dtype: DType,
    chunks: usize,
    /// Rows of the state, and channels at a time, in shared memory.
    n: usize,
    p: usize,
    /// Bytes of shared memory that a block can have.
    most: usize,
}

impl SsdPlan {
    fn new(s: Ssd, x: &Tensor) -> Result<Self> {
        if s.state > MOST {
            bail!("ssd: a state of {} rows, kernels take up to {MOST}", s.state);
        }
        let (n, p) = tiles(s.state, s.size, x.dtype());
        Ok(Self { s, dtype: x.dtype(), chunks: s.time.div_ceil(CHUNK), n, p, most: block_memory(x)? })
    }

    fn launch(&self, kernel: &str, p: usize, shape: LaunchShape, args: &mut [super::Arg<'_>]) -> Result<()> {
        launch(&format!("ssd_{kernel}_{}_{p}", self.n), self.dtype, shape, args)
    }

    /// Bytes of an element, and of `rows` x `columns` with padded rows.
    fn room(&self, rows: usize, columns: usize) -> usize {
        let bytes = self.dtype.size_in_bytes();
        rows * (columns + 16 / bytes) * bytes
    }

    fn is_half(&self) -> bool {
        self.dtype == DType::BF16
    }

    /// Bytes of one chunk's steps.
    const STEPS: usize = 6 * CHUNK * 4;

    /// What depends on the steps alone.
    fn steps(&self, dt: &Tensor, a_log: &Tensor, dt_bias: &Tensor) -> Result<Tensor> {
        let Ssd { batch, time, heads, limit: (low, high), .. } = self.s;
        let chunks = batch * heads * self.chunks;
        let mut steps = Out::new(&[chunks, 6, CHUNK], DType::F32, dt)?;
        let shape = LaunchShape::new(chunks.div_ceil(THREADS / 32), THREADS);
        let mut args = args![dt, a_log, dt_bias, &mut steps, batch, time, heads, low, high];
        launch("ssd_steps", self.dtype, shape, &mut args)?;
        steps.finish()
    }

    /// Room for a state at every chunk, in the activations' type.
    fn edges(&self, like_device: &Tensor) -> Result<Out> {
        let Ssd { batch, heads, size, state, .. } = self.s;
        Out::new(&[batch * heads, self.chunks, state, size.next_multiple_of(8)], self.dtype, like_device)
    }

    /// The most channels at a time, up to `wanted`, for which a block has the shared memory that `asked` says.
    fn channels(&self, wanted: usize, asked: impl Fn(usize) -> usize) -> usize {
        let fits = |p: &usize| asked(*p) <= self.most;
        // float32 has no kernels for fewer; of what fits nowhere the launch says so.
        [wanted, 32].into_iter().take(if self.is_half() { 2 } else { 1 }).find(fits).unwrap_or(wanted)
    }

    /// Channels at a time, and the shape, of a scan over the chunks.
    fn scan(&self) -> (usize, LaunchShape) {
        let tasks = self.s.batch * self.s.heads;
        let few = tasks * self.s.size.div_ceil(self.p) < BUSY[2];
        let stages = if self.is_half() { 3 } else { 2 };
        let shared = |p: usize| {
            stages * (self.room(CHUNK, self.n) + self.room(CHUNK, p) + Self::STEPS) + self.room(self.n, p)
        };
        let p = self.channels(if few && self.is_half() { 32 } else { self.p }, shared);
        let grid = [tasks, self.s.size.div_ceil(p), 1];
        (p, LaunchShape { grid, threads: THREADS, shared: shared(p) })
    }

    /// The state at every chunk's start, and the last one.
    fn states(&self, b: &Tensor, x: &Tensor, steps: &Tensor, state: &Tensor) -> Result<(Tensor, Tensor)> {
        let s = self.s;
        let (mut starts, mut last) = (self.edges(x)?, Out::like(state)?);
        let (p, shape) = self.scan();
        let mut args =
            args![b, x, steps, state, &mut starts, &mut last, s.time, s.heads, s.groups, s.size, s.state];
        self.launch("states", p, shape, &mut args)?;
        Ok((starts.finish()?, last.finish()?))
    }

    /// The gradient of the state at every chunk's end.
    fn ends(&self, c: &Tensor, dy: &Tensor, steps: &Tensor) -> Result<Tensor> {
        let (s, mut ends) = (self.s, self.edges(dy)?);
        let (p, shape) = self.scan();
        let mut args = args![c, dy, steps, &mut ends, s.time, s.heads, s.groups, s.size, s.state];
        self.launch("ends", p, shape, &mut args)?;
        ends.finish()
    }

    /// Into how many shares to split the heads of a group, for so many blocks.
    fn splits(&self, blocks: usize) -> usize {
        let others = self.s.batch * self.chunks * self.s.groups;
        blocks.div_ceil(others.max(1)).clamp(1, self.s.heads / self.s.groups)
    }

    fn grid(&self, splits: usize) -> [usize; 3] {
        [self.s.batch * self.chunks, self.s.groups * splits, 1]
    }
}

/// y, and the last state, of x, δ, B, C, A_log, δ_bias and D.
pub(crate) fn forward(inputs: &[Tensor; 7], state: &Tensor, s: Ssd) -> Result<(Tensor, Tensor)> {
    let [x, dt, b, c, a_log, dt_bias, d] = inputs;
    let plan = SsdPlan::new(s, x)?;
    let (a_log, dt_bias, d, state) = (vector(a_log)?, vector(dt_bias)?, vector(d)?, vector(state)?);
    let mut y = Out::like(x)?;
    let Ssd { batch, time, heads, size, state: n, groups, limit: (low, high) } = s;
    if time < FEW {
        let mut last = Out::like(&state)?;
        let grid = [size.div_ceil(32), heads, batch];
        let shape = LaunchShape { grid, threads: THREADS, shared: 2 * THREADS * 4 };
        let mut args = args![
            x, dt, b, c, &a_log, &dt_bias, &d, &state, &mut y, &mut last, time, heads, groups, size, n, low,
            high
        ];
        launch("ssd_recur", x.dtype(), shape, &mut args)?;
        return Ok((y.finish()?, last.finish()?));
    }
    let steps = plan.steps(dt, &a_log, &dt_bias)?;
    let (starts, last) = plan.states(b, x, &steps, &state)?;
    let splits = plan.splits(BUSY[0]);
    let maps = plan.room(CHUNK, plan.n);
    let stage = plan.room(CHUNK + plan.n, plan.p) + SsdPlan::STEPS;
    let shape = LaunchShape { grid: plan.grid(splits), threads: 128, shared: maps + stage + stage.max(maps) };
    let mut args = args![x, b, c, &steps, &starts, &d, &mut y, time, heads, groups, size, n, splits];
    plan.launch("output", plan.p, shape, &mut args)?;
    Ok((y.finish()?, last))
}

/// y, the new tail of the convolution and the last state, of one position of one sequence from its in-projection z, x,
/// B, C, δ on; `filters` are those of the convolution with their bias, `heads` A_log, δ_bias and D.
pub(crate) fn convolved(
    all: &Tensor,
    filters: [&Tensor; 2],
    tail: &Tensor,
    heads: [&Tensor; 3],
    state: &Tensor,
    s: Ssd,
) -> Result<[Tensor; 3]> {
    let Ssd { heads: h, size, state: n, groups, limit: (low, high), .. } = s;
    let (_, before, channels) = tail.dims3()?;
    let (inner, taps) = (h * size, before + 1);
    let counts = [all, filters[0], filters[1], heads[0], heads[1], heads[2], state].map(Tensor::elem_count);
    let expected = [inner + channels + h, channels * taps, channels, h, h, h, h * n * size];
    if channels != inner + 2 * groups * n || counts != expected || h % groups != 0 || n > MOST {
        bail!("ssd: {h} heads of {size} x {n} in {groups} groups, {channels} channels: {counts:?} elements");
    }
    let [w, wb] = filters.map(vector);
    let [a_log, dt_bias, d] = heads.map(vector);
    let (w, wb, a_log, dt_bias, d, state) = (w?, wb?, a_log?, dt_bias?, d?, vector(state)?);
    let tail = tail.to_dtype(all.dtype())?;
    let (mut y, mut after) = (Out::new(&[1, inner], all.dtype(), all)?, Out::like(&tail)?);
    let mut last = Out::like(&state)?;
    let shared = 2 * THREADS * 4 + (32 + 2 * n) * all.dtype().size_in_bytes();
    let shape = LaunchShape { grid: [size.div_ceil(32), h, 1], threads: THREADS, shared };
    let mut args = args![
        all, &w, &wb, &tail, &a_log, &dt_bias, &d, &state, &mut after, &mut y, &mut last, h, groups, size, n,
        taps, low, high
    ];
    launch("ssd_convolved", all.dtype(), shape, &mut args)?;
    Ok([y.finish()?, after.finish()?, last.finish()?])
}

/// Gradients of x, δ, B, C, A_log, δ_bias and D.
pub(crate) fn backward(inputs: &[Tensor; 7], dy: &Tensor, state: &Tensor, s: Ssd) -> Result<Vec<Tensor>> {
    let [x, dt, b, c, a_log, dt_bias, d] = inputs;
    let plan = SsdPlan::new(s, x)?;
    let (a_log, dt_bias, d, state) = (vector(a_log)?, vector(dt_bias)?, vector(d)?, vector(state)?);
    let steps = plan.steps(dt, &a_log, &dt_bias)?;
    let (starts, _) = plan.states(b, x, &steps, &state)?;
    let ends = plan.ends(c, dy, &steps)?;

    let Ssd { batch, time, heads, size, state: n, groups, .. } = s;
    let (splits, rows, maps) = (plan.splits(BUSY[1]), batch * time, groups * n);
    let (mut dx, mut ddt) = (Out::like(x)?, Out::like(dt)?);
    let part = || Out::new(&[splits, rows, maps], DType::F32, x);
    let (mut db_parts, mut dc_parts) = (part()?, part()?);
    let mut parameters = Out::new(&[batch * plan.chunks, 3 * heads], DType::F32, x)?;
    let shared = |p: usize| {
        let notes = if plan.is_half() { 8992 } else { 10528 };
        let stages = if plan.is_half() && (plan.n < MOST || p > 32) { 2 } else { 1 };
        let stage = plan.room(2 * CHUNK + 2 * plan.n, p);
        2 * plan.room(CHUNK, plan.n) + plan.room(CHUNK, CHUNK) + stages * stage + notes
    };
    let p = plan.channels(plan.p, shared);
    let mut args = args![
        dy,
        x,
        b,
        c,
        &steps,
        &starts,
        &ends,
        &a_log,
        &d,
        &mut dx,
        &mut ddt,
        &mut db_parts,
        &mut dc_parts,
        &mut parameters,
        time,
        heads,
        groups,
        size,
        n,
        splits
    ];
    let shape = LaunchShape { grid: plan.grid(splits), threads: THREADS, shared: shared(p) };
    plan.launch("gradients", p, shape, &mut args)?;

    let (mut db, mut dc) = (Out::like(b)?, Out::like(c)?);
    let shape = LaunchShape { grid: [(rows * maps).div_ceil(THREADS), 2, 1], threads: THREADS, shared: 0 };
    let (db_parts, dc_parts) = (db_parts.finish()?, dc_parts.finish()?);
    let mut args = args![&db_parts, &dc_parts, &mut db, &mut dc, rows, maps, splits];
    launch("ssd_sum", plan.dtype, shape, &mut args)?;
    let parameters = column_sums(&parameters.finish()?, 3 * heads, None)?;
    let mut gradients = vec![dx.finish()?, ddt.finish()?, db.finish()?, dc.finish()?];
    for i in 0..3 {
        gradients.push(parameters.narrow(0, i * heads, heads)?);
    }
    Ok(gradients)
}
