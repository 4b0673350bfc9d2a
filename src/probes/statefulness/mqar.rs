//! Can the architecture learn to look things up at all? Multi-query associative recall (Arora et al. 2023,
//! "Zoology"), trained from scratch.
//!
//! Two layers at a width of the task's own, loss at the questions only, several learning rates of which the best is
//! kept (their figure 2), the real optimizer under the protocol's recipe otherwise. It needs no text, no question and
//! nothing of the trained model but its architecture. Which sizes are asked is the protocol's choice ([`Grid`]).

use candle_core::{DType, Device, Tensor};

use crate::data::synthetic::mqar::{Example, MqarSize, looked_up};
use crate::device::Compute;
use crate::evidence::{Condition, Metric as M};
use crate::files::sha256;
use crate::models::{self, Config, LanguageModel};
use crate::ops::{Tape, embedding, likeliest, linear_cross_entropy, on_worker};
use crate::probes::eval_data::Grid;
use crate::probes::probe::{Probe, ProbeData, ProbeError, Reading, Result, TrainedModel};
use crate::scale::{Scale, Tier};
use crate::statistics::{mean, t_interval};
use crate::train::{AdamW, Recipe};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "mqar",
    about: "multi-query associative recall, trained from scratch, the best of several learning rates",
    metrics: &[M::MqarAccuracy],
    data: ProbeData::Own {
        available: |data| data.mqar != Grid::None,
        digest: |data| Ok(sha256(data.mqar.identity().as_bytes())),
    },
    measure,
    only: None,
    measure_checkpoint: None,
};

/// A size of the task, of the model and of its training.
#[derive(Clone, Copy, Debug)]
struct Setting {
    task: MqarSize,
    width: usize,
    heads: usize,
    batch: usize,
    steps: u64,
    tests: usize,
}

const SMALL: &[Setting] = &[Setting {
    task: MqarSize { vocab_size: 32, length: 16, pairs: 4 },
    width: 32,
    heads: 2,
    batch: 32,
    steps: 2_000,
    tests: 256,
}];

/// One published size: 64 epochs of 100,000 examples.
const fn published(length: usize, pairs: usize, batch: usize) -> Setting {
    let steps = (64 * 100_000 / batch) as u64;
    let task = MqarSize { vocab_size: 8_192, length, pairs };
    Setting { task, width: 128, heads: 2, batch, steps, tests: 3_000 }
}

const FULL: &[Setting] =
    &[published(64, 4, 512), published(128, 8, 512), published(256, 16, 256), published(512, 64, 128)];

/// Learning rates: those of the publication, and for few steps its third and half of that. Twice and four times as
/// much were tried at the small size with three seeds: they were never the best of either model.
const RATES: &[f64] = &[1e-4, 4.642e-4, 2.154e-3, 1e-2];
const FAST_RATES: &[f64] = &[2e-3, 1e-3];
/// A rate that answers this share of the questions ends the search: no other can be better by more than the
/// rest.
const LEARNT: f64 = 0.99;
/// Steps between two looks at how many questions of so many examples are answered.
const LOOK: u64 = 50;
const LOOK_AT: usize = 256;
/// Examples of a forward pass in evaluation.
const EXAMPLES: usize = 64;
/// Examples for evaluation, and for looks in between, come after all that any training reads.
const FIRST_TEST: u64 = 1 << 40;
const FIRST_LOOK: u64 = 1 << 41;

impl Grid {
    fn settings(self) -> &'static [Setting] {
        match self {
            Self::None => &[],
            Self::Small => SMALL,
            Self::Full => FULL,
        }
    }

    fn rates(self) -> &'static [f64] {
        if self == Self::Small { FAST_RATES } else { RATES }
    }

    /// Everything that decides the answer but model and seed.
    fn identity(self) -> String {
        format!("{:?} {:?}", self.settings(), self.rates())
    }
}

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let settings = s.data.mqar.settings();
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let mut answered: [Vec<Vec<f64>>; 3] = Default::default();
    let mut chance = Vec::new();
    for setting in settings {
        let config = setting.config(&s.model.config())?;
        let untrained = config.init(s.seed)?.to_device(s.compute, s.recipe.precision)?;
        answered[0].push(setting.best(s.compute, &config, s.recipe, (s.seed, s.data.mqar.rates()))?);
        answered[1].push(setting.accuracies(untrained.as_ref(), &setting.tests(s.seed))?);
        answered[2].push(setting.oracle(s.seed));
        chance.push(1.0 / setting.task.vocab_size as f64);
    }
    let conditions = [Condition::Trained, Condition::Untrained, Condition::CopyOracle];
    let mut readings: Vec<Reading> =
        conditions.iter().zip(&answered).map(|(&condition, all)| reading(all).under(condition)).collect();
    readings.push(Reading::new(M::MqarAccuracy, mean(&chance)).under(Condition::Uniform));
    Ok(readings)
}

/// The mean over settings of the mean over examples; an interval where there is one setting.
fn reading(all: &[Vec<f64>]) -> Reading {
    let means: Vec<f64> = all.iter().map(|examples| mean(examples)).collect();
    let n = all.iter().map(Vec::len).sum::<usize>() as u64;
    let interval = if let [one] = all { t_interval(one) } else { None };
    Reading { n: Some(n), interval, ..Reading::new(M::MqarAccuracy, mean(&means)) }
}

impl Setting {
    /// The same architecture at the size of a GPT-2 of two layers; a model that matches it derives its own
    /// layers (ruling R3).
    fn config(&self, of: &Config) -> Result<Config> {
        let (name, tier) = ("mqar", Tier::Smoke);
        let scale =
            Scale { name, tier, n_layer: 2, n_head: self.heads, d_model: self.width, d_ff: 4 * self.width };
        let spec = models::find(of.name())
            .ok_or_else(|| candle_core::Error::Msg(format!("no model is called {}", of.name())))?;
        Ok((spec.config)(&scale, self.task.vocab_size, self.task.length))
    }

    /// The share of questions answered of every example, after the best of the learning rates.
    fn best(
        &self,
        compute: &Compute,
        config: &Config,
        recipe: &Recipe,
        (seed, rates): (u64, &[f64]),
    ) -> Result<Vec<f64>> {
        let mut best = vec![f64::NAN; self.tests];
        for &rate in rates {
            let found = self.learn(compute, config, &self.recipe(recipe, rate), seed)?;
            // What diverged is worse than anything.
            if best[0].is_nan() || mean(&found) > mean(&best) {
                best = found;
            }
            if mean(&best) >= LEARNT {
                break;
            }
        }
        Ok(best)
    }

    /// The protocol's recipe for this length, batch and learning rate.
    fn recipe(&self, recipe: &Recipe, rate: f64) -> Recipe {
        Recipe {
            token_count: self.steps * (self.batch * self.task.length) as u64,
            batch_size: self.batch,
            micro_batch_size: self.batch,
            context_length: self.task.length,
            warmup_steps: self.steps / 10,
            max_lr: rate,
            min_lr: 0.0,
            ..recipe.clone()
        }
    }

    /// The share of questions answered of every example after a training; NaN if its loss was not finite.
    fn learn(&self, compute: &Compute, config: &Config, recipe: &Recipe, seed: u64) -> Result<Vec<f64>> {
        match self.train(compute, config, recipe, seed)? {
            Some(model) => self.accuracies(model.as_ref(), &self.tests(seed)),
            None => Ok(vec![f64::NAN; self.tests]),
        }
    }

    /// Trains from scratch; nothing if the loss was not finite.
    fn train(
        &self,
        compute: &Compute,
        config: &Config,
        recipe: &Recipe,
        seed: u64,
    ) -> Result<Option<Box<dyn LanguageModel>>> {
        let tests = self.examples(seed, FIRST_LOOK, LOOK_AT);
        let model = config.init(seed)?.to_device(compute, recipe.precision)?;
        let mut optimizer = AdamW::new(model.as_ref())?;
        let model = model.over(optimizer.params().clone());
        for step in 0..self.steps {
            let examples = self.examples(seed, step * self.batch as u64, self.batch);
            let finite = on_worker(|| -> Result<bool> {
                Ok(descend(model.as_ref(), &mut optimizer, &examples, recipe, step)?.is_finite())
            })?;
            if !finite {
                return Ok(None);
            }
            if (step + 1) % LOOK == 0 && mean(&self.accuracies(model.as_ref(), &tests)?) >= LEARNT {
                break;
            }
        }
        Ok(Some(model))
    }

    /// Examples that no training reads.
    fn tests(&self, seed: u64) -> Vec<Example> {
        self.examples(seed, FIRST_TEST, self.tests)
    }

    fn examples(&self, seed: u64, first: u64, count: usize) -> Vec<Example> {
        (first..).take(count).map(|index| self.task.example(seed, index)).collect()
    }

    /// The share of questions answered of every example.
    fn accuracies(&self, model: &dyn LanguageModel, tests: &[Example]) -> Result<Vec<f64>> {
        let mut shares = Vec::with_capacity(tests.len());
        for examples in tests.chunks(EXAMPLES) {
            let (tokens, places, values) = flat(examples);
            let hidden = model.hidden(&tokens, &mut model.new_state(examples.len())?)?;
            let asked = hidden.index_select(&Tensor::new(places, hidden.device())?, 0)?;
            let logits = model.logits(asked)?;
            let right = (0..values.len())
                .map(|i| Ok(f64::from(u8::from(likeliest(&logits.narrow(0, i, 1)?)? == values[i]))));
            let right = right.collect::<Result<Vec<f64>>>()?;
            shares.extend(right.chunks(self.task.pairs).map(mean));
        }
        Ok(shares)
    }

    /// An oracle that looks every pair up.
    fn oracle(&self, seed: u64) -> Vec<f64> {
        let share = |example: &Example| {
            let right =
                |(at, value): &&(usize, u32)| looked_up(&self.task, &example.tokens, *at) == Some(*value);
            example.queries.iter().filter(right).count() as f64 / self.task.pairs as f64
        };
        self.tests(seed).iter().map(share).collect()
    }
}

/// Examples one after the other: their tokens, the rows where something is asked, and the answers.
fn flat(examples: &[Example]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let length = examples.first().map_or(0, |example| example.tokens.len());
    let tokens = examples.iter().flat_map(|example| example.tokens.iter().copied()).collect();
    let queries = examples.iter().enumerate().flat_map(|(row, example)| {
        example.queries.iter().map(move |(at, value)| ((row * length + at) as u32, *value))
    });
    let (places, values) = queries.unzip();
    (tokens, places, values)
}

/// One step; the mean loss at the questions before it.
fn descend(
    model: &dyn LanguageModel,
    optimizer: &mut AdamW,
    examples: &[Example],
    recipe: &Recipe,
    step: u64,
) -> std::result::Result<f64, ProbeError> {
    let (tokens, places, values) = flat(examples);
    let tape = Tape::recording(model.params().entries().len());
    let hidden = model.backbone(&tape, &tokens, &mut model.new_state(examples.len())?)?;
    // Rows of a table chosen by number: the hidden states where something is asked.
    let asked = embedding(&tape, &hidden, &places)?;
    let head = model.params().scope(&tape, "").get(model.head())?;
    let loss = linear_cross_entropy(&tape, &asked, &head, &values)?;
    let value = loss.tensor().to_dtype(DType::F64)?.to_scalar::<f64>()?;
    let one = Tensor::new(1.0, &Device::Cpu)?.to_dtype(loss.tensor().dtype())?;
    let mut gradients = tape.backward(&loss, one)?;
    let norms = optimizer.step(&mut gradients, recipe, recipe.learning_rate(step))?;
    Ok(if norms.total.is_finite() { value } else { f64::NAN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::current;
    use crate::models::{MODELS, ModelSpec};
    use crate::train::{Optimizer, Precision, Schedule};

    const SETTING: &Setting = &SMALL[0];

    fn config(model: &ModelSpec) -> Config {
        SETTING.config(&(model.config)(&crate::scale::SCALES[0], 32, 16)).unwrap()
    }

    #[test]
    fn knowing_nothing_is_chance_and_looking_up_is_perfect() {
        for model in MODELS {
            let untrained = config(model).init(1).unwrap();
            let tests = SETTING.examples(1, FIRST_TEST, 2_000);
            // Of 8,000 questions one in 31 tokens is right at most, if the model always says a value.
            let share = mean(&SETTING.accuracies(untrained.as_ref(), &tests).unwrap());
            assert!(share < 2.0 / 16.0, "{}: {share}", model.name);
        }
        assert_eq!(mean(&SETTING.oracle(1)), 1.0);
    }

    /// Both models learn the small task, and questions put one place on, or with another pair's answers,
    /// are not answered.
    #[test]
    fn both_models_learn_to_look_up_and_a_shift_is_seen() {
        let recipe = Recipe {
            token_count: 1,
            batch_size: 1,
            micro_batch_size: 1,
            context_length: 1,
            learning_rate_schedule: Schedule::Cosine,
            warmup_steps: 1,
            max_lr: 1e-3,
            min_lr: 0.0,
            weight_decay: 0.1,
            optimizer: Optimizer::AdamW,
            betas: [0.9, 0.95],
            eps: 1e-8,
            grad_clip: 1.0,
            precision: Precision::Float32,
        };
        for model in &MODELS[..2] {
            let (config, recipe) = (config(model), SETTING.recipe(&recipe, FAST_RATES[0]));
            let model = SETTING.train(current(), &config, &recipe, 1).unwrap().unwrap();
            let share = |spoil: &dyn Fn(&mut Example)| {
                let mut tests = SETTING.tests(1);
                tests.iter_mut().for_each(spoil);
                mean(&SETTING.accuracies(model.as_ref(), &tests).unwrap())
            };
            let learnt = share(&|_| ());
            // Training ended when 99 % of the questions of 256 examples were answered. If those of an example are
            // right or wrong together, the share of 256 others differs by 0.88 points (one deviation,
            // √(2·0.99·0.01 / 256)); four of them are allowed. Measured: 0.979 and 1.
            assert!(learnt > LEARNT - 0.035, "{}: {learnt}", config.name());
            let late = share(&|e| e.queries.iter_mut().for_each(|q| q.0 += 1));
            assert!(late < 0.9, "{}: {late} one place on", config.name());
            let other = share(&|e| {
                let first = e.queries[0].1;
                (1..e.queries.len()).for_each(|i| e.queries[i - 1].1 = e.queries[i].1);
                e.queries.last_mut().unwrap().1 = first;
            });
            assert!(other < 0.05, "{}: {other} with other answers", config.name());
            let hidden = share(&|e| (0..SETTING.task.pairs).for_each(|i| e.tokens[2 * i + 1] = 0));
            assert!(hidden < 0.5, "{}: {hidden} without the values", config.name());
        }
    }
}
