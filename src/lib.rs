//! The V5 gate: is an architecture as good as GPT-2 on perplexity, significantly better on
//! statefulness, better on long context?
//!
//! The code is an hourglass. Read it in this order; a module names only modules before it in its own
//! list, the waist, and, above the waist, those that stand aside (`tests/it/tidy.rs` checks it).
//!
//! Above the waist, code that knows tensors:
//!
//! 1. [`data`]: text, tokenizers, batches in an order that is drawn once; generated conversations and published sets.
//! 2. [`launch`]: host code that starts the kernels of `kernels/*.cu`, on a GPU or in the emulator.
//! 3. [`products`]: matrices of bfloat16 multiplied on a CPU.
//! 4. [`device`]: which device computes, and in which precision.
//! 5. [`ops`]: differentiable tensor functions, each with a slow reference.
//! 6. [`models`]: GPT-2, RWKV-6, Mamba-2 and GroundThink behind one trait.
//! 7. [`train`]: recipe, optimizer, trainer, checkpoints.
//! 8. [`probes`]: what is measured of a trained model; no probe knows a threshold.
//! 9. [`protocol`]: which models, scales, seeds, data and recipe are to be collected.
//! 10. [`referee`]: models, gradients and scores a second time in float64, sharing only readers of files.
//! 11. [`collect`]: from a protocol to a ledger; the only code that makes a measurement.
//! 12. [`fleet`]: the same on many machines: its tasks, what they cost, and what engines read.
//! 13. [`evaluate`]: the same questions put to one checkpoint.
//!
//! At the waist, plain numbers:
//!
//! 1. [`statistics`]: intervals, tests, power, scaling laws.
//! 2. [`scale`]: the named sizes.
//! 3. [`evidence`]: metrics, measurements with their provenance, and the ledger that holds them.
//!
//! Below the waist, code that knows no tensors:
//!
//! 1. [`gate`]: from a ledger to a verdict, without I/O; the table of criteria is its heart.
//! 2. [`report`]: the verdict on a terminal and as HTML, Markdown, JSON and JUnit XML.
//!
//! Aside, naming none of these: [`files`] (digests, atomic writes), [`heap`] (memory in use), [`progress`]
//! (what people see meanwhile), [`random`] (reproducible draws).
//!
//! # Example
//!
//! A protocol says what is to be collected, a ledger holds what was, and the gate judges nothing but the ledger:
//!
//! ```
//! use v5gate::evidence::Ledger;
//! use v5gate::gate::{Verdict, judge};
//! use v5gate::models;
//! use v5gate::protocol::Protocol;
//!
//! let protocol = Protocol::load("smoke")?;
//! assert_eq!(protocol.models, ["gpt2", "groundthink"]);
//!
//! // What is compared is matched in size: here within 5 %.
//! let scale = protocol.scales().next().expect("a scale");
//! let sizes = protocol.models.iter().filter_map(|name| models::find(name)).map(|model| {
//!     (model.config)(scale, 1024, protocol.recipe.context_length).model_stats().total as f64
//! });
//! let sizes: Vec<f64> = sizes.collect();
//! assert!((sizes[1] / sizes[0] - 1.0).abs() < 0.05);
//!
//! // Nothing was collected yet, and what is missing does not pass.
//! let judgement = judge(&Ledger::default());
//! assert_eq!(judgement.verdict, Verdict::Incomplete);
//! assert_eq!(judgement.verdict.exit_code(), 11);
//! # Ok::<(), v5gate::protocol::ProtocolError>(())
//! ```

pub mod collect;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod evidence;
pub mod files;
pub mod fleet;
pub mod gate;
pub mod heap;
pub mod launch;
pub mod models;
pub mod ops;
pub mod probes;
pub mod products;
pub mod progress;
pub mod protocol;
pub mod random;
pub mod referee;
pub mod report;
pub mod scale;
pub mod statistics;
pub mod train;

#[global_allocator]
static ALLOCATOR: heap::Counting<mimalloc::MiMalloc> = heap::Counting(mimalloc::MiMalloc);

/// Makes freed memory stay in the process: returning it to the system and faulting it in again
/// costs more than much of a training step's arithmetic. For the start of a program.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay`: milliseconds until freed memory is returned, -1 for never.
    const PURGE_DELAY: i32 = 15;
    #[expect(unsafe_code, reason = "a setting of the allocator")]
    // SAFETY: sets one number in the allocator's table of options.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}
