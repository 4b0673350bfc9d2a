//! Benchmarks of language modelling: the harness's numbers, controls, and defects that must show.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use approx::assert_relative_eq;
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};
use v5gate::collect::{Collector, Options, Trial, question};
use v5gate::data::cache::TokenFile;
use v5gate::data::corpora::TextFile;
use v5gate::data::published::benchmarks::{Passage, Question, hellaswag, lambada};
use v5gate::data::published::wikitext::{WikiPage, pages};
use v5gate::data::synthetic::conversations::{Amount, Split, conversations};
use v5gate::data::tokenizer::Tokenizer;
use v5gate::evidence::{Line, Measurement, Metric};
use v5gate::files::{digest_of_texts, sha256};
use v5gate::models::{Config, Gpt2Config, LanguageModel, Params};
use v5gate::ops::to_vec_f64;
use v5gate::probes::{
    CachedScorer, Decoding, EvalContext, ModelScorer, PROBES, ProbeError, Request, Scorer, ScoringOptions,
    TASKS, TaskResult, TokenLosses, find_task, overlap,
};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::random::Random;

use crate::models::{random_model, small};

pub type Answers = Result<Vec<TokenLosses>, ProbeError>;

static NEVER: AtomicBool = AtomicBool::new(false);

pub fn with_model<T>(model: &dyn LanguageModel, batch: usize, f: impl FnOnce(&ModelScorer<'_>) -> T) -> T {
    f(&ModelScorer { model, batch, screen: &Screen::quiet(), stop: &NEVER })
}

pub fn how(window: usize) -> ScoringOptions {
    ScoringOptions { window, carry: false, greedy: true }
}

// ---- likelihoods

/// Requests of many lengths, some longer than the window.
fn requests(seed: u64, n: usize) -> Vec<Request> {
    let mut random = Random::new(seed, 0);
    let mut tokens = |most: usize| -> Vec<u32> {
        let length = 1 + random.below(most);
        (0..length).map(|_| random.below(61) as u32).collect()
    };
    (0..n).map(|_| Request { context: tokens(30), continuation: tokens(12) }).collect()
}

/// By the definition: one request, all logits, one softmax after the other.
fn by_definition(model: &dyn LanguageModel, request: &Request, window: usize) -> TokenLosses {
    let mut tokens = [&request.context[..], &request.continuation].concat();
    tokens.drain(..tokens.len().saturating_sub(window + 1));
    let fed = &tokens[..tokens.len() - 1];
    let logits = to_vec_f64(&model.forward(fed, &mut model.new_state(1).unwrap()).unwrap()).unwrap();
    let rows: Vec<&[f64]> = logits.chunks(logits.len() / fed.len()).collect();
    let mut answer = TokenLosses { losses: Vec::new(), greedy: true };
    for at in tokens.len() - request.continuation.len().min(fed.len())..tokens.len() {
        let (row, target) = (rows[at - 1], tokens[at] as usize);
        let sum: f64 = row.iter().map(|z| z.exp()).sum();
        answer.losses.push(sum.ln() - row[target]);
        answer.greedy &= row.iter().all(|z| *z <= row[target]);
    }
    answer
}

/// Whether both are the same but for rounding.
fn alike(a: &[TokenLosses], b: &[TokenLosses]) -> bool {
    let near = |a: &TokenLosses, b: &TokenLosses| {
        a.greedy == b.greedy
            && a.losses.len() == b.losses.len()
            && a.losses.iter().zip(&b.losses).all(|(x, y)| (x - y).abs() < 1e-4)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
}

/// Whether answers are what the definition says.
fn right(scorer: &dyn Scorer, model: &dyn LanguageModel, asked: &[Request]) -> bool {
    let expected: Vec<_> = asked.iter().map(|r| by_definition(model, r, 20)).collect();
    alike(&scorer.loglikelihood(asked, how(20)).unwrap(), &expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Neither the batch, nor the neighbours, nor what fills a batch up changes an answer.
    #[test]
    fn answers_do_not_depend_on_the_batch(seed in 0u64..1000, which in 0usize..4, batch in 1usize..9) {
        let model = random_model(&small()[which], seed);
        let asked = requests(seed, 11);
        let expected: Vec<_> = asked.iter().map(|r| by_definition(model.as_ref(), r, 20)).collect();
        let (mut others, mut turned) = (asked.clone(), expected.clone());
        others.rotate_left(3);
        turned.rotate_left(3);
        with_model(model.as_ref(), batch, |r| {
            prop_assert!(alike(&r.loglikelihood(&asked, how(20)).unwrap(), &expected));
            prop_assert!(alike(&r.loglikelihood(&others[..7], how(20)).unwrap(), &turned[..7]));
            Ok(())
        })?;
    }

    /// A carried state gives what one long pass gives, whatever the pieces.
    #[test]
    fn pieces_do_not_show(seed in 0u64..1000, which in 1usize..4, piece in 1usize..9) {
        let model = random_model(&small()[which], seed);
        let asked = requests(seed, 5);
        let expected: Vec<_> = asked.iter().map(|r| by_definition(model.as_ref(), r, 999)).collect();
        let carried = ScoringOptions { window: piece, carry: true, greedy: true };
        with_model(model.as_ref(), 3, |r| {
            prop_assert!(r.carries());
            prop_assert!(alike(&r.loglikelihood(&asked, carried).unwrap(), &expected));
            Ok(())
        })?;
    }
}

/// A scorer that asks another about something else.
struct Bent<'a, F> {
    scorer: &'a dyn Scorer,
    bend: F,
}

impl<F: Fn(&[Request]) -> Vec<Request>> Scorer for Bent<'_, F> {
    fn loglikelihood(&self, requests: &[Request], how: ScoringOptions) -> Answers {
        self.scorer.loglikelihood(&(self.bend)(requests), how)
    }
    fn carries(&self) -> bool {
        self.scorer.carries()
    }
}

#[test]
fn defects_in_reading_show() {
    let model = random_model(&small()[1], 7);
    let asked = requests(7, 6);
    with_model(model.as_ref(), 2, |sound| {
        assert!(right(sound, model.as_ref(), &asked));
        // The target is the token before the one that is meant.
        let off_by_one = |asked: &[Request]| -> Vec<Request> {
            let bent = asked.iter().map(|r| {
                let mut tokens = [&r.context[..], &r.continuation].concat();
                tokens.rotate_right(1);
                let continuation = tokens.split_off(r.context.len());
                Request { context: tokens, continuation }
            });
            bent.collect()
        };
        assert!(!right(&Bent { scorer: sound, bend: off_by_one }, model.as_ref(), &asked));
        // The state of one item goes on into the next.
        let not_reset = |asked: &[Request]| -> Vec<Request> {
            let mut read = Vec::new();
            let bent = asked.iter().map(|r| {
                read.extend(&r.context);
                Request { context: read.clone(), continuation: r.continuation.clone() }
            });
            bent.collect()
        };
        assert!(!right(&Bent { scorer: sound, bend: not_reset }, model.as_ref(), &asked));
        // The answer stands in the context.
        let leaking = |asked: &[Request]| -> Vec<Request> {
            let bent = asked.iter().map(|r| Request {
                context: [&r.continuation[..], &r.context].concat(),
                continuation: r.continuation.clone(),
            });
            bent.collect()
        };
        assert!(!right(&Bent { scorer: sound, bend: leaking }, model.as_ref(), &asked));
    });
}

// ---- made-up benchmarks

pub const VOCABULARY: usize = 400;

fn talk(seed: u64) -> Vec<String> {
    conversations(seed, Split::Train, Amount::Documents(30))
}

pub fn small_tokenizer() -> Tokenizer {
    Tokenizer::train(&talk(1), VOCABULARY).unwrap()
}

/// Files in a folder as the real ones would lie.
pub struct Files {
    folder: tempfile::TempDir,
}

/// Made-up words: no two items share one.
fn word(random: &mut Random) -> String {
    (0..7).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

impl Files {
    pub fn new(items: usize, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new(seed, 1);
        let mut words = |n: usize| (0..n).map(|_| word(&mut random)).collect::<Vec<_>>().join(" ");
        let mut others = Random::new(seed, 2);
        let mut said = |n: usize| (0..n).map(|_| word(&mut others)).collect::<Vec<_>>().join(" ");
        let mut pages = String::from(" \n");
        let (mut lines, mut passages, mut questions) = (String::new(), String::new(), String::new());
        let (mut dialogues, mut roles) = (String::new(), String::new());
        for i in 0..items {
            pages += &format!(" = {} = \n \n {} , {} . \n", words(1), words(30), words(8));
            lines += &format!(" {} \n", words(9));
            passages += &format!("{}\n", json!({"text": words(12)}));
            let endings: Vec<String> = (0..4).map(|_| words(3)).collect();
            let item = json!({"activity_label": words(1), "ctx_a": words(4), "ctx_b": words(1),
                              "endings": endings, "label": i % 4});
            questions += &format!("{item}\n");
            let turns: Vec<String> = (0..2 + i % 9).map(|_| format!("{} __eou__", said(4))).collect();
            dialogues += &format!("{}\n", turns.join(" "));
            roles += &format!("1 your persona: {}.\n", said(3));
            (0..1 + i % 4).for_each(|k| roles += &format!("{} {}\t{}\n", k + 2, said(4), said(4)));
        }
        let files = Self { folder };
        for (task, text) in [
            ("wikitext", pages),
            ("ptb", lines),
            ("lambada_openai", passages),
            ("hellaswag", questions),
            ("dailydialog", dialogues),
            ("personachat", roles),
        ] {
            let path = files.path(task);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        files
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, task: &str) -> PathBuf {
        self.folder.path().join(find_task(task).unwrap().file)
    }

    pub fn ask(&self, task: &str, scorer: &dyn Scorer, tokenizer: &Tokenizer) -> TaskResult {
        examine(task, scorer, tokenizer, &self.path(task), 64, None)
    }
}

pub fn examine(
    task: &str,
    scorer: &dyn Scorer,
    tokenizer: &Tokenizer,
    path: &Path,
    window: usize,
    limit: Option<usize>,
) -> TaskResult {
    let exam = EvalContext { scorer, tokenizer, window, limit, variants: true };
    (find_task(task).unwrap().examine)(&exam, &TextFile::read(path).unwrap()).unwrap()
}

pub fn figure(outcome: &TaskResult, name: &str) -> f64 {
    let figure = outcome.figures.iter().find(|f| f.name == name);
    figure.unwrap_or_else(|| panic!("no figure {name}")).value
}

/// Answers by a function of the request.
pub struct By<F>(pub F);

impl<F: Fn(&Request) -> (f64, bool)> Scorer for By<F> {
    fn loglikelihood(&self, requests: &[Request], _: ScoringOptions) -> Answers {
        let answer = |r: &Request| {
            let (loss, greedy) = (self.0)(r);
            TokenLosses { losses: vec![loss; r.continuation.len()], greedy }
        };
        Ok(requests.iter().map(answer).collect())
    }
    fn generate_until(&self, prompts: &[Vec<u32>], _: &Decoding) -> Result<Vec<Vec<u32>>, ProbeError> {
        Ok(vec![Vec::new(); prompts.len()])
    }
    fn carries(&self) -> bool {
        true
    }
}

/// What is asked in a task.
pub fn asked(files: &Files, task: &str, tokenizer: &Tokenizer) -> Vec<Request> {
    let seen = RefCell::new(Vec::new());
    let note = By(|r: &Request| {
        seen.borrow_mut().push(r.clone());
        (1.0, false)
    });
    files.ask(task, &note, tokenizer);
    seen.into_inner()
}

#[test]
fn a_uniform_guess_scores_what_arithmetic_says() {
    let (files, tokenizer) = (Files::new(40, 1), small_tokenizer());
    let nats = (VOCABULARY as f64).ln();
    let uniform = By(|_: &Request| (nats, false));
    for task in ["wikitext", "ptb"] {
        let outcome = files.ask(task, &uniform, &tokenizer);
        let names = outcome.figures.iter().map(|f| f.name).filter(|n| n.starts_with("token_perplexity"));
        for name in names {
            assert_relative_eq!(figure(&outcome, name), VOCABULARY as f64, max_relative = 1e-9);
        }
        let count = |of: &str| outcome.samples.iter().filter_map(|s| s[of].as_f64()).sum::<f64>();
        let per_word = nats * count("tokens") / count("words");
        assert_relative_eq!(figure(&outcome, "word_perplexity"), per_word.exp(), max_relative = 1e-9);
        assert_eq!((outcome.original, outcome.effective, outcome.truncated), (40, 40, 0));
    }
    // Equal scores: the first ending is taken, which is the true one in every fourth question.
    let equal = By(|r: &Request| (1.0 / r.continuation.len() as f64, false));
    assert_eq!(figure(&files.ask("hellaswag", &equal, &tokenizer), "acc"), 0.25);
}

#[test]
fn an_oracle_is_perfect_and_shuffled_labels_are_chance() {
    let (files, tokenizer) = (Files::new(400, 2), small_tokenizer());
    let known = By(|_: &Request| (0.0, true));
    for (task, name) in
        [("wikitext", "word_perplexity"), ("ptb", "word_perplexity"), ("lambada_openai", "perplexity")]
    {
        assert_eq!(figure(&files.ask(task, &known, &tokenizer), name), 1.0, "{task}");
    }
    assert_eq!(figure(&files.ask("lambada_openai", &known, &tokenizer), "acc"), 1.0);

    let questions = hellaswag(&TextFile::read(&files.path("hellaswag")).unwrap()).unwrap();
    let truth = |q: &Question| {
        let ending = format!(" {}", q.endings[q.truth]);
        Request::pair(&tokenizer, (&q.query, &ending), 64, String::new).unwrap().continuation
    };
    let truths: HashSet<Vec<u32>> = questions.iter().map(truth).collect();
    let oracle = By(|r: &Request| (if truths.contains(&r.continuation) { 0.1 } else { 9.0 }, false));
    let outcome = files.ask("hellaswag", &oracle, &tokenizer);
    assert_eq!((figure(&outcome, "acc"), figure(&outcome, "acc_norm")), (1.0, 1.0));
    assert!(figure(&outcome, "margin_per_byte") > 0.0);

    // The same oracle, and labels drawn anew: 400 questions leave a standard deviation of 0.022.
    let mut random = Random::new(3, 0);
    let text = fs::read_to_string(files.path("hellaswag")).unwrap();
    let shuffled = text.lines().map(|line| {
        let mut item: Value = serde_json::from_str(line).unwrap();
        item["label"] = random.below(4).into();
        format!("{item}\n")
    });
    fs::write(files.path("hellaswag"), shuffled.collect::<String>()).unwrap();
    let outcome = files.ask("hellaswag", &oracle, &tokenizer);
    for name in ["acc", "acc_norm"] {
        assert!((figure(&outcome, name) - 0.25).abs() < 0.09, "{}", figure(&outcome, name));
    }
    assert!(figure(&outcome, "margin_per_byte").abs() < 0.5);
}

#[test]
fn an_untrained_model_guesses() {
    let (files, tokenizer) = (Files::new(120, 4), small_tokenizer());
    for config in small() {
        let mut config = serde_json::to_value(config).unwrap();
        config["vocab_size"] = VOCABULARY.into();
        if config.get("n_positions").is_some() {
            config["n_positions"] = 64.into();
        }
        let config: Config = serde_json::from_value(config).unwrap();
        let model = config.init(1).unwrap();
        with_model(model.as_ref(), 8, |scorer| {
            let of = |task: &str, name: &str| figure(&files.ask(task, scorer, &tokenizer), name);
            for task in ["wikitext", "ptb"] {
                let nats = of(task, "token_perplexity").ln();
                assert!((nats - (VOCABULARY as f64).ln()).abs() < 0.35, "{} {task}: {nats}", config.name());
            }
            assert!(of("lambada_openai", "acc") < 0.05);
            for name in ["acc", "acc_norm"] {
                // Four standard deviations.
                assert!((of("hellaswag", name) - 0.25).abs() < 0.16, "{}", config.name());
            }
        });
    }
}

#[test]
fn only_a_recurrent_model_carries_its_state() {
    let (files, tokenizer) = (Files::new(3, 5), small_tokenizer());
    let by = |carries| {
        struct Still(bool);
        impl Scorer for Still {
            fn loglikelihood(&self, requests: &[Request], _: ScoringOptions) -> Answers {
                let all = requests
                    .iter()
                    .map(|r| TokenLosses { losses: vec![1.0; r.continuation.len()], greedy: false });
                Ok(all.collect())
            }
            fn carries(&self) -> bool {
                self.0
            }
        }
        let outcome = files.ask("wikitext", &Still(carries), &tokenizer);
        outcome.figures.iter().filter(|f| f.name.ends_with("_recurrent")).count()
    };
    assert_eq!((by(true), by(false)), (4, 0));
}

/// Requests whose context already has the answer. Made-up words are said once.
pub fn given_away(asked: &[Request]) -> usize {
    let within = |r: &&Request| r.context.windows(r.continuation.len()).any(|part| part == r.continuation);
    asked.iter().filter(within).count()
}

#[test]
fn no_answer_stands_in_its_context() {
    let (files, tokenizer) = (Files::new(50, 6), small_tokenizer());
    for task in ["lambada_openai", "hellaswag"] {
        let asked = asked(&files, task, &tokenizer);
        assert_eq!(given_away(&asked), 0, "{task}");
        // Whoever leaves the last word in the context is seen.
        let leaking: Vec<_> = asked
            .iter()
            .map(|r| Request {
                context: [&r.context[..], &r.continuation].concat(),
                continuation: r.continuation.clone(),
            })
            .collect();
        assert_eq!(given_away(&leaking), asked.len(), "{task}");
    }
    let passages = lambada(&TextFile::read(&files.path("lambada_openai")).unwrap()).unwrap();
    for (request, passage) in asked(&files, "lambada_openai", &tokenizer).iter().zip(passages) {
        assert_eq!(tokenizer.decode(&request.context).unwrap(), passage.context);
        assert_eq!(tokenizer.decode(&request.continuation).unwrap(), passage.target);
    }
}

#[test]
fn what_is_cut_off_is_counted() {
    let (files, tokenizer) = (Files::new(30, 8), small_tokenizer());
    let model = Config::Gpt2(Gpt2Config {
        vocab_size: VOCABULARY,
        n_positions: 24,
        n_embd: 8,
        n_layer: 1,
        n_head: 1,
        n_inner: None,
        layer_norm_epsilon: 1e-5,
        activation_function: None,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
    });
    let model = model.init(1).unwrap();
    for task in ["lambada_openai", "hellaswag"] {
        let long = asked(&files, task, &tokenizer);
        let long = long.iter().filter(|r| r.context.len() + r.continuation.len() > 25).count();
        let outcome = with_model(model.as_ref(), 4, |scorer| {
            examine(task, scorer, &tokenizer, &files.path(task), 24, None)
        });
        assert_eq!(outcome.truncated, long);
        assert!(long > 0, "{task}");
    }
}

#[test]
fn text_seen_in_training_is_told() {
    let (files, tokenizer) = (Files::new(20, 9), small_tokenizer());
    let known = By(|_: &Request| (1.0, false));
    for task in TASKS {
        let texts = files.ask(task.id, &known, &tokenizer).texts;
        let share = |name: &str, documents: Vec<Vec<u32>>| {
            let path = files.folder.path().join(format!("{}-{name}", task.id));
            overlap(&TokenFile::from_ids(&path, name, &tokenizer, documents).unwrap(), &texts)
        };
        let others = talk(3).iter().map(|text| tokenizer.encode(text).unwrap()).collect();
        assert_eq!(share("clean", others), Some(0.0), "{}", task.id);
        assert_eq!(share("leaked", texts.clone()), Some(1.0), "{}", task.id);
        let half: Vec<u32> = texts[0][..texts[0].len() / 2].to_vec();
        let some = share("half", vec![half]).unwrap();
        assert!(some > 0.0 && some < 1.0, "{}: {some}", task.id);
    }
}

// ---- in a protocol

/// What a trained model's probes answer: metric and what it was measured on.
fn answers_in(protocol: &Protocol, data: &Path, out: &Path) -> Vec<(Metric, f64, Option<u64>, String)> {
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let options = Options {
        out,
        data: Some(data),
        jobs: None,
        compute: v5gate::device::current(),
        screen: &screen,
        stop: &stop,
    };
    let collector = Collector::open(protocol, &options).unwrap();
    let (spec, scale) = (v5gate::models::find("gpt2").unwrap(), v5gate::scale::find("smoke").unwrap());
    let trained = collector.train(Trial { spec, scale, seed: 1 }).unwrap();
    let (model, untrained) = (trained.model().unwrap(), trained.untrained().unwrap());
    let subject = collector.subject(&trained, model.as_ref(), untrained.as_ref());
    let probes = PROBES.iter().filter(|probe| find_task(probe.id).is_some());
    let lines = probes.flat_map(|probe| {
        let lines = question(probe, &subject, "gpt2", &trained.source).unwrap().lines;
        let metrics: Vec<_> = measurements(&lines).map(|m| m.metric()).collect();
        let able = probe.is_available(&subject.data);
        assert_eq!(metrics, if able { probe.metrics.to_vec() } else { Vec::new() }, "{}", probe.id);
        lines
    });
    let lines: Vec<Line> = lines.collect();
    let told = |m: &Measurement| {
        assert!(m.interval().is_some() || m.metric().id().ends_with("_overlap"), "{:?}", m.metric());
        (m.metric(), m.value().raw(), m.n(), m.provenance().validation.clone())
    };
    measurements(&lines).map(told).collect()
}

fn measurements(lines: &[Line]) -> impl Iterator<Item = &Measurement> {
    lines.iter().filter_map(|line| if let Line::Measurement(m) = line { Some(m) } else { None })
}

#[test]
fn a_protocol_asks_the_benchmarks_whose_files_are_there() {
    let (files, out) = (Files::new(12, 10), tempfile::tempdir().unwrap());
    let text = crate::program::protocol(2, 2);
    let with = |items: &str| {
        let protocol = Protocol::parse("mini", &format!("{items}\n{text}")).unwrap();
        answers_in(&protocol, files.folder.path(), out.path())
    };
    let all = with("");
    assert_eq!(
        all.len(),
        PROBES.iter().filter(|p| find_task(p.id).is_some()).flat_map(|p| p.metrics).count()
    );
    let counted =
        |found: &[(Metric, f64, Option<u64>, String)]| found.iter().all(|f| f.2.is_none_or(|n| n == 12));
    assert!(counted(&all), "{all:?}");
    // Fewer items are another measurement, and say so.
    let few = with("benchmark_items = 5");
    let of = |found: &[(Metric, f64, Option<u64>, String)]| {
        found.iter().find(|f| f.0 == Metric::LambadaLoss).cloned().unwrap()
    };
    assert_eq!(of(&few).2, Some(5));
    assert_ne!(of(&few).3, of(&all).3);
    assert_eq!(with("benchmark_items = 5"), few);
    assert_eq!(with("benchmark_items = 0"), []);
    fs::remove_file(files.path("ptb")).unwrap();
    let rest = with("");
    assert!(rest.len() < all.len() && rest.iter().all(|f| f.0 != Metric::PtbLoss));
}

// ---- answers that are kept

/// Counts how often it is asked.
struct Counting<'a> {
    scorer: &'a dyn Scorer,
    times: Cell<usize>,
}

impl Scorer for Counting<'_> {
    fn loglikelihood(&self, requests: &[Request], how: ScoringOptions) -> Answers {
        self.times.set(self.times.get() + 1);
        self.scorer.loglikelihood(requests, how)
    }
    fn carries(&self) -> bool {
        false
    }
}

#[test]
fn kept_answers_are_those_of_the_same_question() {
    let folder = tempfile::tempdir().unwrap();
    let loss = Cell::new(0.1 + 0.2);
    let by = By(|r: &Request| (loss.get(), r.context.len() > 3));
    let counting = Counting { scorer: &by, times: Cell::new(0) };
    let asked = requests(1, 5);
    let ask = |weights: &str, asked: &[Request], how: ScoringOptions| {
        let identity = json!({"weights": weights});
        CachedScorer { scorer: &counting, folder: folder.path(), identity }.loglikelihood(asked, how).unwrap()
    };
    let first = ask("a", &asked, how(9));
    loss.set(f64::NAN);
    assert_eq!((ask("a", &asked, how(9)), counting.times.get()), (first.clone(), 1));
    // Other weights, another window, another way, other requests: each is asked anew.
    assert!(ask("b", &asked, how(9))[0].losses[0].is_nan());
    ask("a", &asked, how(8));
    ask("a", &asked, ScoringOptions { greedy: false, ..how(9) });
    ask("a", &asked[1..], how(9));
    let mut moved = asked.clone();
    let token = moved[0].context.pop().unwrap();
    moved[0].continuation.insert(0, token);
    ask("a", &moved, how(9));
    assert_eq!(counting.times.get(), 6);
    // What is not a number is kept as well.
    assert!(ask("b", &asked, how(9))[0].losses[0].is_nan());
    assert_eq!(counting.times.get(), 6);
}

#[test]
fn a_damaged_answer_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let by = By(|_: &Request| (0.25, true));
    let counting = Counting { scorer: &by, times: Cell::new(0) };
    let asked = requests(1, 2);
    let ask = |weights: &str| {
        let identity = json!({"weights": weights});
        CachedScorer { scorer: &counting, folder: folder.path(), identity }
            .loglikelihood(&asked, how(9))
            .unwrap()
    };
    let good = ask("a");
    let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&path).unwrap();
    for (i, bad) in [
        text.replacen("0.25", "0.5", 1),
        text.replacen("true", "false", 1),
        text[..text.len() / 2].to_owned(),
        // Somebody else's answers under this name.
        text.replacen("\"weights\":\"a\"", "\"weights\":\"b\"", 1),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(*bad, text);
        fs::write(&path, bad).unwrap();
        assert_eq!((ask("a"), counting.times.get()), (good.clone(), i + 2));
    }
}

// ---- the harness

/// SplitMix64 of a counter, its upper 24 bits as a number in [-1, 1): the same in `harness.py`.
fn hashed(counter: u64) -> f32 {
    let mut z = (counter + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f32 / 8_388_608.0 - 1.0
}

/// Middle and half width of a parameter's values.
fn spread(name: &str) -> (f32, f32) {
    match name {
        "wte.weight" => (0.0, 0.5),
        "wpe.weight" => (0.0, 0.125),
        _ if name.ends_with(".bias") => (0.0, 0.125),
        _ if name.contains("ln_") => (1.0, 0.25),
        _ if name.ends_with("c_proj.weight") => (0.0, 0.03125),
        _ => (0.0, 0.25),
    }
}

/// The harness's GPT-2 with that window, and the digest of its weights.
fn made_up_gpt2(n_positions: usize) -> (Box<dyn LanguageModel>, String) {
    let config = Config::Gpt2(Gpt2Config {
        vocab_size: 50257,
        n_positions,
        n_embd: 64,
        n_layer: 2,
        n_head: 4,
        n_inner: None,
        layer_norm_epsilon: 1e-5,
        activation_function: None,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
    });
    let declared = config.declare();
    let mut values: Vec<f32> = Vec::new();
    for parameter in &declared {
        let (middle, half) = spread(&parameter.name);
        let n: usize = parameter.shape.iter().product();
        let first = values.len() as u64;
        values.extend((0..n as u64).map(|i| middle + half * hashed(first + i)));
    }
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let n = values.len();
    let flat = Tensor::from_vec(values, n, &Device::Cpu).unwrap();
    (config.build(Params::over(&declared, flat).unwrap()), sha256(&bytes))
}

/// The public files and the harness's numbers; nothing where the files are not at hand.
fn harness() -> Option<(PathBuf, Value)> {
    let Some(data) = std::env::var_os("V5_DATA").map(PathBuf::from) else {
        eprintln!("skipped: V5_DATA names no folder with the benchmarks' files");
        return None;
    };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/harness.json");
    Some((data, serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap()))
}

#[test]
fn every_text_is_the_harness_s() {
    let Some((data, golden)) = harness() else { return };
    let file = |task: &str| TextFile::read(&data.join(find_task(task).unwrap().file)).unwrap();
    let texts = &golden["texts"];
    let found = pages(&file("wikitext")).unwrap();
    let sum = |of: fn(&WikiPage) -> usize| found.iter().map(of).sum::<usize>();
    let digest = digest_of_texts(&found.iter().map(|page| &page.text).collect::<Vec<_>>());
    assert_eq!(
        json!({"n": found.len(), "sha256": digest, "words": sum(|p| p.words), "bytes": sum(|p| p.bytes)}),
        texts["wikitext"]
    );
    let found = lambada(&file("lambada_openai")).unwrap();
    let digest = digest_of_texts(&found.iter().flat_map(|p| [&p.context, &p.target]).collect::<Vec<_>>());
    assert_eq!(json!({"n": found.len(), "sha256": digest}), texts["lambada_openai"]);
    let found = hellaswag(&file("hellaswag")).unwrap();
    let all: Vec<&String> = found.iter().flat_map(|q| std::iter::once(&q.query).chain(&q.endings)).collect();
    let labels: usize = found.iter().map(|q| q.truth).sum();
    assert_eq!(
        json!({"n": found.len(), "labels": labels, "sha256": digest_of_texts(&all)}),
        texts["hellaswag"]
    );
}

#[test]
fn every_number_is_the_harness_s() {
    let Some((data, golden)) = harness() else { return };
    let tokenizer = Tokenizer::from_dir(&data.join("gpt2_tokenizer")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for checkpoint in golden["checkpoints"].as_array().unwrap() {
        let window = checkpoint["n_positions"].as_u64().unwrap() as usize;
        let (model, weights) = made_up_gpt2(window);
        assert_eq!(checkpoint["weights"], weights, "the made-up weights");
        for (label, expected) in checkpoint["tasks"].as_object().unwrap() {
            let task = if label == "lambada_twice" { "lambada_openai" } else { label };
            let mut path = data.join(find_task(task).unwrap().file);
            if label == "lambada_twice" {
                path = twice(&path, folder.path());
            }
            let limit = golden["limits"][label].as_u64().unwrap() as usize;
            let outcome = with_model(model.as_ref(), 8, |scorer| {
                examine(task, scorer, &tokenizer, &path, window, Some(limit))
            });
            assert_eq!(expected["n"], outcome.effective);
            for (name, reference) in expected["results"].as_object().unwrap() {
                let (got, reference) = (figure(&outcome, name), reference.as_f64().unwrap());
                match name.starts_with("acc") {
                    true => assert_eq!(got, reference, "{window} {label} {name}"),
                    false => assert_relative_eq!(got, reference, max_relative = 1e-3),
                }
            }
            for (sample, reference) in
                outcome.samples.iter().zip(expected["log_likelihoods"].as_array().unwrap())
            {
                assert_item(sample, reference);
            }
        }
    }
}

fn assert_item(sample: &Value, reference: &Value) {
    let got: Vec<f64> = match (&sample["log_likelihood"], &sample["resps"][0][0], &sample["resps"]) {
        (Value::Number(x), ..) | (_, Value::Number(x), _) => vec![x.as_f64().unwrap()],
        (_, _, Value::Array(all)) => all.iter().map(|x| x.as_f64().unwrap()).collect(),
        _ => panic!("{sample}"),
    };
    let reference: Vec<f64> = reference.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(got.len(), reference.len());
    for (got, reference) in got.iter().zip(&reference) {
        assert_relative_eq!(got, reference, max_relative = 1e-4, epsilon = 1e-4);
    }
}

/// Passages whose last word is said twice: a model that echoes gets some of them right.
fn twice(path: &Path, folder: &Path) -> PathBuf {
    let all = lambada(&TextFile::read(path).unwrap()).unwrap();
    let item =
        |p: &Passage| format!("{}\n", json!({"text": format!("{}{}{}", p.context, p.target, p.target)}));
    let file = folder.join("twice.jsonl");
    fs::write(&file, all.iter().map(item).collect::<String>()).unwrap();
    file
}
