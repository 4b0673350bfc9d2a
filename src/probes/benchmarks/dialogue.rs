//! DailyDialog and PersonaChat: how well replies are predicted from the dialogue so far, and
//! how much generated ones have in common with them.
//!
//! A dialogue is read as lines: the end-of-text token, what is given beforehand, then turn after turn, each
//! ended by a line break, which is the end of the turn. A reply is scored once, its line break with it, after
//! everything that comes before it and nothing else: losses are per token of replies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::task::{
    EvalContext, Task, TaskMetric, TaskResult, expect_all, first, interval_over, not_finite, ratio, run_task,
};
use crate::data::published::dialogues::{Dialogue, dailydialog, personachat};
use crate::data::tokenizer::Tokenizer;
use crate::evidence::Metric as M;
use crate::probes::probe::{Probe, ProbeData, ProbeError, Result};
use crate::probes::scoring::bleu::{BLEU_SIGNATURE, BleuCounts, distinct};
use crate::probes::scoring::decoding::turn_ends;
use crate::probes::scoring::likelihood::{Decoding, Nucleus, Request, ScoringOptions, TokenLosses};

/// DailyDialog's test split.
pub(in crate::probes) const DAILYDIALOG: Probe = Probe {
    id: DAILYDIALOG_TASK.id,
    about: "DailyDialog's test dialogues: loss of replies, BLEU of greedy ones",
    metrics: &[M::DailydialogLoss, M::DailydialogBleu, M::DailydialogOverlap],
    data: ProbeData::Own {
        available: |data| DAILYDIALOG_TASK.is_in(data),
        digest: |data| DAILYDIALOG_TASK.digest(data),
    },
    measure: |model| run_task(model, &DAILYDIALOG_TASK),
    only: None,
    measure_checkpoint: None,
};

/// Its task.
pub(super) const DAILYDIALOG_TASK: Task = Task {
    id: "dailydialog",
    version: 1.0,
    file: "dailydialog/dialogues_test.txt",
    overlap: M::DailydialogOverlap,
    examine: |exam, file| examine_replies(exam, dailydialog(file)?, [M::DailydialogLoss, M::DailydialogBleu]),
};

/// PersonaChat (ConvAI2's validation split), the persona of whom replies given.
pub(in crate::probes) const PERSONACHAT: Probe = Probe {
    id: PERSONACHAT_TASK.id,
    about: "PersonaChat (ConvAI2), the persona given: loss of replies, BLEU of greedy ones",
    metrics: &[M::PersonachatLoss, M::PersonachatBleu, M::PersonachatOverlap],
    data: ProbeData::Own {
        available: |data| PERSONACHAT_TASK.is_in(data),
        digest: |data| PERSONACHAT_TASK.digest(data),
    },
    measure: |model| run_task(model, &PERSONACHAT_TASK),
    only: None,
    measure_checkpoint: None,
};

/// Its task.
pub(super) const PERSONACHAT_TASK: Task = Task {
    id: "personachat",
    version: 1.0,
    file: "personachat/valid_self_original_no_cands.txt",
    overlap: M::PersonachatOverlap,
    examine: |exam, file| examine_replies(exam, personachat(file)?, [M::PersonachatLoss, M::PersonachatBleu]),
};

/// Most tokens of a generated reply, and at most half of the window.
const REPLY: usize = 64;
/// How the second of the generated replies is drawn (Holtzman et al. 2020).
const NUCLEUS: Nucleus = Nucleus { p: 0.9, temperature: 1.0, seed: 0 };
/// Distances: names, and the numbers of the replies that they go up to, counted from one.
const DISTANCES: &[(&str, usize)] = &[
    ("token_perplexity_reply_1", 1),
    ("token_perplexity_reply_2", 2),
    ("token_perplexity_reply_3_4", 4),
    ("token_perplexity_reply_5_8", 8),
    ("token_perplexity_reply_9_up", usize::MAX),
];

/// A reply: of which dialogue, its number there counted from one, its text, and the request that scores it.
struct Reply {
    dialogue: usize,
    number: usize,
    text: String,
    request: Request,
}

/// Loss, perplexity by distance, BLEU and distinct-n; `metrics` are those of loss and BLEU.
fn examine_replies(exam: &EvalContext<'_>, dialogues: Vec<Dialogue>, metrics: [M; 2]) -> Result<TaskResult> {
    let (original, dialogues) = first(dialogues, exam.limit);
    let n = dialogues.len();
    let (replies, texts) = replies(exam, &dialogues)?;
    let requests: Vec<Request> = replies.iter().map(|reply| reply.request.clone()).collect();
    let how = ScoringOptions { window: exam.window, carry: false, greedy: false };
    let answers = exam.scorer.loglikelihood(&requests, how)?;
    expect_all(&answers, requests.len())?;
    let losses: Vec<f64> = answers.iter().map(|answer| -answer.log_likelihood()).collect();
    let note = not_finite(&answers);
    // Who has no numbers says nothing, which must not look like a bad reply.
    let known = |metric: TaskMetric| match note {
        None => metric,
        Some(_) => TaskMetric { value: f64::NAN, interval: None, ..metric },
    };
    let loss = TaskMetric { name: "loss", ..per_token(&replies, &answers, |_| true) };
    let mut figures = vec![loss, loss.through("token_perplexity", f64::exp)];
    let mut least = 0;
    for &(name, most) in DISTANCES {
        let here = |reply: &Reply| reply.number > least && reply.number <= most;
        if replies.iter().any(here) {
            figures.push(per_token(&replies, &answers, here).through(name, f64::exp));
        }
        least = most;
    }
    let greedy = one_turn(exam.tokenizer, exam.window, None)?;
    let said = generated(exam, &requests, &greedy)?;
    let bleu = known(bleu("bleu", &replies, &said, n));
    figures.extend([bleu, known(share("distinct_1", &said, 1)), known(share("distinct_2", &said, 2))]);
    let drawn = match exam.variants {
        true => generated(exam, &requests, &Decoding { nucleus: Some(NUCLEUS), ..greedy.clone() })?,
        false => Vec::new(),
    };
    if exam.variants {
        figures.push(known(self::bleu("bleu_nucleus", &replies, &drawn, n)));
        let shares = [share("distinct_1_nucleus", &drawn, 1), share("distinct_2_nucleus", &drawn, 2)];
        figures.extend(shares.map(known));
    }
    let cut = requests.iter().filter(|request| request.context.len() > greedy.most()).count();
    Ok(TaskResult {
        original,
        effective: n,
        truncated: requests.iter().filter(|request| request.is_longer_than(exam.window)).count(),
        readings: vec![loss.reading(metrics[0], n), bleu.reading(metrics[1], n)],
        samples: samples(&replies, &losses, &said, &drawn, n),
        figures,
        texts,
        notes: notes(replies.len(), greedy.limit, cut).into_iter().chain(note).collect(),
    })
}

/// What the numbers depend on, by name.
fn notes(replies: usize, limit: usize, cut: usize) -> [(&'static str, String); 5] {
    [
        ("bleu_signature", BLEU_SIGNATURE.to_owned()),
        ("replies", replies.to_string()),
        ("turns", "one a line, ended by a line break".to_owned()),
        ("generation", format!("at most {limit} tokens, to the end of the turn; greedy, {NUCLEUS:?}")),
        ("generation_truncated", cut.to_string()),
    ]
}

/// A reply of one turn.
pub fn one_turn(tokenizer: &Tokenizer, window: usize, nucleus: Option<Nucleus>) -> Result<Decoding> {
    let limit = REPLY.min(window / 2).max(1);
    Ok(Decoding { window, limit, ends: turn_ends(tokenizer)?, nucleus })
}

/// What is read before the turn at that place.
pub fn prompt(tokenizer: &Tokenizer, dialogue: &Dialogue, place: usize) -> Result<Vec<u32>> {
    let mut read = vec![tokenizer.eot()];
    for text in dialogue.opening.iter().chain(&dialogue.turns[..place]) {
        read.extend(line(tokenizer, text)?);
    }
    Ok(read)
}

fn line(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    Ok(tokenizer.encode(&format!("{text}\n"))?)
}

/// Every reply of every dialogue, and the tokens of every dialogue.
fn replies(exam: &EvalContext<'_>, dialogues: &[Dialogue]) -> Result<(Vec<Reply>, Vec<Vec<u32>>)> {
    let (mut replies, mut texts) = (Vec::new(), Vec::new());
    for (i, dialogue) in dialogues.iter().enumerate() {
        for (number, &place) in dialogue.replies.iter().enumerate() {
            let text = dialogue.turns[place].clone();
            let context = prompt(exam.tokenizer, dialogue, place)?;
            let request = Request { context, continuation: line(exam.tokenizer, &text)? };
            replies.push(Reply { dialogue: i, number: number + 1, text, request });
        }
        texts.push(prompt(exam.tokenizer, dialogue, dialogue.turns.len())?);
    }
    Ok((replies, texts))
}

/// Σ losses / Σ scored tokens of the replies that are meant, resampled by dialogue: of a reply longer than the
/// window only the end is scored.
fn per_token(replies: &[Reply], answers: &[TokenLosses], meant: impl Fn(&Reply) -> bool) -> TaskMetric {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (reply, answer) in replies.iter().zip(answers).filter(|(reply, _)| meant(reply)) {
        let (nats, tokens) = sums.entry(reply.dialogue).or_default();
        *nats -= answer.log_likelihood();
        *tokens += answer.losses.len() as f64;
    }
    ratio(&sums.into_values().collect::<Vec<_>>())
}

/// What the scorer says in the place of each reply.
fn generated(exam: &EvalContext<'_>, requests: &[Request], how: &Decoding) -> Result<Vec<String>> {
    let prompts: Vec<Vec<u32>> = requests.iter().map(|request| request.context.clone()).collect();
    let replies = exam.scorer.generate_until(&prompts, how)?;
    expect_all(&replies, prompts.len())?;
    let text = |tokens: &Vec<u32>| Ok::<_, ProbeError>(exam.tokenizer.decode(tokens)?.trim().to_owned());
    replies.iter().map(text).collect()
}

/// Corpus BLEU, resampled by dialogue.
fn bleu(name: &'static str, replies: &[Reply], said: &[String], dialogues: usize) -> TaskMetric {
    let mut counts = vec![BleuCounts::default(); dialogues];
    for (reply, said) in replies.iter().zip(said) {
        counts[reply.dialogue] += BleuCounts::of(said, &reply.text);
    }
    let score = |times: &[f64]| {
        let parts = counts.iter().zip(times).map(|(counts, times)| counts.times(*times));
        parts.fold(BleuCounts::default(), |sum, part| sum + part).score()
    };
    let interval = interval_over(dialogues, score);
    TaskMetric { higher_is_better: true, ..TaskMetric::new(name, score(&vec![1.0; dialogues]), interval) }
}

fn share(name: &'static str, said: &[String], n: usize) -> TaskMetric {
    TaskMetric { higher_is_better: true, ..TaskMetric::new(name, distinct(said, n), None) }
}

/// One object per dialogue.
fn samples(
    replies: &[Reply],
    losses: &[f64],
    said: &[String],
    drawn: &[String],
    dialogues: usize,
) -> Vec<Value> {
    let mut all: Vec<Vec<Value>> = vec![Vec::new(); dialogues];
    for (i, (reply, loss)) in replies.iter().zip(losses).enumerate() {
        all[reply.dialogue].push(json!({
            "number": reply.number, "log_likelihood": -loss, "tokens": reply.request.continuation.len(),
            "target": reply.text, "greedy": said[i], "nucleus": drawn.get(i),
        }));
    }
    all.into_iter().map(|replies| json!({"replies": replies})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cutting a reply must not make it look likelier.
    #[test]
    fn a_reply_counts_as_many_tokens_as_are_scored() {
        let request = Request { context: vec![1], continuation: vec![2; 6] };
        let reply = Reply { dialogue: 0, number: 1, text: String::new(), request };
        let whole = TokenLosses { losses: vec![3.0; 6], greedy: false };
        let cut = TokenLosses { losses: vec![3.0; 2], greedy: false };
        for answer in [whole, cut] {
            assert_eq!(per_token(std::slice::from_ref(&reply), &[answer], |_| true).value, 3.0);
        }
    }
}
