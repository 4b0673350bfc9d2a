//! Whether a process had the processor for itself while it measured times.

use std::fs;

/// More than this share of waiting is no measurement of a machine's speed. A process's own threads wait for each other for
/// up to a twentieth; one other that computes takes a third from two processors.
const DISTURBED: f64 = 0.15;

/// Nanoseconds for which the threads of this process have computed, and waited for a processor that was there for others;
/// Linux alone says so.
fn so_far() -> Option<[u64; 2]> {
    let mut sums = [0; 2];
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may have ended meanwhile.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let mut numbers = text.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        for sum in &mut sums {
            *sum += numbers.next().unwrap_or(0);
        }
    }
    Some(sums)
}

/// What `f` returns, and where other work took so much of the processor meanwhile that times say little, which share.
pub(super) fn disturbed<T>(f: impl FnOnce() -> T) -> (T, Option<f64>) {
    let before = so_far();
    let result = f();
    let share = before.zip(so_far()).map(|(before, after)| {
        let [ran, waited] = [0, 1].map(|i| after[i].saturating_sub(before[i]) as f64);
        waited / (ran + waited).max(1.0)
    });
    (result, share.filter(|share| *share > DISTURBED))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    /// Four threads to a processor, of which three wait.
    #[test]
    #[cfg(target_os = "linux")]
    fn other_work_is_seen() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let done = AtomicBool::new(false);
        let work = || {
            while !done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 * cores {
                scope.spawn(work);
            }
            let ((), share) = disturbed(|| std::thread::sleep(Duration::from_millis(500)));
            done.store(true, Ordering::Relaxed);
            // Some systems keep no account.
            let counts = so_far().is_some_and(|[ran, _]| ran > 0);
            assert!(!counts || share.is_some_and(|share| share > 0.3), "{share:?}");
        });
    }
}
