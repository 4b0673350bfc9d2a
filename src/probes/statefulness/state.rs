//! Is there a real recurrent state, and does it behave like one? (S0–S3, D1, D2, D4, ruling §4.)
//!
//! The states are those that the model carries: per head RWKV-6's matrix and Mamba-2's, and the
//! convolution's tail. A model whose state is a cache of keys and values has none of these, and
//! the probe has nothing to say about it.
//!
//! A model that computes in bfloat16 is asked in float32: that a state is carried on exactly, or depends on the data at
//! all, would drown in the rounding of activations (two halves of a text differ by 4e-3 at 3.5M, and by 3e-7 so).

use candle_core::{DType, Tensor};

use crate::data::cache::TokenFile;
use crate::device::{Compute, Precision};
use crate::evidence::{Condition, Metric as M};
use crate::models::{Config, LanguageModel, State};
use crate::ops::to_vec_f64;
use crate::probes::probe::{Probe, ProbeData, Reading, Result, TrainedModel};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "state",
    about: "shapes, sanity, sensitivity, growth, memory and repeatability of the recurrent states",
    metrics: &[
        M::StateShapesRight,
        M::StateFinite,
        M::StateRmsMin,
        M::StateRmsMax,
        M::StateDifference,
        M::StateRepeats,
        M::StateHalvesError,
        M::StateGrowth,
        M::StateVariance,
        M::FirstTokenInfluence,
        M::DecaySpread,
    ],
    data: ProbeData::HeldOut,
    measure,
    only: Some("groundthink"),
    measure_checkpoint: None,
};

/// Different texts that are compared.
const TEXTS: usize = 4;
/// Different texts of D1, D2 and D4.
const INPUTS: usize = 8;
/// Between these numbers of tokens D1 looks for growth.
const SHORT: usize = 64;
const LONG: usize = 512;
/// The states that S1 and S2 speak of.
const STATES: [&str; 3] = ["rwkv.wkv", "mamba.ssm", "mamba.conv"];

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let Config::Groundthink(_) = s.model.config() else { return Ok(Vec::new()) };
    let valid = &s.dataset.valid;
    let context = s.recipe.context_length;
    let [four, eight, long] =
        [(context, TEXTS), (context, INPUTS), (LONG, INPUTS)].map(|(n, count)| texts(valid, n, count));
    let vocab = s.dataset.tokenizer.vocab_size() as u32;
    let mut readings = Vec::new();
    for (model, condition) in [(s.model, Condition::Trained), (s.untrained, Condition::Untrained)] {
        let exact = exact(model, s.compute)?;
        let model = exact.as_deref().unwrap_or(model);
        readings.extend(question(model, &four, condition)?);
        let (growth, variance) = over_inputs(model, &long)?;
        // Between fewer tokens growth would be another number.
        if long[0].len() == LONG {
            readings.push(Reading::new(M::StateGrowth, growth).under(condition));
        }
        readings.extend(
            [
                Reading::new(M::StateVariance, variance),
                Reading::new(M::FirstTokenInfluence, first_token_influence(model, &eight, vocab)?),
                Reading::new(M::DecaySpread, decay_spread(model, &eight)?),
            ]
            .map(|r| r.under(condition)),
        );
    }
    Ok(readings)
}

/// The same model in float32, if it computes in less.
fn exact(model: &dyn LanguageModel, on: &Compute) -> Result<Option<Box<dyn LanguageModel>>> {
    match model.params().dtype() {
        DType::BF16 => Ok(Some(model.to_device(on, Precision::Float32)?)),
        _ => Ok(None),
    }
}

/// Disjoint pieces of a text, as long as wanted or as there is text for.
fn texts(file: &TokenFile, length: usize, count: usize) -> Vec<Vec<u32>> {
    let length = length.min(file.len() / count);
    (0..count).map(|i| file.tokens(i * length..(i + 1) * length).collect()).collect()
}

/// D1 and D2: how often larger any state is after all of a text than after its beginning, and how much
/// states differ between texts beside their size.
fn over_inputs(model: &dyn LanguageModel, texts: &[Vec<u32>]) -> Result<(f64, f64)> {
    let cut = |from: usize, to: usize| -> Vec<u32> {
        texts.iter().flat_map(|t| t[from.min(t.len())..to.min(t.len())].iter().copied()).collect()
    };
    let mut state = model.new_state(texts.len())?;
    model.hidden(&cut(0, SHORT), &mut state)?;
    let early = by_input(&state)?;
    if texts[0].len() > SHORT {
        model.hidden(&cut(SHORT, usize::MAX), &mut state)?;
    }
    let late = by_input(&state)?;
    let (mut growth, mut variance) = (f64::NEG_INFINITY, f64::INFINITY);
    for (early, late) in early.iter().zip(&late) {
        for (a, b) in early.iter().zip(late) {
            growth = worse_max(norm(b) / norm(a), growth);
        }
        variance = worse_min(relative_variance(late), variance);
    }
    Ok((growth, variance))
}

/// For every state of every layer what each input has left in it.
fn by_input(state: &State) -> Result<Vec<Vec<Vec<f64>>>> {
    let rows = |t: &Tensor| -> Result<Vec<Vec<f64>>> {
        let x = to_vec_f64(t)?;
        Ok(x.chunks(x.len() / state.batch()).map(<[f64]>::to_vec).collect())
    };
    all(state)?.into_iter().map(|(_, _, t)| rows(t)).collect()
}

/// Variance over rows, summed over columns, divided by the sum of mean squares.
fn relative_variance(rows: &[Vec<f64>]) -> f64 {
    let (mut variance, mut square) = (0.0, 0.0);
    for column in 0..rows.first().map_or(0, Vec::len) {
        let mean = mean_of(rows.iter().map(|r| r[column]));
        variance += mean_of(rows.iter().map(|r| (r[column] - mean).powi(2)));
        square += mean_of(rows.iter().map(|r| r[column].powi(2)));
    }
    variance / square
}

fn mean_of(xs: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = xs.len() as f64;
    xs.sum::<f64>() / n
}

/// D4: how much the last logits change with the first token, on average over the texts.
fn first_token_influence(model: &dyn LanguageModel, texts: &[Vec<u32>], vocab: u32) -> Result<f64> {
    let last = |text: &[u32]| model.last_logits(text, &mut model.new_state(1)?);
    let mut changes = Vec::new();
    for text in texts {
        let mut other = text.clone();
        other[0] = (other[0] + 1) % vocab;
        changes.push(distance(&last(text)?, &last(&other)?)?);
    }
    Ok(mean_of(changes.into_iter()))
}

/// How much decays and step sizes vary over the tokens beside their size, the smallest over layers.
fn decay_spread(model: &dyn LanguageModel, texts: &[Vec<u32>]) -> Result<f64> {
    let text: Vec<u32> = texts.concat();
    let mut smallest = f64::INFINITY;
    let decays = model.as_hybrid().map_or(Ok(Vec::new()), |hybrid| hybrid.decays(&text))?;
    for (_, decay) in decays {
        let (channels, x) = (decay.dim(1)?, to_vec_f64(&decay)?);
        let rows: Vec<Vec<f64>> = x.chunks(channels).map(<[f64]>::to_vec).collect();
        smallest = worse_min(relative_variance(&rows), smallest);
    }
    Ok(smallest)
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
    let apart: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x - y).collect();
    Ok(norm(&apart) / worse_max(norm(&a), norm(&b)))
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::models::{self, Params};
    use crate::scale;

    /// A GroundThink whose parameters are not those of its initialisation: zero maps are none.
    fn model(change: impl Fn(&str, Tensor) -> Tensor) -> Box<dyn LanguageModel> {
        let scale = scale::find("smoke").unwrap();
        let config = (models::find("groundthink").unwrap().config)(scale, 300, 32);
        let sound = config.init(1).unwrap();
        let tensor = |name: &str| {
            let t = sound.params().tensor(name).ok()?;
            let noise = Tensor::randn(0f32, 0.2, t.shape(), &Device::Cpu).ok()?;
            Some(change(name, (t + noise).ok()?))
        };
        config.build(Params::from_tensors(&config.declare(), DType::F32, tensor).unwrap())
    }

    fn some_texts(length: usize) -> Vec<Vec<u32>> {
        (0..8).map(|i| (0..length).map(|t| ((i * 31 + t * (7 + i)) % 300) as u32).collect()).collect()
    }

    #[test]
    fn relative_variance_of_known_rows() {
        // Columns 1, 3 and 0, 0: variance 1, mean square 5.
        assert_eq!(relative_variance(&[vec![1.0, 0.0], vec![3.0, 0.0]]), 0.2);
        assert_eq!(relative_variance(&[vec![2.0, -1.0], vec![2.0, -1.0]]), 0.0);
        assert!(relative_variance(&[vec![0.0], vec![0.0]]).is_nan());
    }

    #[test]
    fn a_decay_that_ignores_the_text_has_no_spread() {
        let texts = some_texts(32);
        let spread = decay_spread(model(|_, t| t).as_ref(), &texts).unwrap();
        assert!(spread > 1e-4, "{spread}");
        // Without its second map RWKV-6's decay is its bias.
        let constant = model(|name, t| match name {
            "blocks.0.rwkv.time_decay_w2" => t.zeros_like().unwrap(),
            _ => t,
        });
        assert!(decay_spread(constant.as_ref(), &texts).unwrap() < 1e-12);
        // Without their rows of the in-projection Mamba-2's steps are their bias.
        let constant = model(|name, t| match name {
            "blocks.0.mamba.in_proj.weight" => {
                let (rows, heads) = (t.dim(0).unwrap(), 4);
                let kept = t.narrow(0, 0, rows - heads).unwrap();
                let zeros = t.narrow(0, 0, heads).unwrap().zeros_like().unwrap();
                Tensor::cat(&[kept, zeros], 0).unwrap()
            }
            _ => t,
        });
        assert!(decay_spread(constant.as_ref(), &texts).unwrap() < 1e-12);
    }

    #[test]
    fn the_decays_are_those_of_the_recurrence() {
        let model = model(|_, t| t);
        let text: Vec<u32> = (0..20).map(|t| t * 13 % 300).collect();
        let decays = model.as_hybrid().unwrap().decays(&text).unwrap();
        assert_eq!(decays.len(), 2 * model.new_state(1).unwrap().n_layer());
        for (branch, decay) in decays {
            let (low, high) = match branch {
                models::Branch::Rwkv => (0.0, 1.0),
                models::Branch::Mamba => (0.0, 10.0),
            };
            assert!(to_vec_f64(&decay).unwrap().iter().all(|x| (low..=high).contains(x)), "{branch:?}");
        }
        let gpt2 = (models::find("gpt2").unwrap().config)(scale::find("smoke").unwrap(), 300, 32);
        assert!(gpt2.init(1).unwrap().as_hybrid().is_none());
    }

    #[test]
    fn the_first_token_of_a_model_without_memory_has_no_influence() {
        let texts = some_texts(32);
        assert!(first_token_influence(model(|_, t| t).as_ref(), &texts, 300).unwrap() > 0.0);
        // Both branches silenced: every position sees its own token only.
        let forgetful =
            model(|name, t| match name.ends_with("output.weight") || name.ends_with("out_proj.weight") {
                true => t.zeros_like().unwrap(),
                false => t,
            });
        assert_eq!(first_token_influence(forgetful.as_ref(), &texts, 300).unwrap(), 0.0);
    }

    #[test]
    fn growth_and_variance_tell_a_state_that_adds_up_from_one_that_forgets() {
        // Decays of one, or nearly zero: the state sums up the text, or holds its end.
        let with_decay = |bias: f64| {
            model(move |name, t| match name.ends_with("time_decay") {
                true => t.affine(0.0, bias).unwrap(),
                false if name.ends_with("time_decay_w2") => t.zeros_like().unwrap(),
                false => t,
            })
        };
        let same = vec![vec![7; LONG]; INPUTS];
        let (growing, _) = over_inputs(with_decay(-30.0).as_ref(), &same).unwrap();
        assert!(growing > 7.0, "{growing}");
        let (_, none) = over_inputs(with_decay(2.0).as_ref(), &same).unwrap();
        assert!(none < 1e-12, "{none}");
        let (_, some) = over_inputs(with_decay(2.0).as_ref(), &some_texts(LONG)).unwrap();
        assert!(some > 1e-4, "{some}");
    }
}
