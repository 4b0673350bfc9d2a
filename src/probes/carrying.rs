//! Is reading on the same as reading at once? A state or a cache that is carried from call to call must leave every
//! position as one pass over the whole text leaves it: two pieces, cut on edges of blocks and beside them, single
//! steps, and the beginning of a text alone; for one sequence and for several, for every model. And what is trained
//! must be what is evaluated: a pass that is recorded for gradients is compared with one that is not.
//!
//! A model that computes in bfloat16 is asked so, and in float32 as well: faults too small for the rounding of
//! activations show there.

use candle_core::{DType, Tensor};

use super::causality::{longest, pieces, with_room};
use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::device::Precision;
use crate::evidence::Metric as M;
use crate::models::{LanguageModel, State};
use crate::ops::{Tape, on_worker, to_vec_f64};

pub(super) const PROBE: Probe = Probe {
    id: "carrying",
    about: "a text in pieces and in single steps against the whole, one sequence and several, again, and as in training",
    metrics: &[M::CarriedError, M::CarriedErrorRounded, M::CarriedRepeats, M::EvaluationError],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Where texts are cut in two.
const CUTS: &[usize] = &[1, 2, 37, 63, 64, 65, 100, 127, 128, 129, 191, 256, 299];
/// Tokens that are read one by one, from the beginning and behind a cut.
const STEPS: usize = 140;
/// Cuts behind which tokens are read one by one.
const THEN_STEPS: &[usize] = &[37, 64, 130];
const FEW: usize = 9;
/// Beginnings that are read alone.
const BEGINNINGS: &[usize] = &[1, 2, 3, 31, 63, 64, 65, 127, 128, 129, 200, 257];

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let text: Vec<u32> = s.dataset.valid.tokens(0..s.dataset.valid.len().min(1024)).collect();
    let texts = pieces(&text);
    let own = over_windows(s.model, &texts)?;
    let exact = match s.model.params().dtype() {
        DType::BF16 => over_windows(s.model.to_device(s.compute, Precision::Float32)?.as_ref(), &texts)?,
        _ => own,
    };
    Ok(vec![
        Reading::new(M::CarriedError, exact.carried),
        Reading::new(M::CarriedErrorRounded, own.carried),
        Reading::holds(M::CarriedRepeats, own.repeats),
        Reading::new(M::EvaluationError, exact.evaluated),
    ])
}

/// What was found; errors are relative, the largest over positions and tensors of the state.
#[derive(Clone, Copy, Debug)]
struct CarriedErrors {
    carried: f64,
    evaluated: f64,
    repeats: bool,
}

impl CarriedErrors {
    const NOTHING: Self = Self { carried: 0.0, evaluated: 0.0, repeats: true };

    fn and(self, other: Self) -> Self {
        Self {
            carried: worse(self.carried, other.carried),
            evaluated: worse(self.evaluated, other.evaluated),
            repeats: self.repeats && other.repeats,
        }
    }
}

/// The larger of both, and what is no number is the largest of all.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// As far as the model's window reaches, and where that is short, with room for all of the text.
fn over_windows(model: &dyn LanguageModel, texts: &[&[u32]]) -> Result<CarriedErrors> {
    let mut found = CarriedErrors::NOTHING;
    let longer = with_room(model)?;
    for model in [Some(model), longer.as_deref()].into_iter().flatten() {
        for rows in [&texts[..1], texts] {
            let length = longest(model, rows);
            if length > 0 {
                found = found.and(PieceReader { model, rows, length }.compare()?);
            }
        }
    }
    Ok(found)
}

/// Texts and who reads them.
struct PieceReader<'a> {
    model: &'a dyn LanguageModel,
    rows: &'a [&'a [u32]],
    length: usize,
}

/// Hidden states [B, T, d] by position, and the state at the end.
struct Pass {
    hidden: Tensor,
    state: State,
}

impl PieceReader<'_> {
    fn compare(&self) -> Result<CarriedErrors> {
        let whole = self.read(&[self.length])?;
        let mut carried = 0.0;
        let mut ends: Vec<Vec<usize>> = CUTS.iter().map(|&cut| vec![cut, self.length]).collect();
        ends.push((1..=STEPS.min(self.length)).chain([self.length]).collect());
        for &cut in THEN_STEPS {
            ends.push((cut..=cut + FEW).chain([self.length]).collect());
        }
        for mut ends in ends {
            ends.retain(|end| *end <= self.length);
            ends.dedup();
            let pass = self.read(&ends)?;
            carried = worse(carried, apart(&pass.hidden, &whole.hidden)?);
            carried = worse(carried, states_apart(&pass.state, &whole.state)?);
        }
        for &end in BEGINNINGS.iter().filter(|end| **end < self.length) {
            let beginning = self.read(&[end])?;
            carried = worse(carried, apart(&beginning.hidden, &whole.hidden.narrow(1, 0, end)?)?);
        }
        let again = self.read(&[self.length])?;
        let repeats = bits(&again.hidden)? == bits(&whole.hidden)? && again.state.same(&whole.state)?;
        let evaluated = apart(&self.recorded()?, &whole.hidden)?;
        Ok(CarriedErrors { carried, evaluated, repeats })
    }

    fn tokens(&self, from: usize, to: usize) -> Vec<u32> {
        self.rows.iter().flat_map(|row| row[from..to].iter().copied()).collect()
    }

    /// Reads in pieces that end at `ends`.
    fn read(&self, ends: &[usize]) -> Result<Pass> {
        let mut state = self.model.new_state(self.rows.len())?;
        let (mut parts, mut from) = (Vec::new(), 0);
        for &to in ends {
            let hidden = self.model.hidden(&self.tokens(from, to), &mut state)?;
            parts.push(self.by_position(&hidden, to - from)?);
            from = to;
        }
        Ok(Pass { hidden: Tensor::cat(&parts, 1)?, state })
    }

    /// As training reads.
    fn recorded(&self) -> Result<Tensor> {
        let mut state = self.model.new_state(self.rows.len())?;
        let tokens = self.tokens(0, self.length);
        let hidden: candle_core::Result<Tensor> = on_worker(|| {
            let tape = Tape::recording(self.model.params().entries().len());
            Ok(self.model.backbone(&tape, &tokens, &mut state)?.tensor().clone())
        });
        self.by_position(&hidden?, self.length)
    }

    fn by_position(&self, hidden: &Tensor, length: usize) -> Result<Tensor> {
        Ok(hidden.reshape((self.rows.len(), length, hidden.dim(1)?))?)
    }
}

fn bits(t: &Tensor) -> Result<Vec<u64>> {
    Ok(to_vec_f64(t)?.into_iter().map(f64::to_bits).collect())
}

/// ‖a − b‖ / ‖b‖ of every row of the last dimension, the largest.
fn apart(a: &Tensor, b: &Tensor) -> Result<f64> {
    let width = b.dims().last().copied().unwrap_or(1);
    let (a, b) = (to_vec_f64(&a.contiguous()?)?, to_vec_f64(&b.contiguous()?)?);
    let distances = a.chunks(width).zip(b.chunks(width)).map(|(a, b)| relative(a, b));
    Ok(distances.fold(0.0, worse))
}

fn relative(a: &[f64], b: &[f64]) -> f64 {
    let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    // What is nothing in both does not differ.
    if distance == 0.0 { 0.0 } else { distance / norm(&mut b.iter().copied()) }
}

/// The largest relative difference of a tensor of the state, sequence by sequence; infinite where they have other
/// shapes or stand elsewhere.
fn states_apart(a: &State, b: &State) -> Result<f64> {
    let batch = b.batch();
    let mut most = if a.position() == b.position() { 0.0 } else { f64::INFINITY };
    for layer in 0..b.n_layer() {
        for ((_, a), (_, b)) in a.layer(layer).iter().zip(b.layer(layer)) {
            if a.dims() != b.dims() {
                return Ok(f64::INFINITY);
            }
            let row = (b.elem_count() / batch).max(1);
            let (a, b) = (to_vec_f64(&a.contiguous()?)?, to_vec_f64(&b.contiguous()?)?);
            most = a.chunks(row).zip(b.chunks(row)).map(|(a, b)| relative(a, b)).fold(most, worse);
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;
    use crate::scale;

    /// A fault ten times smaller than the criterion's limit would be seen: float32 leaves two orders of magnitude.
    #[test]
    fn every_model_carries_on() {
        let text: Vec<u32> = (0..1000u32).map(|t| t * t % 97).collect();
        for spec in MODELS {
            let model = (spec.config)(scale::find("smoke").unwrap(), 97, 96).init(1).unwrap();
            let found = over_windows(model.as_ref(), &pieces(&text)).unwrap();
            assert!(found.repeats, "{}", spec.name);
            assert!(found.carried < 1e-4 && found.evaluated < 1e-4, "{}: {found:?}", spec.name);
        }
    }
}
