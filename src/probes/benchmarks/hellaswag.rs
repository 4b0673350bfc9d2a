//! Does it know how a scene goes on? HellaSwag, cleaned and joined as the EleutherAI harness does: right
//! by the largest log-likelihood, and by the largest per character. Small models sit at the floor of
//! both, so the margin of the true ending per byte stands beside them.

use rayon::prelude::*;
use serde_json::json;

use super::task::{EvalContext, Task, TaskMetric, TaskResult, expect_all, first, not_finite, run_task};
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::{Question, hellaswag};
use crate::evidence::{ItemValues, Metric as M};
use crate::probes::probe::{Probe, ProbeData, Reading, Result};
use crate::probes::scoring::likelihood::{Request, ScoringOptions, TokenLosses};
use crate::statistics::mean;

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "HellaSwag: accuracy by likelihood, per character too, and the true ending's margin per byte",
    metrics: &[M::HellaswagAccuracy, M::HellaswagAccuracyNorm, M::HellaswagMargin, M::HellaswagOverlap],
    data: ProbeData::Own { available: |data| TASK.is_in(data), digest: |data| TASK.digest(data) },
    measure: |model| run_task(model, &TASK),
    only: None,
    measure_checkpoint: None,
};

pub(in crate::probes) const TASK: Task = Task {
    id: "hellaswag",
    version: 1.0,
    file: "hellaswag/hellaswag_val.jsonl",
    overlap: M::HellaswagOverlap,
    examine,
};

/// What a question's answers are worth.
struct EndingScore {
    right: f64,
    right_per_character: f64,
    margin: f64,
}

fn examine(exam: &EvalContext<'_>, file: &TextFile) -> Result<TaskResult> {
    let (original, questions) = first(hellaswag(file)?, exam.limit);
    let places = questions.iter().enumerate();
    let pairs: Vec<_> =
        places.flat_map(|(q, question)| (0..question.endings.len()).map(move |e| (q, e))).collect();
    let (tokenizer, window) = (exam.tokenizer, exam.window);
    let pair = |&(q, e): &(usize, usize)| {
        let (question, what) =
            (&questions[q], || format!("{}, question {}, ending {}", file.path.display(), q + 1, e + 1));
        let ending = format!(" {}", question.endings[e]);
        Request::pair(tokenizer, (&question.query, &ending), window, what)
    };
    let requests: Vec<Request> = pairs.par_iter().map(pair).collect::<Result<_>>()?;
    let answers = exam
        .scorer
        .loglikelihood(&requests, ScoringOptions { window: exam.window, carry: false, greedy: false })?;
    expect_all(&answers, requests.len())?;
    let (mut marks, mut samples, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let mut begin = 0;
    for question in &questions {
        let end = begin + question.endings.len();
        let scores: Vec<f64> = answers[begin..end].iter().map(TokenLosses::log_likelihood).collect();
        let mark = mark(question, &scores);
        samples.push(json!({"target": question.truth, "resps": scores,
                            "acc": mark.right, "acc_norm": mark.right_per_character,
                            "margin_per_byte": mark.margin}));
        marks.push(mark);
        let truth = &requests[begin + question.truth];
        texts.push([&truth.context[..], &truth.continuation].concat());
        begin = end;
    }
    let n = questions.len();
    let values = |of: fn(&EndingScore) -> f64| marks.iter().map(of).collect::<Vec<_>>();
    let share = |name, of| TaskMetric::share(name, &values(of));
    let over = |metric, of| Reading::over(metric, ItemValues::independent(1, &values(of)));
    let accuracy = share("acc", |m| m.right);
    let per_character = share("acc_norm", |m| m.right_per_character);
    let margin = share("margin_per_byte", |m| m.margin);
    Ok(TaskResult {
        original,
        effective: n,
        truncated: requests.iter().filter(|r| r.is_longer_than(exam.window)).count(),
        figures: vec![accuracy, per_character, margin],
        readings: vec![
            over(M::HellaswagAccuracy, |m| m.right),
            over(M::HellaswagAccuracyNorm, |m| m.right_per_character),
            over(M::HellaswagMargin, |m| m.margin),
        ],
        samples,
        texts,
        notes: not_finite(&answers).into_iter().collect(),
    })
}

fn mark(question: &Question, scores: &[f64]) -> EndingScore {
    let per = |length: fn(&str) -> usize| {
        let pairs = scores.iter().zip(&question.endings);
        pairs.map(|(score, ending)| score / length(ending) as f64).collect::<Vec<_>>()
    };
    // Who has no numbers is neither right nor wrong.
    let right = |scores: &[f64]| match first_largest(scores) {
        _ if scores.iter().any(|score| !score.is_finite()) => f64::NAN,
        likeliest => f64::from(u8::from(likeliest == Some(question.truth))),
    };
    let per_byte = per(str::len);
    let others = per_byte.iter().enumerate().filter(|(i, _)| *i != question.truth).map(|(_, x)| *x);
    EndingScore {
        right: right(scores),
        right_per_character: right(&per(|ending| ending.chars().count())),
        margin: per_byte[question.truth] - mean(&others.collect::<Vec<_>>()),
    }
}

/// The place of the largest, the first of equals; none where one is not a number.
fn first_largest(scores: &[f64]) -> Option<usize> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let known = scores.iter().all(|x| !x.is_nan());
    scores.iter().position(|x| *x == most).filter(|_| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measure_has_its_length() {
        let endings = ["ab", "é", "abcdefgh"].map(str::to_owned).to_vec();
        let question = |truth| Question { query: "q".to_owned(), endings: endings.clone(), truth };
        let scores = [-3.0, -2.0, -4.0];
        let marks = [0, 1, 2].map(|truth| mark(&question(truth), &scores));
        assert_eq!(marks.each_ref().map(|m| m.right), [0.0, 1.0, 0.0]);
        assert_eq!(marks.each_ref().map(|m| m.right_per_character), [0.0, 0.0, 1.0]);
        // Per byte: -1.5, -1 and -0.5.
        assert_eq!(marks.each_ref().map(|m| m.margin), [-0.75, 0.0, 0.75]);
    }

    #[test]
    fn the_first_of_equals_is_taken_and_what_is_no_number_never() {
        assert_eq!(first_largest(&[1.0, 2.0, 2.0]), Some(1));
        assert_eq!(first_largest(&[1.0, f64::NAN, 2.0]), None);
        assert_eq!(first_largest(&[]), None);
    }
}
