//! How Rust calls the emulator of `kernels/emulate.cpp`, linked in or as a library.

use std::ffi::c_char;

/// `Argument` of `emulate.h`.
#[repr(C)]
pub(super) struct Raw {
    /// An address, or the bits of a number.
    pub bits: u64,
    /// Which of both, and of what type.
    pub kind: u32,
}

/// Bytes of what a launch says when it fails, at most.
pub(super) const MESSAGE: usize = 2048;

/// Name, grid, threads, bytes of shared memory, arguments and their number, seed, and room for a message.
pub(super) type Emulate = unsafe extern "C" fn(
    *const c_char,
    *const u32,
    *const u32,
    u32,
    *const Raw,
    u32,
    u32,
    *mut [c_char; MESSAGE],
) -> i32;

unsafe extern "C" {
    pub(super) fn v5_emulate(
        name: *const c_char,
        grid: *const u32,
        size: *const u32,
        shared: u32,
        arguments: *const Raw,
        count: u32,
        seed: u32,
        message: *mut [c_char; MESSAGE],
    ) -> i32;
}
