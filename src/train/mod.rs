//! From parameters and batches to a trained model: recipe, schedule, optimizer, the loop, and
//! checkpoints that resume bit for bit.

mod checkpoint;
mod observed;
mod optimizer;
mod pickle;
mod projections;
mod published;
mod recipe;
mod run;
mod run_dir;
mod stretch;
mod tensor_files;
mod torch_file;
mod trainer;

pub use crate::device::Precision;
pub use checkpoint::{CheckpointError, save_model};
pub(crate) use observed::chain;
pub use observed::{Applied, Observed};
pub use optimizer::{AdamW, Norms};
pub use published::load_model;
pub use recipe::{Optimizer, Recipe, RecipeError, Schedule};
pub use run::{Ending, Run, StepRecord};
pub use run_dir::{RunDir, audited, before_last_tenth};
pub use stretch::{Stretch, kept_state, steps_again};
pub use trainer::Part;
pub use trainer::{TrainError, TrainJob, Trainer};

/// The rule that ends every training: there is no early stopping.
pub const STOPPING: &str = "after the last step";
