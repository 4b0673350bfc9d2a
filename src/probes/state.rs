//! Is there a real recurrent state, and does it behave like one? (S0–S3, ruling §4.)
//!
//! The states are those that the model carries: per head RWKV-6's matrix and Mamba-2's, and the
//! convolution's tail. A model whose state is a cache of keys and values has none of these, and
//! the probe has nothing to say about it.

use candle_core::Tensor;

use super::{Probe, Reading, Result, Subject};
use crate::evidence::{Condition, Metric as M};
use crate::models::{Config, LanguageModel, State};
use crate::ops::to_vec_f64;

pub(super) const PROBE: Probe = Probe {
    id: "state",
    about: "shapes, sanity, sensitivity and repeatability of the recurrent states",
    metrics: &[
        M::StateShapesRight,
        M::StateFinite,
        M::StateRmsMin,
        M::StateRmsMax,
        M::StateDifference,
        M::StateRepeats,
        M::StateHalvesError,
    ],
    ask,
};

/// Different texts that are compared.
const TEXTS: usize = 4;
/// The states that S1 and S2 speak of.
const STATES: [&str; 3] = ["rwkv.wkv", "mamba.ssm", "mamba.conv"];

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    let Config::Groundthink(_) = s.model.config() else { return Ok(Vec::new()) };
    let length = s.recipe.context_length.min(s.dataset.valid.len() / TEXTS);
    let text = |i: usize| s.dataset.valid.tokens(i * length..(i + 1) * length).collect();
    let texts: Vec<Vec<u32>> = (0..TEXTS).map(text).collect();
    let mut readings = question(s.model, &texts, Condition::Trained)?;
    readings.extend(question(s.untrained, &texts, Condition::Untrained)?);
    Ok(readings)
}

fn question(model: &dyn LanguageModel, texts: &[Vec<u32>], condition: Condition) -> Result<Vec<Reading>> {
    let after = |text: &[u32]| -> Result<State> {
        let mut state = model.new_state(1)?;
        model.hidden(text, &mut state)?;
        Ok(state)
    };
    let states = texts.iter().map(|t| after(t)).collect::<Result<Vec<_>>>()?;
    let first = &states[0];
    let sizes = rms(first)?;
    let (half, rest) = texts[0].split_at(texts[0].len() / 2);
    let mut carried = after(half)?;
    model.hidden(rest, &mut carried)?;
    let extreme = |f: fn(f64, f64) -> f64| sizes.iter().copied().reduce(f).unwrap_or(f64::NAN);
    let readings = [
        Reading::holds(M::StateShapesRight, shapes_right(&model.config(), first)?),
        Reading::holds(M::StateFinite, sizes.iter().all(|x| x.is_finite())),
        Reading::new(M::StateRmsMin, extreme(worse_min)),
        Reading::new(M::StateRmsMax, extreme(worse_max)),
        Reading::new(M::StateDifference, smallest_difference(&states)?),
        Reading::holds(M::StateRepeats, first.same(&after(&texts[0])?)?),
        Reading::new(M::StateHalvesError, largest_error(first, &carried)?),
    ];
    Ok(readings.map(|r| r.under(condition)).to_vec())
}

/// The smaller; NaN wins, so that it is seen.
fn worse_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The larger; NaN wins.
fn worse_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The named states of all layers.
fn all(state: &State) -> Result<Vec<(usize, &'static str, &Tensor)>> {
    let mut found = Vec::new();
    for layer in 0..state.n_layer() {
        for name in STATES {
            found.push((layer, name, state.get(layer, name)?));
        }
    }
    Ok(found)
}

/// Root-mean-square of every state.
fn rms(state: &State) -> Result<Vec<f64>> {
    let one = |t: &Tensor| -> Result<f64> {
        let x = to_vec_f64(t)?;
        Ok((x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt())
    };
    all(state)?.into_iter().map(|(_, _, t)| one(t)).collect()
}

/// The shapes that the configuration declares, in every layer.
fn shapes_right(config: &Config, state: &State) -> Result<bool> {
    let Config::Groundthink(c) = config else { return Ok(false) };
    let (d, n) = (c.d_model, c.rwkv.head_size);
    let (inner, m) = (c.mamba.expand * d, &c.mamba);
    let conv = inner + 2 * m.n_groups * m.state_size;
    let expected = [
        vec![1, d / n, n, n],
        vec![1, inner / m.head_dim, m.state_size, m.head_dim],
        vec![1, m.conv_kernel - 1, conv],
    ];
    let right = all(state)?.iter().enumerate().all(|(i, (_, _, t))| t.dims() == expected[i % 3]);
    Ok(right && state.n_layer() == c.n_layer)
}

/// Relative distance of two tensors.
fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (to_vec_f64(a)?, to_vec_f64(b)?);
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut a.iter().zip(&b).map(|(x, y)| x - y));
    Ok(apart / worse_max(norm(&mut a.iter().copied()), norm(&mut b.iter().copied())))
}

/// The smallest relative difference between any two texts, in any layer and either branch.
fn smallest_difference(states: &[State]) -> Result<f64> {
    let mut smallest = f64::INFINITY;
    for (i, a) in states.iter().enumerate() {
        for b in &states[i + 1..] {
            for ((_, _, x), (_, _, y)) in all(a)?.into_iter().zip(all(b)?) {
                smallest = worse_min(distance(x, y)?, smallest);
            }
        }
    }
    Ok(smallest)
}

fn largest_error(a: &State, b: &State) -> Result<f64> {
    let mut largest = 0.0;
    for ((_, _, x), (_, _, y)) in all(a)?.into_iter().zip(all(b)?) {
        largest = worse_max(distance(x, y)?, largest);
    }
    Ok(largest)
}
