//! Calls into libraries that panic over a file where they should refuse it.
//!
//! Invariant: such a panic is an error of the caller, and nobody sees a trace of it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the call gives, or what it said when it panicked.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                usual(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    done.map_err(|said| {
        let text = said.downcast_ref::<&str>().copied().or(said.downcast_ref::<String>().map(String::as_str));
        format!("the library that reads it panicked: {}", text.unwrap_or("without a word"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_a_value_a_value() {
        assert_eq!(guarded(|| 7), Ok(7));
        let number = || "x".parse::<u8>().expect("a number");
        assert!(guarded(number).unwrap_err().contains("panicked: a number"));
        assert!(guarded(|| guarded(number).is_err()).unwrap());
        assert!(!GUARDED.get());
    }
}
