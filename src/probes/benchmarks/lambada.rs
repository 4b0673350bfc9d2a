//! Does it know the last word of a passage? LAMBADA, OpenAI's variant: the word is right when each of
//! its tokens is the likeliest; perplexity is the exponential of the mean loss per word.

use std::path::Path;

use serde_json::json;

use super::task::{Exam, Figure, Outcome, Task, expect_all, first, put, ratio};
use crate::data::published::benchmarks::lambada;
use crate::evidence::Metric as M;
use crate::probes::scoring::likelihood::{How, Request};
use crate::probes::{Probe, Reading, Result, Subject};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "LAMBADA (OpenAI's variant): accuracy and loss of the last word",
    metrics: &[M::LambadaAccuracy, M::LambadaLoss, M::LambadaOverlap],
    ask,
};

pub(in crate::probes) const TASK: Task = Task {
    id: "lambada_openai",
    version: 1.0,
    file: "lambada/lambada_test.jsonl",
    overlap: M::LambadaOverlap,
    examine,
};

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    put(s, &TASK)
}

fn examine(exam: &Exam<'_>, path: &Path) -> Result<Outcome> {
    let (original, passages) = first(lambada(path)?, exam.limit);
    let requests = passages.iter().map(|p| Request::pair(exam.tokenizer, &p.context, &p.target));
    let requests: Vec<Request> = requests.collect::<Result<_>>()?;
    let answers =
        exam.respondent.answer(&requests, How { window: exam.window, carry: false, greedy: true })?;
    expect_all(&answers, requests.len())?;
    let right: Vec<f64> = answers.iter().map(|a| if a.greedy { 1.0 } else { 0.0 }).collect();
    let losses: Vec<(f64, f64)> = answers.iter().map(|a| (-a.log_likelihood(), 1.0)).collect();
    let (loss, accuracy) = (ratio(&losses), Figure::share("acc", &right));
    let n = passages.len();
    let samples = answers.iter().zip(&passages);
    let sample = samples.map(|(a, p)| {
        json!({"target": p.target, "resps": [[a.log_likelihood(), a.greedy]],
               "acc": i32::from(a.greedy), "perplexity": a.log_likelihood()})
    });
    Ok(Outcome {
        original,
        effective: n,
        truncated: requests.iter().filter(|r| r.is_longer_than(exam.window)).count(),
        figures: vec![loss.through("perplexity", f64::exp), accuracy],
        readings: vec![accuracy.reading(M::LambadaAccuracy, n), loss.reading(M::LambadaLoss, n)],
        samples: sample.collect(),
        texts: requests.into_iter().map(|r| [r.context, r.continuation].concat()).collect(),
        notes: Vec::new(),
    })
}
