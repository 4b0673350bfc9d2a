//! RWKV-6's recurrence.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::column_sums;
use super::row::NormWeights;
use super::{LaunchShape, Out, THREADS, args, block_memory, launch, vector};

/// Steps that `wkv6.cuh` takes together as matrix products.
const PIECE: usize = 16;

/// Up to so many steps go one after the other: fewer launches, and no products with padding.
const FEW: usize = PIECE;

/// Batch, time, heads and head size, and how a sequence is cut.
#[derive(Clone, Copy)]
struct Wkv6Plan {
    sizes: [usize; 4],
    /// The head size that the kernels are compiled for.
    padded: usize,
    /// Pieces in a chunk.
    pieces: usize,
    chunks: usize,
    /// Bytes of an element.
    bytes: usize,
}

impl Wkv6Plan {
    fn of(sizes: [usize; 4], dtype: DType) -> Result<Self> {
        let [_, time, _, size] = sizes;
        let Some(padded) = [16, 32, 64, 128].into_iter().find(|&n| size <= n) else {
            bail!("wkv6: heads of {size} channels, the kernels take at most 128")
        };
        let pieces = if padded == 128 { 2 } else { 4 };
        let chunks = time.div_ceil(pieces * PIECE);
        Ok(Self { sizes, padded, pieces, chunks, bytes: dtype.size_in_bytes() })
    }

    /// The same in shorter chunks, where a block has not the shared memory that the gradients take otherwise.
    fn backward(sizes: [usize; 4], dtype: DType, most: usize) -> Result<Self> {
        let plan = Self::of(sizes, dtype)?;
        // The one size of which a short kernel is written: what the gated sizes have.
        let can = dtype == DType::BF16 && plan.padded == 64;
        if plan.gradient() <= most || !can {
            return Ok(plan);
        }
        let short = Self { pieces: 2, chunks: sizes[1].div_ceil(2 * PIECE), ..plan };
        Ok(if short.gradient() <= most { short } else { plan })
    }

    fn name(&self, what: &str) -> String {
        let short = if self.padded == 64 && self.pieces == 2 { "short_" } else { "" };
        format!("wkv6_{what}_{short}{}", self.padded)
    }

    fn steps(&self) -> usize {
        self.pieces * PIECE
    }

    /// Bytes of so many tiles, and of every piece's decay.
    fn tiles(&self, count: usize) -> usize {
        count * self.steps() * (self.padded + 8) * self.bytes + 4 * self.pieces * self.padded
    }

    /// Bytes of floats, a step in a row.
    fn floats(&self) -> usize {
        4 * self.steps() * (self.padded + 4)
    }

    /// A block for every chunk.
    fn chunk(&self, shared: usize) -> LaunchShape {
        let [batch, _, heads, _] = self.sizes;
        LaunchShape { grid: [self.chunks, heads, batch], threads: self.padded * self.pieces, shared }
    }

    /// Shared memory of `wkv6_output` and `wkv6_dv`.
    fn respond(&self) -> usize {
        self.tiles(5) + 24 * self.steps() * self.bytes + self.floats()
    }

    /// Shared memory of `wkv6_gradient`.
    fn gradient(&self) -> usize {
        let kept = 64 + (16 * self.padded * self.bytes).max(1280);
        let band = 1344 + (self.pieces - 1) * kept;
        self.tiles(6)
            + 8 * self.pieces * self.padded
            + 80 * self.steps()
            + self.floats()
            + self.padded / 16 * band
    }

    /// A thread for every element of every state.
    fn scan(&self, scans: usize) -> LaunchShape {
        let [batch, _, heads, _] = self.sizes;
        LaunchShape {
            grid: [self.padded * self.padded / THREADS, heads, scans * batch],
            threads: THREADS,
            shared: 0,
        }
    }

    /// Room for a state of every chunk.
    fn states(&self, like_device: &Tensor) -> Result<Out> {
        let [batch, _, heads, _] = self.sizes;
        Out::new(&[batch * heads * self.chunks, self.padded, self.padded], DType::F32, like_device)
    }

    /// Room for the decay of every chunk.
    fn decays(&self, like_device: &Tensor) -> Result<Out> {
        let [batch, _, heads, _] = self.sizes;
        Out::new(&[batch * heads * self.chunks, self.padded], DType::F32, like_device)
    }
}

/// y of r, k, v, ω and u, and the last state, in float32.
pub(crate) fn forward(x: &[Tensor; 5], state: &Tensor, sizes: [usize; 4]) -> Result<(Tensor, Tensor)> {
    let [r, k, v, raw, u] = x;
    let (plan, dtype, [batch, time, heads, size]) = (Wkv6Plan::of(sizes, r.dtype())?, r.dtype(), sizes);
    let (u, state) = (vector(u)?, vector(state)?);
    let (mut y, mut last) = (Out::like(r)?, Out::like(&state)?);
    if time <= FEW {
        let shared = 16 * plan.padded + 4 * THREADS;
        let shape = LaunchShape { grid: [heads, batch, 1], threads: THREADS, shared };
        let mut args = args![r, k, v, raw, &u, &state, &mut y, &mut last, time, size];
        launch(&plan.name("step"), dtype, shape, &mut args)?;
        return Ok((y.finish()?, last.finish()?));
    }
    let (mut states, mut decay) = (plan.states(r)?, plan.decays(r)?);
    let mut args = args![k, v, raw, &mut states, &mut decay, time, size];
    launch(&plan.name("chunk"), dtype, plan.chunk(plan.tiles(2)), &mut args)?;
    let decay = decay.finish()?;
    let mut args = args![&mut states, &decay, &state, &mut last, plan.chunks, size, plan.padded];
    launch("wkv6_scan", DType::F32, plan.scan(1), &mut args)?;
    let states = states.finish()?;
    let mut args = args![r, k, v, raw, &u, &states, &mut y, time, size];
    launch(&plan.name("output"), dtype, plan.chunk(plan.respond()), &mut args)?;
    Ok((y.finish()?, last.finish()?))
}

/// What one step of all heads reads: of `src/ops/wkv6_head.rs`, a, W and b; r, k, v, g and u; weights and bias of the
/// group norm, and its ε.
pub(crate) struct HeadStep<'a> {
    pub decay: [&'a Tensor; 3],
    pub inputs: [&'a Tensor; 4],
    pub bonus: &'a Tensor,
    pub norm: NormWeights<'a>,
}

/// y, ω and the last state, in float32, of one position of one sequence.
pub(crate) fn head(x: &HeadStep<'_>, state: &Tensor, [heads, size]: [usize; 2]) -> Result<[Tensor; 3]> {
    let ([a, w, b], [r, k, v, g]) = (x.decay, x.inputs);
    let (plan, dtype, width, rank) =
        (Wkv6Plan::of([1, 1, heads, size], r.dtype())?, r.dtype(), heads * size, a.elem_count());
    let nb = x.norm.b.map_or(0, Tensor::elem_count);
    let lengths = [r, k, v, g, b, x.bonus, x.norm.w].map(Tensor::elem_count);
    if lengths.iter().any(|n| *n != width) || nb != width || w.dims() != [rank, width] {
        bail!("wkv6: {width} channels, rank {rank}, weights {:?}, others {lengths:?} and {nb}", w.dims());
    }
    let (b, u, nw, state) = (vector(b)?, vector(x.bonus)?, vector(x.norm.w)?, vector(state)?);
    let nb = x.norm.b.map(vector).transpose()?;
    let (mut raw, mut y, mut last) = (Out::like(r)?, Out::like(r)?, Out::like(&state)?);
    let shape = LaunchShape::new(heads, THREADS).shared(16 * plan.padded + 4 * THREADS);
    let mut args = args![
        a,
        w,
        &b,
        r,
        k,
        v,
        g,
        &u,
        &nw,
        nb.as_ref(),
        &state,
        &mut raw,
        &mut y,
        &mut last,
        rank,
        size,
        x.norm.eps
    ];
    launch(&plan.name("head"), dtype, shape, &mut args)?;
    Ok([y.finish()?, raw.finish()?, last.finish()?])
}

/// Gradients of r, k, v, ω and u.
pub(crate) fn backward(
    x: &[Tensor; 5],
    dy: &Tensor,
    state: &Tensor,
    sizes: [usize; 4],
) -> Result<[Tensor; 5]> {
    let [r, k, v, raw, u] = x;
    let (dtype, [batch, time, heads, size]) = (r.dtype(), sizes);
    let plan = Wkv6Plan::backward(sizes, dtype, block_memory(r)?)?;
    let (u, state) = (vector(u)?, vector(state)?);
    // S at the start of every chunk, and its gradient at every end.
    let (mut states, mut ends, mut decay) = (plan.states(r)?, plan.states(r)?, plan.decays(r)?);
    let mut args = args![r, k, v, raw, dy, &mut states, &mut ends, &mut decay, time, size];
    launch(&plan.name("chunk_both"), dtype, plan.chunk(plan.tiles(4)), &mut args)?;
    let decay = decay.finish()?;
    let mut args = args![&mut states, &mut ends, &decay, &state, plan.chunks, size, plan.padded];
    launch("wkv6_scan_both", DType::F32, plan.scan(2), &mut args)?;
    let (states, ends) = (states.finish()?, ends.finish()?);
    let (mut dr, mut dk, mut dv, mut draw) = (Out::like(r)?, Out::like(k)?, Out::like(v)?, Out::like(raw)?);
    let mut args = args![r, k, dy, raw, &u, &ends, &mut dv, time, size];
    launch(&plan.name("dv"), dtype, plan.chunk(plan.respond()), &mut args)?;
    let mut du = Out::new(&[batch * plan.chunks, heads * size], DType::F32, r)?;
    let mut args =
        args![r, k, v, raw, &u, dy, &states, &ends, &mut dr, &mut dk, &mut draw, &mut du, time, size];
    launch(&plan.name("gradient"), dtype, plan.chunk(plan.gradient()), &mut args)?;
    let du = column_sums(&du.finish()?, heads * size, None)?.reshape(x[4].dims())?;
    Ok([dr.finish()?, dk.finish()?, dv.finish()?, draw.finish()?, du])
}
