//! What does it cost to run? Time and memory of inference at batch 1 (§Inference Speed Protocol), with
//! context (ruling R20), and of a training step. Unlike the other probes this one asks all models at once:
//! they are launched in the same way, warmed up, and take turns (A B A B), so that what else the machine
//! does befalls all alike.
//!
//! Cost does not depend on the values of weights. A model that has learned positions for a shorter window
//! than is measured here gets more of them, its own repeated ([`crate::models::with_positions`]); such a model is timed and
//! weighed, and never asked for a loss.
//!
//! Memory is that of the heap, or of the GPU: what the process has beyond what it had before the model was
//! loaded.

use std::time::Instant;

use super::probe::{ProbeError, Reading, Result};
use super::witness::Witness;
use crate::device::Compute;
use crate::evidence::{CurveKind, ItemValues, Metric as M};
use crate::models::{LanguageModel, State};
use crate::ops::{likeliest, on_two_workers};
use crate::statistics::{growth_exponent, mean, median, median_interval};
use crate::train::{Recipe, TrainJob, Trainer};

/// What is measured here.
pub const EFFICIENCY: &[M] = &[
    M::PrefillSeconds,
    M::GenerationTokensPerSecond,
    M::TokenLatency,
    M::PeakBytes,
    M::TimeExponent,
    M::CostTimeGrowth,
    M::CostMemoryGrowth,
    M::ConversationRead,
    M::TimedTokens,
    M::TimedBefore,
    M::TrainPeakBytes,
    M::ComputeEfficiency,
    M::ComputeEfficiencyAsWritten,
];

/// Of these, the times whose samples are kept.
pub const SAMPLED: &[M] = &[M::PrefillSeconds, M::TokenLatency];

/// Tokens of a prefill, and how often it is repeated.
const PREFILL: (usize, usize) = (1024, 100);
/// Tokens fed before generation starts, tokens generated, and how often.
const GENERATION: (usize, usize, usize) = (16, 256, 10);
/// Contexts over which the growth of prefill time is fitted, and repeats of each.
const SCALING: ([usize; 4], usize) = ([256, 512, 1024, 2048], 10);
/// Contexts after which a conversation goes on.
const CONVERSATION: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
/// Where a conversation's cost is compared.
pub const GROWTH: [usize; 2] = [2048, 8192];
/// Tokens that a conversation goes on for in one sample, and samples.
const GOING_ON: (usize, usize) = (16, 50);
/// Tokens that are read or generated before a turn.
const SETTLING: usize = 4;
/// Tokens that are read at a time.
const CHUNK: usize = 1024;
/// Positions that all of it needs.
const POSITIONS: usize = 8192 + 16;

/// Steps of a training in a row, and rows.
const STEPS: usize = 3;
const ROWS: usize = 3;

/// Runs a round at least so often, under a name.
pub type Driver<'d> = dyn FnMut(&str, usize, &mut dyn FnMut()) + 'd;

/// The plainest way to do so.
pub fn run_n(_: &str, times: usize, round: &mut dyn FnMut()) {
    (0..times).for_each(|_| round());
}

/// Somebody who is measured.
pub struct TimedModel<'a> {
    /// Loads the model, with at least so many positions.
    pub load: &'a dyn Fn(usize) -> Result<Box<dyn LanguageModel>>,
}

/// What there is to know of every candidate, but for training.
pub fn compare(
    on: &Compute,
    candidates: &[TimedModel<'_>],
    drive: &mut Driver<'_>,
) -> Result<Vec<Vec<Reading>>> {
    let mut readings = candidates.iter().map(|c| Ok(vec![peak(on, c)?])).collect::<Result<Vec<_>>>()?;
    let models = candidates.iter().map(|c| (c.load)(POSITIONS)).collect::<Result<Vec<_>>>()?;
    // Of no sequence more than that there was one: what is counted are tokens.
    let models: Vec<Witness<'_>> = models.iter().map(|model| Witness::of(model.as_ref(), 0)).collect();
    let mut tell = |all: Vec<Vec<Reading>>| readings.iter_mut().zip(all).for_each(|(r, new)| r.extend(new));
    tell(prefill(on, &models, drive)?);
    tell(generation(on, &models, drive)?);
    tell(conversations(on, &models, drive)?);
    readings.iter_mut().for_each(as_one);
    Ok(readings)
}

/// What was seen of every measurement as one number: tokens added up, and the most that passed before.
fn as_one(readings: &mut Vec<Reading>) {
    let of = |metric| readings.iter().filter(move |r| r.metric == metric).map(|r| r.value);
    let tokens: f64 = of(M::TimedTokens).sum();
    // NaN, where there is one, wins.
    let before = of(M::TimedBefore).fold(0.0, |a: f64, b| if b.is_nan() || b > a { b } else { a });
    readings.retain(|r| !matches!(r.metric, M::TimedTokens | M::TimedBefore));
    readings.extend([Reading::new(M::TimedTokens, tokens), Reading::new(M::TimedBefore, before)]);
}

/// Pseudo-random token ids below 256, which every vocabulary has: time does not depend on them.
fn tokens(n: usize) -> Vec<u32> {
    let bits = |i: u32| i.wrapping_mul(0x9E37_79B9) ^ (i.wrapping_mul(0x85EB_CA6B) >> 13);
    (1..=n as u32).map(|i| bits(i) >> 24).collect()
}

/// What a candidate does, by its place among them.
type Work<'w> = dyn Fn(usize, &dyn LanguageModel) -> Result<()> + 'w;

/// What each candidate took, and read; each does its work once per round, after one round that is
/// not counted. Before every turn it settles, uncounted: otherwise it would pay for what the one before it has
/// put into the processor's caches.
fn take_turns(
    name: &str,
    times: usize,
    (on, drive): (&Compute, &mut Driver<'_>),
    models: &[Witness<'_>],
    settle: &Work<'_>,
    work: &Work<'_>,
) -> Result<Vec<Turns>> {
    let mut failed = None;
    let mut turns = vec![Turns::default(); models.len()];
    let mut round = |count: bool| {
        for (turns, (i, model)) in turns.iter_mut().zip(models.iter().enumerate()) {
            let finished = || Ok(on.finish()?);
            let settled = settle(i, model).and_then(|()| finished());
            model.begin_turn();
            let start = Instant::now();
            let done = work(i, model).and_then(|()| finished());
            let seconds = start.elapsed().as_secs_f64();
            match settled.and(done) {
                Ok(()) if count => {
                    turns.seconds.push(seconds);
                    turns.tokens += model.tokens();
                    // By how much the model was asked later than the clock began, or earlier; one of both is none.
                    let apart = |asked: Instant| asked.duration_since(start) + start.duration_since(asked);
                    let before = model.asked().map_or(f64::NAN, |asked| apart(asked).as_secs_f64());
                    turns.before.push(before / seconds);
                }
                Ok(()) => {}
                Err(error) => failed = Some(error),
            }
        }
    };
    round(false);
    drive(name, times, &mut || round(true));
    failed.map_or(Ok(turns), Err)
}

/// What a model did in its turns.
#[derive(Clone, Default)]
struct Turns {
    /// What each took.
    seconds: Vec<f64>,
    /// Tokens that it read in all of them.
    tokens: u64,
    /// Which share of each passed before it was asked anything.
    before: Vec<f64>,
}

impl Turns {
    /// What stood between the clock and the model: tokens of one turn, and what passed before.
    fn seen(&self) -> [Reading; 2] {
        let tokens = self.tokens as f64 / self.seconds.len() as f64;
        [Reading::new(M::TimedTokens, tokens), Reading::new(M::TimedBefore, median(&self.before))]
    }
}

fn timed(metric: M, samples: &[f64]) -> Reading {
    let interval = median_interval(samples);
    Reading { n: Some(samples.len() as u64), interval, ..Reading::new(metric, median(samples)) }
}

/// The same with its samples, each in the unit of the metric.
fn sampled(metric: M, samples: &[f64]) -> Reading {
    timed(metric, samples).of(ItemValues::independent(1, samples))
}

/// The same with another unit; a falling function turns the interval round.
fn through(reading: Reading, metric: M, f: impl Fn(f64) -> f64) -> Reading {
    let interval = reading.interval.map(|[low, high]| {
        let (a, b) = (f(low), f(high));
        [a.min(b), a.max(b)]
    });
    Reading { metric, value: f(reading.value), interval, ..reading }
}

/// The most memory that the model and a prefill of 1,024 tokens need.
fn peak(on: &Compute, candidate: &TimedModel<'_>) -> Result<Reading> {
    // What a first run leaves behind for the next ones is nobody's.
    read((candidate.load)(PREFILL.0)?.as_ref(), PREFILL.0)?;
    let before = on.memory_in_use()?;
    let model = (candidate.load)(PREFILL.0)?;
    let (done, most) = on.peak_of(|| read(model.as_ref(), PREFILL.0))?;
    done?;
    Ok(Reading::new(M::PeakBytes, most.saturating_sub(before) as f64))
}

fn read(model: &dyn LanguageModel, context: usize) -> Result<()> {
    Ok(model.last_logits(&tokens(context), &mut model.new_state(1)?).map(drop)?)
}

fn settle(_: usize, model: &dyn LanguageModel) -> Result<()> {
    read(model, SETTLING)
}

fn prefill(on: &Compute, models: &[Witness<'_>], drive: &mut Driver<'_>) -> Result<Vec<Vec<Reading>>> {
    let (context, times) = PREFILL;
    let turns = take_turns("prefill", times, (on, drive), models, &settle, &|_, model| read(model, context))?;
    let of = |turns: &Turns| {
        let prefill = sampled(M::PrefillSeconds, &turns.seconds);
        std::iter::once(prefill).chain(turns.seen()).collect()
    };
    let mut readings: Vec<Vec<Reading>> = turns.iter().map(of).collect();
    let mut growth = vec![Vec::new(); models.len()];
    for context in SCALING.0 {
        let name = format!("prefill of {context}");
        let turns =
            take_turns(&name, SCALING.1, (on, drive), models, &settle, &|_, model| read(model, context))?;
        for ((points, readings), turns) in growth.iter_mut().zip(&mut readings).zip(turns) {
            points.push((context as f64, median(&turns.seconds)));
            readings.extend(turns.seen());
            let place = Some((CurveKind::PrefillByContext, context as u64));
            readings.push(Reading { place, ..sampled(M::TimeExponent, &turns.seconds) });
        }
    }
    for (readings, points) in readings.iter_mut().zip(growth) {
        readings.push(Reading::new(M::TimeExponent, growth_exponent(&points)));
    }
    Ok(readings)
}

fn generation(on: &Compute, models: &[Witness<'_>], drive: &mut Driver<'_>) -> Result<Vec<Vec<Reading>>> {
    let (prompt, new, times) = GENERATION;
    let prompt = tokens(prompt);
    let turns = take_turns("generation", times, (on, drive), models, &settle, &|_, model| {
        let got = model.continue_greedily(&prompt, new, None)?.len();
        if got == new { Ok(()) } else { Err(ProbeError::Answers { expected: new, got }) }
    })?;
    let both = |turns: &Turns| {
        let seconds = timed(M::TokenLatency, &turns.seconds);
        let speed = through(seconds, M::GenerationTokensPerSecond, |s| new as f64 / s);
        let latencies: Vec<f64> = turns.seconds.iter().map(|s| s / new as f64).collect();
        [speed, sampled(M::TokenLatency, &latencies)].into_iter().chain(turns.seen()).collect()
    };
    Ok(turns.iter().map(both).collect())
}

/// A conversation that goes on: what it holds, and what the next tokens cost.
struct TimedConversation<'c> {
    on: &'c Compute,
    state: State,
    tokens: usize,
    bytes: usize,
}

impl<'c> TimedConversation<'c> {
    fn begin(on: &'c Compute, model: &dyn LanguageModel) -> Result<Self> {
        let before = on.memory_in_use()?;
        let state = model.new_state(1)?;
        Ok(Self { on, state, tokens: 0, bytes: on.memory_in_use()?.saturating_sub(before) })
    }

    /// Reads on up to a context. What the heap has more afterwards is the conversation's.
    fn read_to(&mut self, model: &dyn LanguageModel, context: usize) -> Result<()> {
        let before = self.on.memory_in_use()?;
        while self.tokens < context {
            let next = CHUNK.min(context - self.tokens);
            model.hidden(&tokens(next), &mut self.state)?;
            self.tokens += next;
        }
        self.bytes = (self.bytes + self.on.memory_in_use()?).saturating_sub(before);
        Ok(())
    }

    /// Goes on for so many tokens and forgets them.
    fn go_on(&self, model: &dyn LanguageModel, tokens: usize) -> Result<()> {
        let mut state = self.state.clone();
        Ok(on_two_workers(|| {
            let mut token = 0;
            for _ in 0..tokens {
                token = likeliest(&model.last_logits(&[token], &mut state)?)?;
            }
            candle_core::Result::Ok(())
        })?)
    }
}

/// Time per token and memory per conversation against context.
fn conversations(on: &Compute, models: &[Witness<'_>], drive: &mut Driver<'_>) -> Result<Vec<Vec<Reading>>> {
    let mut open = Vec::with_capacity(models.len());
    for model in models {
        // What a first conversation leaves behind for the next ones is nobody's.
        let mut first = TimedConversation::begin(on, model)?;
        first.read_to(model, CHUNK)?;
        first.go_on(model, GOING_ON.0)?;
        drop(first);
        open.push(TimedConversation::begin(on, model)?);
    }
    let mut readings = vec![Vec::new(); models.len()];
    let mut held = vec![f64::INFINITY; models.len()];
    for context in CONVERSATION {
        for ((conversation, model), held) in open.iter_mut().zip(models).zip(&mut held) {
            conversation.read_to(model, context)?;
            *held = held.min(conversation.state.position() as f64 / context as f64);
        }
        let name = format!("next token after {context}");
        let settle = |i: usize, model: &dyn LanguageModel| open[i].go_on(model, SETTLING);
        let work = |i: usize, model: &dyn LanguageModel| open[i].go_on(model, GOING_ON.0);
        let turns = take_turns(&name, GOING_ON.1, (on, drive), models, &settle, &work)?;
        for ((readings, conversation), turns) in readings.iter_mut().zip(&open).zip(turns) {
            let place = |kind| Some((kind, context as u64));
            readings.extend(turns.seen());
            let each: Vec<f64> = turns.seconds.iter().map(|s| s / GOING_ON.0 as f64).collect();
            let time = sampled(M::CostTimeGrowth, &each);
            readings.push(Reading { place: place(CurveKind::TimeByContext), ..time });
            let memory = Reading::new(M::CostMemoryGrowth, conversation.bytes as f64);
            readings.push(Reading { place: place(CurveKind::MemoryByContext), ..memory });
        }
    }
    for (readings, held) in readings.iter_mut().zip(held) {
        readings.push(Reading::new(M::ConversationRead, held));
        for (metric, kind) in
            [(M::CostTimeGrowth, CurveKind::TimeByContext), (M::CostMemoryGrowth, CurveKind::MemoryByContext)]
        {
            let at = |context: usize| {
                let place = Some((kind, context as u64));
                mean(&readings.iter().filter(|r| r.place == place).map(|r| r.value).collect::<Vec<_>>())
            };
            let growth = at(GROWTH[1]) / at(GROWTH[0]);
            readings.push(Reading::new(metric, growth));
        }
    }
    Ok(readings)
}

/// The same training with steps of two micro-batches at most.
fn shortened(job: TrainJob<'_>) -> TrainJob<'_> {
    let batch_size = job.recipe.batch_size.min(2 * job.recipe.micro_batch_size);
    TrainJob { recipe: Recipe { batch_size, ..job.recipe }, ..job }
}

/// The least seconds that a token takes in a few steps of this training: the quickest of some rows of steps, none of
/// which waits for the one before. None of a training that has not so many.
pub fn quickest_step(job: TrainJob<'_>) -> Result<Option<f64>> {
    let job = shortened(job);
    if job.recipe.steps() <= (ROWS * STEPS) as u64 {
        return Ok(None);
    }
    let mut trainer = Trainer::new(&job)?;
    trainer.step()?;
    let mut least = f64::INFINITY;
    for _ in 0..ROWS {
        let start = Instant::now();
        for _ in 0..STEPS {
            trainer.step_ahead()?;
        }
        job.compute.finish()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(Some(least / (STEPS as u64 * job.recipe.tokens_per_step()) as f64))
}

/// The most memory that a step of this training needs: model, optimizer, gradients and what the backward
/// pass keeps. Accumulating more than two micro-batches needs no more, so no more are read.
pub fn training_peak(job: TrainJob<'_>) -> Result<Reading> {
    let on = job.compute;
    let job = shortened(job);
    let steps = || -> Result<()> {
        let mut trainer = Trainer::new(&job)?;
        for _ in 0..2 {
            trainer.step()?;
        }
        Ok(())
    };
    // As before: leftovers of a first run are nobody's.
    steps()?;
    let before = on.memory_in_use()?;
    let (done, most) = on.peak_of(steps)?;
    done?;
    Ok(Reading::new(M::TrainPeakBytes, most.saturating_sub(before) as f64))
}
