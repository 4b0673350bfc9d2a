//! Tiles of 32 × 32 sums in four tile registers (AMX), which stable Rust has no functions for.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::Cell;
use std::sync::OnceLock;

use super::{PANEL, Terms, Tile};

/// Rows of a tile register.
const ROWS: usize = 16;

/// Whether the processor has the instructions and Linux lets this process use them, which is asked once.
pub(super) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        if __cpuid(0).eax < 7 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        let (bf16, tiles) = (features >> 22 & 1, features >> 24 & 1);
        bf16 == 1 && tiles == 1 && is_permitted()
    })
}

/// Asks Linux for room to keep tile registers in (`arch_prctl`, `ARCH_REQ_XCOMP_PERM`, component 18).
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    let answer: i64;
    #[expect(unsafe_code, reason = "a system call")]
    // SAFETY: arch_prctl(ARCH_REQ_XCOMP_PERM, 18) touches no memory; the kernel changes rax, rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") 158i64 => answer, in("rdi") 0x1023, in("rsi") 18, out("rcx") _, out("r11") _);
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Shapes of the eight tile registers: sums of the upper and the lower rows, the two left operands, the two right ones.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

thread_local! {
    /// For how many rows this thread's tile registers are shaped.
    static SHAPED: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "tile instructions")]
fn shape(count: usize) {
    let (upper, lower) = (count.min(ROWS) as u8, count.saturating_sub(ROWS).max(1) as u8);
    let each = [upper, upper, lower, lower, upper, lower, 16, 16];
    let mut shapes =
        Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    shapes.rows[..8].copy_from_slice(&each);
    shapes.row_bytes[..8].fill(64);
    // SAFETY: `shapes` is laid out as the instruction reads it.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack));
    }
}

/// # Safety
///
/// See [`super::Path::tile`]; steps are of 32 neighbouring terms.
#[expect(unsafe_code, reason = "tile instructions on memory")]
pub(super) unsafe fn tile(count: usize, terms: Terms, tile: Tile) {
    if SHAPED.replace(count) != count {
        shape(count);
    }
    // SAFETY: handed on.
    unsafe {
        match count {
            0..=ROWS => upper(terms, tile),
            _ => whole(terms, tile),
        }
    }
}

/// Up to 16 rows.
#[expect(unsafe_code, reason = "tile instructions on memory")]
unsafe fn upper(terms: Terms, tile: Tile) {
    let steps = terms.pairs / ROWS;
    // SAFETY: the caller answers for what is read and written; tile registers are used nowhere else in between.
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {stride}]",
            "tileloadd tmm1, [{c} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {panel}]",
            "tileloadd tmm7, [{b} + {panel} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {stride}], tmm0",
            "tilestored [{c} + {stride} + 64], tmm1",
            add = in(reg) u32::from(tile.add),
            c = in(reg) tile.sums,
            stride = in(reg) 4 * tile.stride,
            a = inout(reg) terms.a => _,
            row = in(reg) 2 * terms.row,
            b = inout(reg) terms.b => _,
            panel = in(reg) 4 * PANEL,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// 17 to 32 rows.
#[expect(unsafe_code, reason = "tile instructions on memory")]
unsafe fn whole(terms: Terms, tile: Tile) {
    let steps = terms.pairs / ROWS;
    // SAFETY: as above; the lower rows begin 16 rows below the upper ones.
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {stride}]",
            "tileloadd tmm1, [{c} + {stride} + 64]",
            "tileloadd tmm2, [{d} + {stride}]",
            "tileloadd tmm3, [{d} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {panel}]",
            "tileloadd tmm7, [{b} + {panel} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{below} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {below}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {stride}], tmm0",
            "tilestored [{c} + {stride} + 64], tmm1",
            "tilestored [{d} + {stride}], tmm2",
            "tilestored [{d} + {stride} + 64], tmm3",
            add = in(reg) u32::from(tile.add),
            c = in(reg) tile.sums,
            d = in(reg) tile.sums.add(ROWS * tile.stride),
            stride = in(reg) 4 * tile.stride,
            a = inout(reg) terms.a => _,
            below = inout(reg) terms.a.add(ROWS * terms.row) => _,
            row = in(reg) 2 * terms.row,
            b = inout(reg) terms.b => _,
            panel = in(reg) 4 * PANEL,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
