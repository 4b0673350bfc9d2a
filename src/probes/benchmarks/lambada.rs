//! Does it know the last word of a passage? LAMBADA, OpenAI's variant: the word is right when each of
//! its tokens is the likeliest; perplexity is the exponential of the mean loss per word.

use serde_json::json;

use super::task::{
    EvalContext, Task, TaskMetric, TaskResult, expect_all, first, not_finite, ratio, run_task,
};
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::lambada;
use crate::evidence::{ItemValues, Metric as M, Value};
use crate::probes::probe::{Probe, ProbeData, Reading, Result};
use crate::probes::scoring::likelihood::{Request, ScoringOptions, TokenLosses};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "LAMBADA (OpenAI's variant): accuracy and loss of the last word",
    metrics: &[M::LambadaAccuracy, M::LambadaLoss, M::LambadaOverlap],
    data: ProbeData::Own { available: |data| TASK.is_in(data), digest: |data| TASK.digest(data) },
    measure: |model| run_task(model, &TASK),
    only: None,
    measure_checkpoint: None,
};

pub(in crate::probes) const TASK: Task = Task {
    id: "lambada_openai",
    version: 1.0,
    file: "lambada/lambada_test.jsonl",
    overlap: M::LambadaOverlap,
    examine,
};

fn examine(exam: &EvalContext<'_>, file: &TextFile) -> Result<TaskResult> {
    let (original, passages) = first(lambada(file)?, exam.limit);
    let requests = passages.iter().enumerate().map(|(i, p)| {
        let what = || format!("{}, passage {}", file.path.display(), i + 1);
        Request::pair(exam.tokenizer, (&p.context, &p.target), exam.window, what)
    });
    let requests: Vec<Request> = requests.collect::<Result<_>>()?;
    let answers = exam
        .scorer
        .loglikelihood(&requests, ScoringOptions { window: exam.window, carry: false, greedy: true })?;
    expect_all(&answers, requests.len())?;
    // Who has no numbers is neither right nor wrong.
    let mark = |a: &TokenLosses| if a.is_finite() { f64::from(u8::from(a.greedy)) } else { f64::NAN };
    let right: Vec<f64> = answers.iter().map(mark).collect();
    let lost: Vec<f64> = answers.iter().map(|a| -a.log_likelihood()).collect();
    let losses: Vec<(f64, f64)> = lost.iter().map(|loss| (*loss, 1.0)).collect();
    let (loss, accuracy) = (ratio(&losses), TaskMetric::share("acc", &right));
    let n = passages.len();
    let samples = answers.iter().zip(&passages);
    let sample = samples.map(|(a, p)| {
        let right = if a.is_finite() { json!(i32::from(a.greedy)) } else { json!(Value::from(f64::NAN)) };
        json!({"target": p.target, "resps": [[a.log_likelihood(), a.greedy]],
               "acc": right, "perplexity": a.log_likelihood()})
    });
    Ok(TaskResult {
        original,
        effective: n,
        truncated: requests.iter().filter(|r| r.is_longer_than(exam.window)).count(),
        figures: vec![loss.through("perplexity", f64::exp), accuracy],
        readings: vec![
            Reading::over(M::LambadaAccuracy, ItemValues::independent(1, &right)),
            Reading::over(M::LambadaLoss, ItemValues::independent(1, &lost)),
        ],
        samples: sample.collect(),
        texts: requests.into_iter().map(|r| [r.context, r.continuation].concat()).collect(),
        notes: not_finite(&answers).into_iter().collect(),
    })
}
