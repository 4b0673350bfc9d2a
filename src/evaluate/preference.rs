//! Pairs of replies for people to compare: two checkpoints, the same dialogues, sides drawn.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::checkpoint::Checkpoint;
use crate::collect::{CollectError, sides, to_measurement};
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::BenchmarkError;
use crate::data::published::dialogues::{Dialogue, dialogues};
use crate::device::Compute;
use crate::evidence::{
    Compared, Condition, Key, Ledger, Line, Measurement, Metric, Pair, Provenance, Subject, Tally,
};
use crate::files::sha256;
use crate::models::MODELS;
use crate::probes::{Decoding, ModelScorer, Nucleus, ProbeError, Reading, Scorer, Task, one_turn, prompt};
use crate::progress::Screen;
use crate::random::Random;

/// A stream of chance; that of the sides is another.
const DIALOGUES: u64 = 0;

/// What to compare on what.
pub struct ReplyComparison<'a> {
    /// A checkpoint's folder, with its tokenizer.
    pub a: &'a Path,
    /// Another's.
    pub b: &'a Path,
    /// A benchmark of dialogue.
    pub task: &'a Task,
    /// Its file, or the data folder.
    pub data: &'a Path,
    /// The number of pairs, each of another dialogue.
    pub pairs: usize,
    /// Draws dialogues, sides and replies.
    pub seed: u64,
    /// The nucleus of the replies; 0 is greedy.
    pub top_p: f64,
    /// What computes.
    pub compute: &'a Compute,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

impl ReplyComparison<'_> {
    /// Generates, and gives what raters see and what opens the blinding.
    pub fn run(&self) -> Result<(Vec<Pair>, Key), CollectError> {
        let path = self.task.file_at(self.data);
        let unfit = |what: String| CollectError::Unfit { path: path.clone(), what };
        let file = TextFile::read(&path).map_err(|e| self.failed(&path, BenchmarkError::from(e).into()))?;
        let all = dialogues(self.task.id, &file)
            .ok_or_else(|| unfit(format!("expected a task of dialogue, got {}", self.task.id)))?
            .map_err(|error| self.failed(&path, error.into()))?;
        if self.pairs == 0 || self.pairs > all.len() {
            return Err(unfit(format!("expected 1 to {} pairs, got {}", all.len(), self.pairs)));
        }
        let mut random = Random::new(self.seed, DIALOGUES);
        let mut order: Vec<usize> = (0..all.len()).collect();
        random.shuffle(&mut order);
        let asked: Vec<(&Dialogue, usize)> =
            order.iter().take(self.pairs).map(|&i| (&all[i], *random.pick(&all[i].replies))).collect();
        // A reply that may be longer tells whose it is.
        let [a, b] = [self.a, self.b].map(|path| Checkpoint::load(path, self.compute, self.task.id));
        let (a, b) = (a?, b?);
        let shorter = a.own_window().min(b.own_window());
        let (replies_a, a) = self.replies(&a, &asked, shorter)?;
        let (replies_b, b) = self.replies(&b, &asked, shorter)?;
        let a_is_left = sides(self.seed, [&a, &b], asked.len());
        let mut pairs = Vec::new();
        for ((((dialogue, place), a), b), first) in asked.iter().zip(replies_a).zip(replies_b).zip(&a_is_left)
        {
            let (left, right) = if *first { (a, b) } else { (b, a) };
            let (opening, turns) = (dialogue.opening.clone(), dialogue.turns[..*place].to_vec());
            pairs.push(Pair { opening, turns, left, right });
        }
        // Texts alone: serialising them cannot fail.
        let page = sha256(serde_json::to_string(&pairs).unwrap_or_default().as_bytes());
        let (task, data) = (self.task.id.to_owned(), file.sha256);
        let device = self.compute.name().to_owned();
        let (seed, top_p, file) = (self.seed, self.top_p, String::new());
        let key = Key { page, file, task, data, seed, top_p, device, a, b, a_is_left };
        Ok((pairs, key))
    }

    fn failed(&self, subject: &Path, error: ProbeError) -> CollectError {
        let subject = subject.display().to_string();
        CollectError::Probe { probe: self.task.id, subject, error: Box::new(error) }
    }

    /// What a checkpoint replies.
    fn replies(
        &self,
        checkpoint: &Checkpoint,
        asked: &[(&Dialogue, usize)],
        shorter: usize,
    ) -> Result<(Vec<String>, Compared), CollectError> {
        let Checkpoint { path, model, tokenizer } = checkpoint;
        let failed = checkpoint.failed(self.task.id);
        let nucleus = Nucleus { p: self.top_p, temperature: 1.0, seed: self.seed };
        let short = one_turn(tokenizer, shorter, Some(nucleus)).map_err(&failed)?;
        let how = Decoding { window: checkpoint.own_window(), ..short };
        let prompts = asked.iter().map(|(dialogue, place)| prompt(tokenizer, dialogue, *place));
        let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>().map_err(&failed)?;
        let asked = ModelScorer { model: model.as_ref(), batch: 1, screen: self.screen, stop: self.stop };
        let replies = asked.generate_until(&prompts, &how).map_err(&failed)?;
        let text = |tokens: &Vec<u32>| tokenizer.decode(tokens).map(|text| text.trim().to_owned());
        let texts: Vec<String> =
            replies.iter().map(text).collect::<Result<_, _>>().map_err(|e| failed(e.into()))?;
        let compared = Compared {
            checkpoint: path.display().to_string(),
            model: model.config().name().to_owned(),
            weights: model.params().digest()?,
            tokenizer: tokenizer.digest().to_owned(),
        };
        Ok((texts, compared))
    }
}

/// What raters prefer as evidence about the model that was compared with the baseline. Both checkpoints must
/// be trained ones of this ledger, of one scale and trial: its evidence says where they came from. Seed, nucleus and
/// device of the page are not for anybody to choose ([`Key::unlike_evidence`]).
pub fn human_preference(ledger: &Ledger, key: &Key, tally: &Tally) -> Result<Line, CollectError> {
    let unfit = |what: String| CollectError::Unfit { path: ledger.path().to_owned(), what };
    let known = |compared: &Compared| {
        let of = |m: &&Measurement| {
            let (subject, source) = (m.subject(), m.provenance());
            let same = subject.model == compared.model && source.weights == compared.weights;
            same && source.tokenizer == compared.tokenizer && subject.condition == Condition::Trained
        };
        let what = || {
            unfit(format!(
                "expected evidence about {}'s weights and tokenizer, got none",
                compared.checkpoint
            ))
        };
        ledger.measurements().filter(of).last().ok_or_else(what)
    };
    let (a, b) = (known(&key.a)?, known(&key.b)?);
    let baseline = |m: &Measurement| m.subject().model == MODELS[0].name;
    let trial = |m: &Measurement| (m.subject().scale.clone(), m.subject().seed);
    if baseline(a) == baseline(b) || trial(a) != trial(b) {
        let name = |m: &Measurement| {
            format!("{} {} seed {}", m.subject().model, m.subject().scale, m.subject().seed)
        };
        let expected = format!("expected {} and another model of its scale and trial", MODELS[0].name);
        return Err(unfit(format!("{expected}, got {} and {}", name(a), name(b))));
    }
    let about = if baseline(a) { b } else { a };
    if let Some(problem) = key.unlike_evidence(&about.provenance().device) {
        return Err(unfit(problem));
    }
    let (value, interval) = tally.preferred(!baseline(a));
    let earlier = |m: &Measurement| {
        let same = |f: fn(&Provenance) -> &String| f(m.provenance()) == f(about.provenance());
        m.metric() == Metric::HumanPreference
            && m.subject() == about.subject()
            && same(|p| &p.weights)
            && same(|p| &p.revision)
    };
    if ledger.measurements().any(earlier) {
        let (model, seed) = (&about.subject().model, about.subject().seed);
        return Err(unfit(format!(
            "expected no preference about {model} seed {seed} yet, got one: import all ratings of a page at once, into a ledger without them"
        )));
    }
    let ratings = tally.raters.values().sum::<usize>() as u64;
    let reading = Reading { n: Some(ratings), interval, ..Reading::new(Metric::HumanPreference, value) };
    let source =
        Provenance { probe: "human".to_owned(), validation: key.page.clone(), ..about.provenance().clone() };
    Ok(to_measurement(Subject { condition: Condition::Trained, ..about.subject().clone() }, reading, source))
}
