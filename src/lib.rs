//! The V5 gate: is an architecture as good as GPT-2 on perplexity, significantly better on
//! statefulness, better on long context? Read in this order.
//!
//! Above the waist, code that knows tensors: [`data`], [`ops`] with their [`launch`], [`models`], [`train`], [`probes`],
//! [`collect`]. At the waist plain numbers: [`statistics`], [`scale`], and with their provenance
//! [`evidence`]. Below it code that knows no tensors: [`gate`], [`report`]. A module names only
//! modules above it in this list, or the waist. [`device`] is what computes, [`progress`] what people see
//! meanwhile, [`heap`] what memory it takes.

pub mod collect;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod evidence;
pub mod files;
pub mod gate;
pub mod heap;
pub mod launch;
pub mod models;
pub mod ops;
pub mod probes;
pub mod progress;
pub mod protocol;
pub mod random;
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
