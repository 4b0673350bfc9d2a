//! How well does it predict Wikipedia's pages? The task `wikitext` of the EleutherAI harness: the page
//! as a reader sees it is scored, and words and bytes are those of the page as it was distributed.
//! Ratios are of the whole corpus. The test text is the same in WikiText-2 and WikiText-103.

use serde_json::json;

use super::task::{
    EvalContext, Task, TaskMetric, TaskResult, expect_all, first, not_finite_losses, ratio, run_task,
};
use crate::data::corpora::TextFile;
use crate::data::published::wikitext::{WikiPage, pages};
use crate::evidence::Metric as M;
use crate::probes::probe::{Probe, ProbeData, Result};
use crate::probes::scoring::likelihood::{Request, ScoringOptions, whole, windows};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "WikiText's test pages, the same in WikiText-2 and WikiText-103: loss per word and per byte",
    metrics: &[M::WikitextLoss, M::WikitextBitsPerByte, M::WikitextOverlap],
    data: ProbeData::Own { available: |data| TASK.is_in(data), digest: |data| TASK.digest(data) },
    measure: |model| run_task(model, &TASK),
    only: None,
    measure_checkpoint: None,
};

pub(in crate::probes) const TASK: Task = Task {
    id: "wikitext",
    version: 2.0,
    file: "wikitext103/wiki.test.raw",
    overlap: M::WikitextOverlap,
    examine,
};

fn examine(exam: &EvalContext<'_>, file: &TextFile) -> Result<TaskResult> {
    let (original, pages) = first(pages(file)?, exam.limit);
    let texts = pages.iter().map(|page| exam.tokenizer.encode_with_special_tokens(&page.text));
    let texts: Vec<Vec<u32>> = texts.collect::<std::result::Result<_, _>>()?;
    let bos = exam.tokenizer.bos();
    let disjoint = |text: &Vec<u32>| windows(text, bos, exam.window, exam.window);
    let how = ScoringOptions { window: exam.window, carry: false, greedy: false };
    let losses = by_page(exam, &texts, how, disjoint)?;
    let notes = not_finite_losses(&losses).into_iter().collect();
    let [words, bytes, bits] = per_word_and_byte(&pages, &losses);
    let mut figures = vec![
        words.through("word_perplexity", f64::exp),
        bytes.through("byte_perplexity", f64::exp),
        bits,
        per_token("token_perplexity", &texts, &losses),
    ];
    if exam.variants {
        let strided = |text: &Vec<u32>| windows(text, bos, exam.window, exam.window.div_ceil(2));
        let losses = by_page(exam, &texts, how, strided)?;
        figures.push(per_token("token_perplexity_strided", &texts, &losses));
    }
    if exam.variants && exam.scorer.carries() {
        let carried = ScoringOptions { carry: true, ..how };
        let losses = by_page(exam, &texts, carried, |text| vec![whole(text, bos)])?;
        let [words, bytes, bits] = per_word_and_byte(&pages, &losses);
        figures.push(words.through("word_perplexity_recurrent", f64::exp));
        figures.push(bytes.through("byte_perplexity_recurrent", f64::exp));
        figures.push(TaskMetric { name: "bits_per_byte_recurrent", ..bits });
        figures.push(per_token("token_perplexity_recurrent", &texts, &losses));
    }
    let sample = |((page, text), loss): ((&WikiPage, &Vec<u32>), &f64)| json!({"log_likelihood": -loss, "words": page.words, "bytes": page.bytes, "tokens": text.len()});
    Ok(TaskResult {
        original,
        effective: pages.len(),
        truncated: 0,
        readings: vec![
            words.reading(M::WikitextLoss, pages.len()),
            bits.reading(M::WikitextBitsPerByte, pages.len()),
        ],
        samples: pages.iter().zip(&texts).zip(&losses).map(sample).collect(),
        figures,
        texts,
        notes,
    })
}

/// The summed loss of every page.
fn by_page(
    exam: &EvalContext<'_>,
    texts: &[Vec<u32>],
    how: ScoringOptions,
    cut: impl Fn(&Vec<u32>) -> Vec<Request>,
) -> Result<Vec<f64>> {
    let parts: Vec<Vec<Request>> = texts.iter().map(cut).collect();
    let requests = parts.concat();
    let answers = exam.scorer.loglikelihood(&requests, how)?;
    expect_all(&answers, requests.len())?;
    let mut rest = answers.iter();
    let page = |part: &Vec<Request>| {
        rest.by_ref().take(part.len()).fold(0.0, |sum, answer| sum - answer.log_likelihood())
    };
    Ok(parts.iter().map(page).collect())
}

/// Nats per word and per byte, bits per byte.
fn per_word_and_byte(pages: &[WikiPage], losses: &[f64]) -> [TaskMetric; 3] {
    let over = |of: fn(&WikiPage) -> usize| {
        let pairs = losses.iter().zip(pages).map(|(&loss, page)| (loss, of(page) as f64));
        ratio(&pairs.collect::<Vec<_>>())
    };
    let bytes = over(|page| page.bytes);
    let bits = bytes.through("bits_per_byte", |nats| nats / std::f64::consts::LN_2);
    [over(|page| page.words), bytes, bits]
}

fn per_token(name: &'static str, texts: &[Vec<u32>], losses: &[f64]) -> TaskMetric {
    let pairs: Vec<_> = losses.iter().zip(texts).map(|(&loss, text)| (loss, text.len() as f64)).collect();
    ratio(&pairs).through(name, f64::exp)
}
