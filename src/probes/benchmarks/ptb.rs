//! How well does it predict the Penn Treebank as Mikolov distributed it? One stream of sentences, in the
//! windows of WikiText; words are counted with the end of each sentence, as the published counts are.

use serde_json::json;

use super::task::{EvalContext, Task, TaskResult, expect_all, first, not_finite, ratio, run_task};
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::ptb;
use crate::evidence::Metric as M;
use crate::probes::probe::{Probe, ProbeData, Result};
use crate::probes::scoring::likelihood::{ScoringOptions, windows};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "the Penn Treebank's test split, as distributed: loss per word",
    metrics: &[M::PtbLoss, M::PtbOverlap],
    data: ProbeData::Own { available: |data| TASK.is_in(data), digest: |data| TASK.digest(data) },
    measure: |model| run_task(model, &TASK),
    only: None,
    measure_checkpoint: None,
};

pub(in crate::probes) const TASK: Task =
    Task { id: "ptb", version: 1.0, file: "ptb/ptb.test.txt", overlap: M::PtbOverlap, examine };

fn examine(exam: &EvalContext<'_>, file: &TextFile) -> Result<TaskResult> {
    let (original, lines) = first(ptb(file)?, exam.limit);
    let encoded = lines.iter().map(|line| exam.tokenizer.encode(&line.text));
    let encoded: Vec<Vec<u32>> = encoded.collect::<std::result::Result<_, _>>()?;
    let stream = encoded.concat();
    let requests = windows(&stream, exam.tokenizer.bos(), exam.window, exam.window);
    let how = ScoringOptions { window: exam.window, carry: false, greedy: false };
    let answers = exam.scorer.loglikelihood(&requests, how)?;
    let note = not_finite(&answers);
    let losses: Vec<f64> = answers.into_iter().flat_map(|answer| answer.losses).collect();
    expect_all(&losses, stream.len())?;
    // Sentences are the documents of this corpus: each has the losses of its own tokens.
    let mut rest = losses.as_slice();
    let mut by_line = Vec::with_capacity(lines.len());
    for tokens in &encoded {
        let (own, others) = rest.split_at(tokens.len());
        by_line.push(own.iter().fold(0.0, |sum, loss| sum + loss));
        rest = others;
    }
    let over = |length: &dyn Fn(usize) -> usize| {
        let pairs = by_line.iter().enumerate().map(|(i, &loss)| (loss, length(i) as f64));
        ratio(&pairs.collect::<Vec<_>>())
    };
    let (words, tokens) = (over(&|i| lines[i].words), over(&|i| encoded[i].len()));
    let sample = |i: usize| json!({"log_likelihood": -by_line[i], "words": lines[i].words, "tokens": encoded[i].len()});
    Ok(TaskResult {
        original,
        effective: lines.len(),
        truncated: 0,
        figures: vec![
            words.through("word_perplexity", f64::exp),
            tokens.through("token_perplexity", f64::exp),
        ],
        readings: vec![words.reading(M::PtbLoss, lines.len())],
        samples: (0..lines.len()).map(sample).collect(),
        texts: vec![stream],
        notes: note.into_iter().collect(),
    })
}
