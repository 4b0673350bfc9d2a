//! How much memory the process has on its heap, and the most it had: an allocator that counts what it
//! hands out. On a CPU this is where models, states and everything in between live; files that are
//! mapped into memory are not in it.
//!
//! Invariant: counting changes no allocation and costs a few instructions each; the numbers are those of
//! the whole process, so whoever measures one thing does nothing else meanwhile.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes handed out and not yet given back.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// The most there were since somebody last looked.
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// An allocator that counts.
pub(crate) struct Counting<A>(pub(crate) A);

fn more(bytes: usize) {
    let now = IN_USE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    // Mostly a read: a new peak is rare.
    if now > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

fn less(bytes: usize) {
    IN_USE.fetch_sub(bytes, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is one")]
// SAFETY: every call goes to the allocator inside, unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let at = unsafe { self.0.alloc(layout) };
        if !at.is_null() {
            more(layout.size());
        }
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let at = unsafe { self.0.alloc_zeroed(layout) };
        if !at.is_null() {
            more(layout.size());
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(at, layout) };
        less(layout.size());
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = unsafe { self.0.realloc(at, layout, size) };
        if !new.is_null() {
            more(size);
            less(layout.size());
        }
        new
    }
}

/// Bytes on the heap.
pub fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// What `f` returns, and the most bytes that were on the heap meanwhile.
pub fn peak_of<T>(f: impl FnOnce() -> T) -> (T, usize) {
    PEAK.store(in_use(), Ordering::Relaxed);
    let result = f();
    (result, PEAK.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests allocate at the same time, but not by the gigabyte.
    #[test]
    fn a_peak_is_seen_and_forgotten() {
        const BYTES: usize = 1 << 30;
        let before = in_use();
        let (kept, peak) = peak_of(|| {
            let large: Vec<u8> = Vec::with_capacity(BYTES);
            drop(large);
            vec![1u8; 10]
        });
        assert!(peak >= before.saturating_sub(BYTES / 8) + BYTES);
        assert!(in_use() < before + BYTES / 8);
        let (_, again) = peak_of(|| kept.len());
        assert!(again < before + BYTES / 8);
    }
}
