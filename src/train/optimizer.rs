//! AdamW (Loshchilov & Hutter 2019, algorithm 2) with global-norm clipping folded in.
//!
//! | symbol | |
//! |---|---|
//! | g | gradient times min(1, clip / (‖g‖ + 1e-6)) |
//! | m, v | β₁m + (1−β₁)g, β₂v + (1−β₂)g² |
//! | p | p·(1 − lr·λ) − lr·m̂/(√v̂ + ε), hats divided by 1 − βᵗ |
//!
//! Parameters and both moments lie in one tensor, [p | m | v], so that a step is one pass and
//! saving is one file. Weight decay λ applies where the parameter was declared a matrix (R12).
//!
//! Where there are kernels for it, a step is begun and told about later: the host need not wait for the loss.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use half::bf16;
use parking_lot::Mutex;
use rayon::prelude::*;

use super::observed::Applied;
use super::recipe::Recipe;
use crate::launch;
use crate::launch::optimizer::{Jobs, ParameterRange, RECORDS, Step};
use crate::models::{Branch, Entry, LanguageModel, Params};
use crate::ops::{Data, Gradients, Real, dispatch_dtype, simd};
use crate::products::round_into;

/// Gradient norms before clipping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Norms {
    /// Over all parameters.
    pub total: f64,
    /// Over each branch of a hybrid.
    pub branches: BTreeMap<Branch, f64>,
}

/// What became of a step that was enqueued on a device.
#[derive(Clone, Debug)]
pub(crate) struct StepOutcome {
    pub loss: f64,
    pub norms: Norms,
    /// Whether loss and norm were finite, in this step and all before: otherwise nothing has moved.
    pub well: bool,
}

/// The optimizer's state, parameters included.
pub struct AdamW {
    packed: Tensor,
    params: Params,
    /// The branch of each parameter.
    branches: Vec<Option<Branch>>,
    steps: u64,
    /// The same on a device.
    jobs: Option<Jobs>,
    /// The record of the last step that was begun there.
    record: usize,
    /// Learning rate and settings of the last step, noted where they are applied.
    applied: Option<(f64, Applied)>,
}

impl AdamW {
    /// Takes over the parameters of `model`; [`AdamW::params`] are the ones that move.
    pub fn new(model: &dyn LanguageModel) -> Result<Self> {
        let flat = model.params().flat();
        let zeros = flat.zeros_like()?;
        Self::resume(model, Tensor::cat(&[flat, &zeros, &zeros], 0)?, 0)
    }

    /// Continues from a saved [`AdamW::packed`] after `steps` steps.
    pub fn resume(model: &dyn LanguageModel, packed: Tensor, steps: u64) -> Result<Self> {
        let n = model.params().flat().elem_count();
        if packed.elem_count() != 3 * n {
            bail!("optimizer state has {} values, expected {}", packed.elem_count(), 3 * n);
        }
        let packed = packed.to_device(model.params().flat().device())?;
        let params = model.params().replaced(packed.narrow(0, 0, n)?)?;
        let hybrid = model.as_hybrid();
        let branch_of = |entry: &Entry| hybrid.and_then(|hybrid| hybrid.branch_of(&entry.name));
        let branches: Vec<_> = params.entries().iter().map(branch_of).collect();
        let jobs = match launch::runs_on_kernels(&packed) {
            true => Some(Jobs::new(&parts(&params, &branches), &packed)?),
            false => None,
        };
        Ok(Self { packed, params, branches, steps, jobs, record: 0, applied: None })
    }

    /// The parameters, which every step changes in place.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Parameters and moments, [p | m | v].
    pub fn packed(&self) -> &Tensor {
        &self.packed
    }

    /// The learning rate and the settings that the last step was made with; none before it.
    pub fn applied(&self) -> Option<(f64, Applied)> {
        self.applied
    }

    /// Norms of the gradients, then one step along them. Nothing moves where the norm is not
    /// finite.
    pub fn step(&mut self, gradients: &mut Gradients, recipe: &Recipe, lr: f64) -> Result<Norms> {
        if self.jobs.is_some() {
            let zero = Tensor::zeros((), DType::F32, self.packed.device())?;
            self.enqueue(gradients, recipe, lr, &zero)?;
            let outcomes = self.poll(1)?;
            let norms = outcomes.first().map_or_else(Norms::default, |o| o.norms.clone());
            self.steps -= u64::from(!norms.total.is_finite());
            return Ok(norms);
        }
        let gradients: Vec<Option<Tensor>> = (0..self.branches.len()).map(|i| gradients.take(i)).collect();
        let norms = self.norms(&gradients)?;
        if !norms.total.is_finite() {
            return Ok(norms);
        }
        self.steps += 1;
        self.applied = Some((lr, Applied::of(recipe)));
        let [b1, b2] = recipe.betas;
        let n = self.params.flat().elem_count();
        for (i, (entry, gradient)) in self.params.entries().iter().zip(&gradients).enumerate() {
            let Some(gradient) = gradient else { continue };
            let update = Update {
                offset: entry.offset,
                n,
                scale: (recipe.grad_clip / (norms.total + 1e-6)).min(1.0),
                keep: 1.0 - lr * if entry.decay { recipe.weight_decay } else { 0.0 },
                betas: recipe.betas,
                lr: lr / (1.0 - b1.powf(self.steps as f64)),
                correction: (1.0 - b2.powf(self.steps as f64)).sqrt(),
                eps: recipe.eps,
                copy: None,
            };
            let copy = self.params.rounded().and_then(|r| Some(r.values.narrow(0, r.offsets[i]?, entry.len)));
            match copy {
                None => self.packed.inplace_op2(gradient, &update)?,
                Some(copy) => copy?.inplace_op1(&RoundedUpdate { packed: &self.packed, gradient, update })?,
            }
        }
        Ok(norms)
    }

    /// How many steps may be begun before [`AdamW::poll`] must be asked; none where a step is made at once.
    pub(crate) fn max_in_flight(&self) -> usize {
        if self.jobs.is_some() { RECORDS - 1 } else { 0 }
    }

    /// Begins a step on the device. It is made unless its loss, its norm or those of a step before are not finite.
    pub(crate) fn enqueue(
        &mut self,
        gradients: &mut Gradients,
        recipe: &Recipe,
        lr: f64,
        loss: &Tensor,
    ) -> Result<()> {
        let Some(jobs) = &self.jobs else { bail!("steps on a CPU are made at once") };
        let gradients: Vec<Option<Tensor>> = (0..self.branches.len()).map(|i| gradients.take(i)).collect();
        self.steps += 1;
        self.applied = Some((lr, Applied::of(recipe)));
        let (before, now) = (self.record, (self.record + 1) % RECORDS);
        self.record = now;
        let [b1, b2] = recipe.betas;
        let step = Step {
            clip: recipe.grad_clip,
            keep: 1.0 - lr * recipe.weight_decay,
            betas: recipe.betas,
            lr: lr / (1.0 - b1.powf(self.steps as f64)),
            correction: (1.0 - b2.powf(self.steps as f64)).sqrt(),
            eps: recipe.eps,
        };
        let copies = self.params.rounded().map(|r| &r.values);
        jobs.step((now, before), &gradients, loss, &self.packed, copies, &step)
    }

    /// What became of the last `count` steps in_flight, oldest first. Waits for the device.
    pub(crate) fn poll(&self, count: usize) -> Result<Vec<StepOutcome>> {
        let Some(jobs) = &self.jobs else { bail!("steps on a CPU are made at once") };
        let records = jobs.records()?;
        let groups = groups(&self.branches);
        let outcome = |back: usize| {
            let [loss, total, first, second, well] = records[(self.record + RECORDS - back) % RECORDS];
            let branches = groups.iter().copied().zip([first, second]).collect();
            StepOutcome { loss, norms: Norms { total, branches }, well: well == 1.0 }
        };
        Ok((0..count).rev().map(outcome).collect())
    }

    fn norms(&self, gradients: &[Option<Tensor>]) -> Result<Norms> {
        let (mut total, mut branches) = (0.0, BTreeMap::new());
        for (gradient, branch) in gradients.iter().zip(&self.branches) {
            let square = gradient.as_ref().map_or(Ok(0.0), sum_of_squares)?;
            total += square;
            if let Some(branch) = branch {
                *branches.entry(*branch).or_insert(0.0) += square;
            }
        }
        branches.values_mut().for_each(|square| *square = f64::sqrt(*square));
        Ok(Norms { total: total.sqrt(), branches })
    }
}

/// The branches that there are, in the order in which a device records their norms.
fn groups(branches: &[Option<Branch>]) -> Vec<Branch> {
    branches.iter().copied().flatten().collect::<BTreeSet<_>>().into_iter().collect()
}

fn parts(params: &Params, branches: &[Option<Branch>]) -> Vec<ParameterRange> {
    let groups = groups(branches);
    let copy = |i: usize| params.rounded().and_then(|r| r.offsets[i]);
    let part = |(i, (entry, branch)): (usize, (&Entry, &Option<Branch>))| ParameterRange {
        offset: entry.offset,
        len: entry.len,
        copy: copy(i),
        decay: entry.decay,
        group: branch.and_then(|branch| groups.iter().position(|group| *group == branch)),
    };
    params.entries().iter().zip(branches).enumerate().map(part).collect()
}

/// Lanes of a sum.
const LANES: usize = 16;

/// Elements handled by one task. Fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 64 * 1024;

fn sum_of_squares(t: &Tensor) -> Result<f64> {
    fn block<T: Real>(x: &[T]) -> f64 {
        let mut lanes = [0.0; LANES];
        simd(
            #[inline(always)]
            || {
                let step = |(lane, x): (&mut f64, &T)| *lane += x.wide() * x.wide();
                let chunks = x.chunks_exact(LANES);
                let rest = chunks.remainder();
                chunks.for_each(|chunk| lanes.iter_mut().zip(chunk).for_each(step));
                lanes.iter_mut().zip(rest).for_each(step);
            },
        );
        lanes.iter().sum()
    }
    dispatch_dtype!(t.dtype(), T => {
        let data = Data::of(t)?;
        let blocks: Vec<f64> = data.get::<T>()?.par_chunks(BLOCK).map(block).collect();
        Ok(blocks.iter().sum())
    })
}

/// One parameter's part of a step.
#[derive(Clone, Copy)]
struct Update<'a> {
    offset: usize,
    n: usize,
    scale: f64,
    keep: f64,
    betas: [f64; 2],
    lr: f64,
    correction: f64,
    eps: f64,
    /// What is computed with, where that is the parameter rounded.
    copy: Option<&'a Mutex<&'a mut [bf16]>>,
}

impl Update<'_> {
    fn apply<T: Real>(&self, packed: &mut [T], g: &[T], round: impl Fn(&mut [bf16], &[T]) + Sync) {
        let (p, rest) = packed.split_at_mut(self.n);
        let (m, v) = rest.split_at_mut(self.n);
        let range = self.offset..self.offset + g.len();
        let (p, m, v) = (&mut p[range.clone()], &mut m[range.clone()], &mut v[range]);
        let [b1, b2] = self.betas.map(T::of);
        let [r1, r2] = self.betas.map(|b| T::of(1.0 - b));
        let (scale, keep, lr) = (T::of(self.scale), T::of(self.keep), T::of(self.lr));
        let (correction, eps) = (T::of(self.correction), T::of(self.eps));
        let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
        let mut copy = self.copy.map(Mutex::lock);
        let copies: Vec<Option<&mut [bf16]>> = match copy.as_deref_mut() {
            Some(copy) => copy.chunks_mut(BLOCK).map(Some).collect(),
            None => g.chunks(BLOCK).map(|_| None).collect(),
        };
        let all = p.par_chunks_mut(BLOCK).zip(moments).zip(g.par_chunks(BLOCK)).zip(copies);
        all.for_each(|(((p, (m, v)), g), copy)| {
            simd(
                #[inline(always)]
                || {
                    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                        let g = *g * scale;
                        *m = b1 * *m + r1 * g;
                        *v = b2 * *v + r2 * g * g;
                        *p = *p * keep - lr * *m / (v.sqrt() / correction + eps);
                    }
                },
            );
            // While the block is in the cache.
            if let Some(copy) = copy {
                round(copy, p);
            }
        });
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, packed: &mut CpuStorage, _: &Layout, g: &CpuStorage, l: &Layout) -> Result<()> {
        let range = l.start_offset()..l.start_offset() + l.shape().elem_count();
        match (packed, g) {
            (CpuStorage::F32(p), CpuStorage::F32(g)) => self.apply(p, &g[range], round_into),
            (CpuStorage::F64(p), CpuStorage::F64(g)) if self.copy.is_none() => {
                self.apply(p, &g[range], |_, _| {})
            }
            _ => bail!("adamw: parameters and gradients differ in type"),
        }
        Ok(())
    }
}

/// The same for a parameter whose rounded copy this is done to.
struct RoundedUpdate<'a> {
    packed: &'a Tensor,
    gradient: &'a Tensor,
    update: Update<'a>,
}

impl InplaceOp1 for RoundedUpdate<'_> {
    fn name(&self) -> &'static str {
        "adamw_rounded"
    }

    fn cpu_fwd(&self, copy: &mut CpuStorage, l: &Layout) -> Result<()> {
        let CpuStorage::BF16(copy) = copy else { bail!("adamw: expected a copy in bfloat16") };
        let copy = Mutex::new(&mut copy[l.start_offset()..][..l.shape().elem_count()]);
        self.packed.inplace_op2(self.gradient, &Update { copy: Some(&copy), ..self.update })
    }
}
