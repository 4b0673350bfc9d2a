//! The detector of races (`kernels/races.cpp`): a library with the same kernels, whose every access to memory is
//! seen. It is opened when first needed.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;

use candle_core::{Result, bail};

use super::emulator_abi::Emulate;

type LeaveOut = unsafe extern "C" fn(file: *const c_char, line: u32);
type Tell = unsafe extern "C" fn(with: *mut c_void, file: *const c_char, line: u32);
type BarriersMet = unsafe extern "C" fn(tell: Tell, with: *mut c_void);

/// What the library has.
#[derive(Clone, Copy)]
struct Detector {
    emulate: Emulate,
    leave_out: LeaveOut,
    barriers_met: BarriersMet,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: i32) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// Where the detector was built, unless `V5_RACES` names another place.
fn path() -> String {
    match std::env::var("V5_RACES") {
        Ok(path) if path.contains('/') => path,
        _ => env!("V5_RACES_LIBRARY").to_owned(),
    }
}

fn open() -> std::result::Result<Detector, String> {
    const NOW: i32 = 2;
    let path = path();
    let failed = || {
        #[expect(unsafe_code, reason = "the loader speaks C")]
        // SAFETY: after a failure, a string until the next call on this thread.
        let why = unsafe { CStr::from_ptr(dlerror()) };
        format!("{path}: {}", why.to_string_lossy())
    };
    let name = CString::new(path.clone()).map_err(|e| e.to_string())?;
    #[expect(unsafe_code, reason = "a library built from this source")]
    // SAFETY: `build.rs` made it of the same files, where these names have these types; it is never closed.
    unsafe {
        let library = dlopen(name.as_ptr(), NOW);
        if library.is_null() {
            return Err(failed());
        }
        let find = |name: &CStr| {
            let found = dlsym(library, name.as_ptr());
            if found.is_null() { Err(failed()) } else { Ok(found) }
        };
        Ok(Detector {
            emulate: std::mem::transmute::<*mut c_void, Emulate>(find(c"v5_emulate")?),
            leave_out: std::mem::transmute::<*mut c_void, LeaveOut>(find(c"v5_leave_out")?),
            barriers_met: std::mem::transmute::<*mut c_void, BarriersMet>(find(c"v5_barriers_met")?),
        })
    }
}

fn detector() -> Result<Detector> {
    static OPEN: OnceLock<std::result::Result<Detector, String>> = OnceLock::new();
    match OPEN.get_or_init(open) {
        Ok(detector) => Ok(*detector),
        Err(why) => bail!("the detector of races: {why}"),
    }
}

/// The detector's emulator, where this thread or, by `V5_RACES`, the process wants it.
pub(super) fn wanted() -> Result<Option<Emulate>> {
    static EVERYWHERE: OnceLock<bool> = OnceLock::new();
    let everywhere = || std::env::var_os("V5_RACES").is_some_and(|value| value != "0");
    if ON.get() || *EVERYWHERE.get_or_init(everywhere) {
        return Ok(Some(detector()?.emulate));
    }
    Ok(None)
}

/// Runs `f`; what it launches on this thread is an error where two accesses to memory have no order between them.
pub fn detect_races<R>(f: impl FnOnce() -> R) -> R {
    let before = ON.replace(true);
    let result = f();
    ON.set(before);
    result
}

/// Runs `f` as `detect_races` does, with one barrier, or the commit or wait of asynchronous copies, left out: the
/// one at that line of a file of `kernels`.
pub fn without_barrier<R>(file: &str, line: u32, f: impl FnOnce() -> R) -> Result<R> {
    let detector = detector()?;
    let Ok(name) = CString::new(file) else { bail!("a name with a zero byte") };
    #[expect(unsafe_code, reason = "the detector is C++")]
    // SAFETY: the name lives until it is set back; the second name is static.
    let leave_out = |name: &CStr, line| unsafe { (detector.leave_out)(name.as_ptr(), line) };
    leave_out(&name, line);
    let result = detect_races(f);
    leave_out(c"", 0);
    Ok(result)
}

/// File and line of every barrier, commit and wait that kernels have come to on this thread under the detector,
/// since this was last asked.
pub fn barriers_met() -> Result<Vec<(String, u32)>> {
    extern "C" fn tell(with: *mut c_void, file: *const c_char, line: u32) {
        #[expect(unsafe_code, reason = "called from C++")]
        // SAFETY: `with` is the list below, `file` a string of the library.
        let (all, file) = unsafe { (&mut *with.cast::<Vec<(String, u32)>>(), CStr::from_ptr(file)) };
        all.push((file.to_string_lossy().into_owned(), line));
    }
    let mut all: Vec<(String, u32)> = Vec::new();
    #[expect(unsafe_code, reason = "the detector is C++")]
    // SAFETY: the list outlives the call.
    unsafe {
        (detector()?.barriers_met)(tell, (&raw mut all).cast());
    }
    all.sort();
    Ok(all)
}
