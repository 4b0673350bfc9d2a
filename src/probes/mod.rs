//! Questions put to a trained model. A probe declares the metrics it answers with and knows no
//! threshold: what an answer is worth is decided elsewhere.
//!
//! To add a probe: a file, and a row in [`PROBES`] (`table.rs`).

mod asking;
mod benchmarks;
mod carrying;
mod causality;
mod contrast;
pub mod efficiency;
mod eval_data;
mod forward;
mod language_modeling;
pub mod long_context;
mod observed;
mod optimizer;
mod overfit;
mod overlap;
mod probe;
mod resume;
mod scoring;
mod size;
mod statefulness;
mod table;
mod training;
mod witness;

pub use benchmarks::dialogue::{one_turn, prompt};
pub use benchmarks::task::{EvalContext, NOT_FINITE, Task, TaskMetric, TaskResult, overlap};
pub use benchmarks::tasks::{TASKS, find_task};
pub use contrast::Contrast;
pub use eval_data::{EvalData, Grid, LongTexts};
pub use language_modeling::window_losses;
pub use long_context::{long_context_readings, losses_by_token};
pub use overfit::overfit_needs;
pub use probe::{Probe, ProbeData, ProbeError, Reading, TrainedModel};
pub use scoring::bleu::{BLEU_SIGNATURE, BleuCounts, distinct, tokens_13a};
pub use scoring::cache::CachedScorer;
pub use scoring::decoding::turn_ends;
pub use scoring::likelihood::{
    Decoding, Nucleus, Request, Scorer, ScoringOptions, TokenLosses, whole, windows,
};
pub use scoring::model::ModelScorer;
pub use scoring::ngram::{bigram_loss, unigram_loss};
pub use statefulness::canaries::canaries_over;
pub use statefulness::readers::{Scores, copy_oracle, uniform};
pub use statefulness::recall::{ItemsOf, recall_over};
pub use table::{OTHER_PRODUCERS, PROBES, Producer, UNMEASURED, data_digests, produced_by, producer_of};
