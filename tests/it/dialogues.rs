//! The tasks of dialogue: what is asked, controls, and defects that must show.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use approx::assert_relative_eq;
use proptest::prelude::*;
use serde_json::json;
use v5gate::data::corpora::TextFile;
use v5gate::data::published::dialogues::{Dialogue, dailydialog, personachat};
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::{Config, LanguageModel};
use v5gate::ops::to_vec_f64;
use v5gate::probes::{
    BLEU_SIGNATURE, CachedScorer, Decoding, Nucleus, ProbeError, Request, Scorer, ScoringOptions, TaskResult,
    TokenLosses, turn_ends,
};
use v5gate::random::Random;

use crate::benchmarks::{
    Answers, By, Files, VOCABULARY, asked, examine, figure, given_away, small_tokenizer, with_model,
};
use crate::models::{random_model, small};

type Replies = Result<Vec<Vec<u32>>, ProbeError>;

const TASKS: [&str; 2] = ["dailydialog", "personachat"];

fn dialogues(files: &Files, task: &str) -> Vec<Dialogue> {
    let read = if task == "dailydialog" { dailydialog } else { personachat };
    read(&TextFile::read(&files.path(task)).unwrap()).unwrap()
}

/// Every reply with the lines before it, by the definition.
fn by_definition(dialogues: &[Dialogue]) -> Vec<(String, String)> {
    let of = |d: &Dialogue| {
        let (opening, turns) = (d.opening.clone(), d.turns.clone());
        let one = move |&place: &usize| {
            let before = [&opening[..], &turns[..place]].concat();
            let before: String = before.iter().map(|line| format!("{line}\n")).collect();
            (format!("<|endoftext|>{before}"), format!("{}\n", turns[place]))
        };
        d.replies.iter().map(one).collect::<Vec<_>>()
    };
    dialogues.iter().flat_map(of).collect()
}

fn texts(tokenizer: &Tokenizer, requests: &[Request]) -> Vec<(String, String)> {
    let text = |ids: &[u32]| tokenizer.decode(ids).unwrap();
    requests.iter().map(|r| (text(&r.context), text(&r.continuation))).collect()
}

#[test]
fn each_reply_is_asked_once_after_all_that_was_said() {
    let (files, tokenizer) = (Files::new(30, 21), small_tokenizer());
    for task in TASKS {
        let (asked, all) = (asked(&files, task, &tokenizer), dialogues(&files, task));
        let expected = by_definition(&all);
        assert_eq!(texts(&tokenizer, &asked), expected);
        // Encoded line by line, as the whole would be.
        for (request, (before, reply)) in asked.iter().zip(&expected) {
            let whole = [&request.context[..], &request.continuation].concat();
            assert_eq!(whole, tokenizer.encode(&format!("{before}{reply}")).unwrap());
        }
        assert_eq!(given_away(&asked), 0, "{task}");
        // An answer that leaks into its context, and a target that is off by one, are seen.
        let leaking: Vec<_> = asked
            .iter()
            .map(|r| Request { context: [&r.context[..], &r.continuation].concat(), ..r.clone() })
            .collect();
        assert_eq!(given_away(&leaking), asked.len());
        let shifted = asked.iter().map(|r| {
            let mut all = [&r.context[..], &r.continuation].concat();
            all.rotate_right(1);
            let continuation = all.split_off(r.context.len());
            Request { context: all, continuation }
        });
        assert_ne!(texts(&tokenizer, &shifted.collect::<Vec<_>>()), expected);
    }
}

/// Somebody with an opinion on every request, who replies by a function of the prompt.
struct Person<A, R> {
    loss: A,
    reply: R,
}

impl<A: Fn(&Request) -> Vec<f64>, R: Fn(&[u32]) -> Vec<u32>> Scorer for Person<A, R> {
    fn loglikelihood(&self, requests: &[Request], _: ScoringOptions) -> Answers {
        Ok(requests.iter().map(|r| TokenLosses { losses: (self.loss)(r), greedy: false }).collect())
    }
    fn generate_until(&self, prompts: &[Vec<u32>], _: &Decoding) -> Replies {
        Ok(prompts.iter().map(|prompt| (self.reply)(prompt)).collect())
    }
    fn carries(&self) -> bool {
        false
    }
}

fn flat(loss: f64) -> impl Fn(&Request) -> Vec<f64> {
    move |r| vec![loss; r.continuation.len()]
}

#[test]
fn an_oracle_is_perfect_and_a_uniform_guess_costs_ln_v() {
    let (files, tokenizer) = (Files::new(30, 22), small_tokenizer());
    for task in TASKS {
        let truth: HashMap<Vec<u32>, Vec<u32>> =
            asked(&files, task, &tokenizer).into_iter().map(|r| (r.context, r.continuation)).collect();
        let oracle = Person { loss: flat(0.0), reply: |prompt: &[u32]| truth[prompt].clone() };
        let outcome = examine(task, &oracle, &tokenizer, &files.path(task), 400, None);
        for name in ["bleu", "bleu_nucleus"] {
            assert_relative_eq!(figure(&outcome, name), 100.0, max_relative = 1e-12);
        }
        assert_eq!((figure(&outcome, "loss"), figure(&outcome, "token_perplexity")), (0.0, 1.0));
        assert_eq!(outcome.truncated, 0);
        let uniform = Person { loss: flat((VOCABULARY as f64).ln()), reply: |_: &[u32]| Vec::new() };
        let outcome = files.ask(task, &uniform, &tokenizer);
        for figure in outcome.figures.iter().filter(|f| f.name.contains("perplexity")) {
            assert_relative_eq!(figure.value, VOCABULARY as f64, max_relative = 1e-9);
        }
        assert_eq!(figure(&outcome, "bleu"), 0.0);
        assert!(outcome.notes.contains(&("bleu_signature", BLEU_SIGNATURE.to_owned())));
    }
}

/// Token perplexities by distance sum up to the whole, and stand where the replies stand.
#[test]
fn distances_count_replies() {
    let (files, tokenizer) = (Files::new(30, 23), small_tokenizer());
    // The loss tells how many turns came before, the opening not counted.
    let breaks =
        |r: &Request| r.context.iter().filter(|id| **id == tokenizer.encode("\n").unwrap()[0]).count();
    let outcome = |task: &str, given: usize| {
        let loss = |r: &Request| vec![((breaks(r) - given) as f64).ln(); r.continuation.len()];
        files.ask(task, &Person { loss, reply: |_: &[u32]| Vec::new() }, &tokenizer)
    };
    let daily = outcome("dailydialog", 0);
    for (name, low, high) in
        [("1", 1.0, 1.0), ("2", 2.0, 2.0), ("3_4", 3.0, 4.0), ("5_8", 5.0, 8.0), ("9_up", 9.0, 99.0)]
    {
        let found = figure(&daily, &format!("token_perplexity_reply_{name}"));
        assert!(low - 1e-9 <= found && found <= high + 1e-9, "{name}: {found}");
    }
    // Two turns for each reply.
    let roles = outcome("personachat", 1);
    assert_relative_eq!(figure(&roles, "token_perplexity_reply_1"), 1.0, max_relative = 1e-9);
    assert_relative_eq!(figure(&roles, "token_perplexity_reply_2"), 3.0, max_relative = 1e-9);
}

/// Somebody who expects what was just said, and says it again.
fn echo(tokenizer: &Tokenizer) -> impl Scorer {
    let ends = turn_ends(tokenizer).unwrap();
    let last = move |context: &[u32]| {
        let lines: Vec<&[u32]> =
            context.split(|id| ends.contains(id)).filter(|line| !line.is_empty()).collect();
        lines.last().map(|line| line.to_vec()).unwrap_or_default()
    };
    let said = last.clone();
    let loss = move |r: &Request| {
        let known = said(&r.context);
        r.continuation.iter().map(|id| if known.contains(id) { 1.0 } else { 8.0 }).collect()
    };
    Person { loss, reply: last }
}

#[test]
fn shuffled_replies_are_as_unrelated_ones() {
    let (files, tokenizer) = (Files::new(2, 24), small_tokenizer());
    let mut random = Random::new(24, 0);
    let mut words = |n: usize| {
        let mut word = || (0..7).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>();
        (0..n).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    // Whoever replies repeats the turn and adds a word.
    let mut pair = || {
        let turn = words(6);
        let reply = format!("{turn} {}", words(1));
        (turn, reply)
    };
    let turns: Vec<(String, String)> = (0..60).map(|_| pair()).collect();
    let write = |shift: usize| {
        let line =
            |i: usize| format!("{} __eou__ {} __eou__\n", turns[i].0, turns[(i + shift) % turns.len()].1);
        fs::write(files.path("dailydialog"), (0..turns.len()).map(line).collect::<String>()).unwrap();
        let outcome = files.ask("dailydialog", &echo(&tokenizer), &tokenizer);
        (figure(&outcome, "loss"), figure(&outcome, "bleu"))
    };
    let ((loss, bleu), (other_loss, other_bleu)) = (write(0), write(7));
    assert!(bleu > 70.0 && other_bleu < 1.0, "{bleu} {other_bleu}");
    assert!(loss + 1.0 < other_loss, "{loss} {other_loss}");
}

/// A model of this tokenizer's vocabulary.
pub fn speaker(config: &Config, seed: u64, window: usize) -> Box<dyn LanguageModel> {
    let mut config = serde_json::to_value(config).unwrap();
    config["vocab_size"] = VOCABULARY.into();
    if config.get("n_positions").is_some() {
        config["n_positions"] = window.into();
    }
    serde_json::from_value::<Config>(config).unwrap().init(seed).unwrap()
}

#[test]
fn an_untrained_model_knows_no_reply() {
    let (files, tokenizer) = (Files::new(12, 25), small_tokenizer());
    for config in small() {
        let model = speaker(&config, 1, 64);
        for task in TASKS {
            let outcome = with_model(model.as_ref(), 8, |r| files.ask(task, r, &tokenizer));
            let loss = figure(&outcome, "loss");
            assert!((loss - (VOCABULARY as f64).ln()).abs() < 0.35, "{} {task}: {loss}", config.name());
            assert!(figure(&outcome, "bleu") < 1.0);
        }
    }
}

#[test]
fn what_is_cut_off_is_counted() {
    let (files, tokenizer) = (Files::new(12, 26), small_tokenizer());
    for task in TASKS {
        let requests = asked(&files, task, &tokenizer);
        let note = |outcome: &TaskResult, name: &str| {
            outcome.notes.iter().find(|(n, _)| *n == name).map(|(_, v)| v.parse::<usize>().unwrap()).unwrap()
        };
        let known = By(|_: &Request| (1.0, false));
        let outcome = examine(task, &known, &tokenizer, &files.path(task), 50, None);
        let long = requests.iter().filter(|r| r.context.len() + r.continuation.len() > 51).count();
        // 25 tokens are left for a reply.
        let cut = requests.iter().filter(|r| r.context.len() > 26).count();
        assert!(long > 0 && cut >= long);
        assert_eq!((outcome.truncated, note(&outcome, "generation_truncated")), (long, cut));
        assert_eq!(note(&outcome, "replies"), requests.len());
    }
}

/// By the definition: the likeliest token after all that was read, one after the other.
fn greedily(model: &dyn LanguageModel, prompt: &[u32], how: &Decoding) -> Vec<u32> {
    let mut read = prompt[prompt.len().saturating_sub(how.window + 1 - how.limit)..].to_vec();
    let mut new = Vec::new();
    while new.len() < how.limit {
        let logits = to_vec_f64(&model.forward(&read, &mut model.new_state(1).unwrap()).unwrap()).unwrap();
        let last = &logits[logits.len() - logits.len() / read.len()..];
        let best = (0..last.len()).fold(0, |best, i| if last[i] > last[best] { i } else { best }) as u32;
        if how.ends.contains(&best) {
            break;
        }
        new.push(best);
        read.push(best);
    }
    new
}

fn prompts(seed: u64, n: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed, 0);
    (0..n).map(|_| (0..1 + random.below(24)).map(|_| random.below(61) as u32).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Neither the batch nor the neighbours change a reply, drawn or not.
    #[test]
    fn replies_do_not_depend_on_the_batch(seed in 0u64..1000, which in 0usize..4, batch in 1usize..9) {
        let model = random_model(&small()[which], seed);
        let asked = prompts(seed, 11);
        let how = Decoding { window: 20, limit: 6, ends: vec![0, 7, 9], nucleus: None };
        let drawn = Decoding { nucleus: Some(Nucleus { p: 0.9, temperature: 1.5, seed }), ..how.clone() };
        let by_definition: Vec<_> = asked.iter().map(|p| greedily(model.as_ref(), p, &how)).collect();
        let alone: Vec<Vec<u32>> = with_model(model.as_ref(), 1, |r| {
            asked.iter().map(|p| r.generate_until(std::slice::from_ref(p), &how).unwrap().remove(0)).collect()
        });
        let first = with_model(model.as_ref(), 1, |r| r.generate_until(&asked, &drawn).unwrap());
        with_model(model.as_ref(), batch, |r| {
            prop_assert_eq!(&r.generate_until(&asked, &how).unwrap(), &by_definition);
            prop_assert_eq!(&alone, &by_definition);
            prop_assert_eq!(&r.generate_until(&asked[..5], &drawn).unwrap()[..], &first[..5]);
            prop_assert_eq!(&r.generate_until(&asked, &drawn).unwrap(), &first);
            let other = Decoding { nucleus: drawn.nucleus.map(|n| Nucleus { seed: seed + 1, ..n }), ..drawn.clone() };
            prop_assert_ne!(&r.generate_until(&asked, &other).unwrap(), &first);
            Ok(())
        })?;
    }
}

#[test]
fn no_figure_depends_on_the_batch() {
    let (files, tokenizer) = (Files::new(10, 27), small_tokenizer());
    let model = speaker(&small()[3], 2, 64);
    let outcome = |batch| with_model(model.as_ref(), batch, |r| files.ask("dailydialog", r, &tokenizer));
    let (one, five) = (outcome(1), outcome(5));
    for (a, b) in one.figures.iter().zip(&five.figures) {
        // Losses are sums of float32 logits, which the shape of a product rounds.
        assert_relative_eq!(a.value, b.value, max_relative = 1e-4);
        assert!(a.name == b.name && (!a.name.starts_with("bleu") || a == b));
    }
    assert_eq!(one.samples.len(), 10);
    assert_eq!(one.samples[3]["replies"][0]["greedy"], five.samples[3]["replies"][0]["greedy"]);
}

#[test]
fn a_reply_ends_with_its_turn() {
    let tokenizer = small_tokenizer();
    let ends = turn_ends(&tokenizer).unwrap();
    assert!(ends.contains(&tokenizer.eot()) && ends.contains(&tokenizer.single_token("\n").unwrap()));
    let inside = |id: &u32| tokenizer.decode(&[*id]).unwrap().contains('\n') || *id == tokenizer.eot();
    assert!(ends.iter().all(inside));
}

#[test]
fn kept_replies_are_those_of_the_same_question() {
    let (folder, times) = (tempfile::tempdir().unwrap(), Cell::new(0));
    let seen = RefCell::new(Vec::new());
    let reply = |prompt: &[u32]| {
        times.set(times.get() + 1);
        seen.borrow_mut().push(prompt.to_vec());
        prompt.iter().map(|id| id + 1).collect()
    };
    let person = Person { loss: flat(1.0), reply };
    let kept = |folder: &Path, how: &Decoding| {
        CachedScorer { scorer: &person, folder, identity: json!({"weights": "a"}) }
            .generate_until(&[vec![1, 2]], how)
            .unwrap()
    };
    let how = Decoding { window: 9, limit: 2, ends: vec![0], nucleus: None };
    let drawn = Decoding { nucleus: Some(Nucleus { p: 0.9, temperature: 1.0, seed: 1 }), ..how.clone() };
    for _ in 0..2 {
        assert_eq!((kept(folder.path(), &how), times.get()), (vec![vec![2, 3]], 1));
    }
    kept(folder.path(), &drawn);
    kept(folder.path(), &Decoding { ends: vec![0, 4], ..how.clone() });
    assert_eq!(times.get(), 3);
    // Who only scores is asked in vain, and says so.
    struct OnlyScores;
    impl Scorer for OnlyScores {
        fn loglikelihood(&self, _: &[Request], _: ScoringOptions) -> Answers {
            Ok(Vec::new())
        }
        fn carries(&self) -> bool {
            false
        }
    }
    assert!(matches!(OnlyScores.generate_until(&[], &how), Err(ProbeError::CannotGenerate)));
}
