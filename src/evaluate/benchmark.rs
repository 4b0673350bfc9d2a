//! One benchmark, one checkpoint: no ledger, but a document in the layout of the EleutherAI harness.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value as Json, json};

use super::checkpoint::Checkpoint;
use crate::collect::CollectError;
use crate::data::cache::TokenFile;
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::BenchmarkError;
use crate::data::published::catalogue::recognise;
use crate::data::tokenizer::Tokenizer;
use crate::device::Compute;
use crate::evidence::Value;
use crate::models::LanguageModel;
use crate::probes::{
    CachedScorer, EvalContext, ModelScorer, NOT_FINITE, Task, TaskMetric, TaskResult, overlap,
};
use crate::progress::Screen;

/// What to ask whom.
pub struct Evaluation<'a> {
    /// The checkpoint's folder, with its tokenizer.
    pub checkpoint: &'a Path,
    /// The benchmark.
    pub task: &'a Task,
    /// Its file, or the data folder.
    pub data: &'a Path,
    /// Most items.
    pub limit: Option<usize>,
    /// Positions that are seen at a time; the model's own where absent.
    pub window: Option<usize>,
    /// Requests in a forward pass; changes numbers no more than the order of float32's sums does.
    pub batch: usize,
    /// Where answers are kept.
    pub cache: Option<&'a Path>,
    /// A token file that was trained on.
    pub training: Option<&'a Path>,
    /// What computes.
    pub compute: &'a Compute,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// What came of it.
pub struct Evaluated {
    /// Results and settings.
    pub document: Json,
    /// One object per item.
    pub samples: Vec<Json>,
    /// The numbers.
    pub figures: Vec<TaskMetric>,
    /// The share of n-grams that training text contains, where one was given.
    pub overlap: Option<f64>,
    /// Items that lost their left end.
    pub truncated: usize,
    /// What was decided that the numbers depend on, by name.
    pub notes: Vec<(&'static str, String)>,
}

impl Evaluation<'_> {
    /// Scores every item and gives results, settings and items.
    pub fn run(&self) -> Result<Evaluated, CollectError> {
        let checkpoint = Checkpoint::load(self.checkpoint, self.compute, self.task.id)?;
        let window = checkpoint.window(self.window)?;
        let Checkpoint { model, tokenizer, .. } = &checkpoint;
        let failed = checkpoint.failed(self.task.id);
        let training = self.training.map(|path| training(path, tokenizer)).transpose()?;
        let path = self.task.file_at(self.data);
        let file = TextFile::read(&path).map_err(|error| failed(BenchmarkError::from(error).into()))?;
        let asked =
            ModelScorer { model: model.as_ref(), batch: self.batch, screen: self.screen, stop: self.stop };
        let mut identity = checkpoint.identity(self.compute)?;
        identity["task"] = self.task.id.into();
        identity["version"] = self.task.version.into();
        identity["data"] = file.sha256.clone().into();
        let kept =
            self.cache.map(|folder| CachedScorer { scorer: &asked, folder, identity: identity.clone() });
        let exam = EvalContext {
            scorer: kept.as_ref().map_or(&asked, |kept| kept),
            tokenizer,
            window,
            limit: self.limit,
            variants: true,
        };
        let mut outcome = (self.task.examine)(&exam, &file).map_err(&failed)?;
        outcome.notes.push(("data", origin(&file)));
        for (_, note) in outcome.notes.iter().filter(|(name, _)| *name == NOT_FINITE) {
            self.screen.say(&format!("{}: {note}", self.checkpoint.display()));
        }
        let overlap = training.and_then(|file| overlap(&file, &outcome.texts));
        let document = self.document(model.as_ref(), window, &identity, &outcome, overlap);
        let TaskResult { samples, figures, truncated, notes, .. } = outcome;
        Ok(Evaluated { document, samples, figures, overlap, truncated, notes })
    }

    fn document(
        &self,
        model: &dyn LanguageModel,
        window: usize,
        identity: &Json,
        outcome: &TaskResult,
        overlap: Option<f64>,
    ) -> Json {
        let id = self.task.id;
        let number = |x: f64| json!(Value::from(x));
        let (mut results, mut higher) = (Map::new(), Map::new());
        results.insert("alias".to_owned(), id.into());
        for figure in &outcome.figures {
            let name = figure.name;
            results.insert(format!("{name},none"), number(figure.value));
            let error = figure.standard_error.map_or("N/A".into(), number);
            results.insert(format!("{name}_stderr,none"), error);
            let interval = figure.interval.map(|ends| ends.map(number));
            results.insert(format!("{name}_interval,none"), json!(interval));
            higher.insert(name.to_owned(), figure.higher_is_better.into());
        }
        if let Some(share) = overlap {
            results.insert("overlap,none".to_owned(), number(share));
        }
        let limit = self.limit;
        let notes: Map<_, _> = outcome.notes.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        json!({
            "results": {id: results},
            "versions": {id: self.task.version},
            "n-shot": {id: 0},
            "higher_is_better": {id: higher},
            "n-samples": {id: {"original": outcome.original, "effective": outcome.effective}},
            "truncated": {id: outcome.truncated},
            "configs": {id: notes},
            "config": {
                "model": model.config().name(),
                "model_args": self.checkpoint.display().to_string(),
                "model_num_parameters": model.model_stats().total,
                "max_length": window,
                "batch_size": self.batch,
                "limit": limit,
                "identity": identity,
            },
        })
    }
}

/// What is known of a benchmark's file.
fn origin(file: &TextFile) -> String {
    match recognise(&file.sha256) {
        Some((set, published)) => format!("{}: {}", published.path, set.about),
        None => format!("not a published file that is known here, SHA-256 {}", file.sha256),
    }
}

/// A token file of this tokenizer.
fn training(path: &Path, tokenizer: &Tokenizer) -> Result<TokenFile, CollectError> {
    let file = TokenFile::open(path)?;
    if file.header().tokenizer == tokenizer.digest() {
        return Ok(file);
    }
    let what = "expected tokens of the checkpoint's tokenizer, got another's".to_owned();
    Err(CollectError::Unfit { path: path.to_owned(), what })
}
