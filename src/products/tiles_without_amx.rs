//! Tile instructions for tests on processors without them: what the processor refuses (SIGILL) is made here, as the
//! architecture's manual defines it (Intel 64 and IA-32 Software Developer's Manual, volume 2: LDTILECFG, TILELOADD,
//! TILESTORED, TILEZERO, TDPBF16PS), so that `amx.rs` is tested instruction by instruction. Shares nothing with it.

#![cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    expect(dead_code, reason = "no tiles there")
)]

use std::cell::RefCell;

/// A tile register: 16 rows of 64 bytes, of which rows and bytes are in use.
#[derive(Clone, Copy)]
struct TileRegister {
    rows: usize,
    row_bytes: usize,
    data: [[u8; 64]; 16],
}

thread_local! {
    static REGISTERS: RefCell<[TileRegister; 8]> =
        const { RefCell::new([TileRegister { rows: 0, row_bytes: 0, data: [[0; 64]; 16] }; 8]) };
}

/// A tile instruction, its memory operand as address and stride.
enum Instruction {
    Configure { at: usize },
    Zero { tile: usize },
    Load { tile: usize, at: usize, stride: usize },
    Store { tile: usize, at: usize, stride: usize },
    Multiply { sums: usize, left: usize, right: usize },
}

/// A float32 as the instruction reads and writes it: below 2⁻¹²⁶ there is nothing but zero.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0 } else { x }
}

fn brief_at(row: &[u8; 64], i: usize) -> f32 {
    flushed(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16))
}

fn multiplied(mut sums: TileRegister, left: &TileRegister, right: &TileRegister) -> TileRegister {
    assert!(sums.rows == left.rows && sums.row_bytes == right.row_bytes && left.row_bytes == 4 * right.rows);
    for (sums, left) in sums.data.iter_mut().zip(&left.data).take(sums.rows) {
        for n in 0..right.row_bytes / 4 {
            let (mut even, mut odd) = (0f32, 0f32);
            for (k, right) in right.data.iter().enumerate().take(right.rows) {
                even = flushed(brief_at(left, 2 * k).mul_add(brief_at(right, 2 * n), even));
                odd = flushed(brief_at(left, 2 * k + 1).mul_add(brief_at(right, 2 * n + 1), odd));
            }
            let bytes = &mut sums[4 * n..4 * n + 4];
            let before = flushed(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            bytes.copy_from_slice(&flushed(before + flushed(even + odd)).to_le_bytes());
        }
    }
    sums
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "a signal handler that reads and writes where instructions would")]
mod handler {
    use std::sync::Once;

    use super::{Instruction, REGISTERS, TileRegister, multiplied};

    /// From now on tile instructions of this process are made here.
    pub fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the handler has the type that SA_SIGINFO asks for.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut());
            }
        });
    }

    /// Where Linux keeps a register, by its number in instructions.
    const REGISTER: [i32; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];

    extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: Linux hands over the interrupted thread's registers, and what is no tile instruction ends the process.
        unsafe {
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            let value = |number: usize| registers[REGISTER[number] as usize] as usize;
            let code = std::slice::from_raw_parts(registers[libc::REG_RIP as usize] as *const u8, 15);
            let Some((instruction, length)) = decoded(code, value) else { libc::abort() };
            perform(instruction);
            registers[libc::REG_RIP as usize] += length as i64;
        }
    }

    /// An instruction in the three-byte VEX form, map 0F38, and its length.
    fn decoded(code: &[u8], value: impl Fn(usize) -> usize) -> Option<(Instruction, usize)> {
        let (first, second, opcode, modrm) = (code[1], code[2], code[3], code[4]);
        if code[0] != 0xc4 || first & 0x1f != 2 || second & 0x84 != 0 {
            return None;
        }
        let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), modrm & 7);
        let other = usize::from(!(second >> 3) & 15);
        if mode == 3 {
            return match (opcode, second & 3) {
                (0x49, 3) => Some((Instruction::Zero { tile: reg }, 5)),
                (0x5c, 2) => {
                    Some((Instruction::Multiply { sums: reg, left: usize::from(rm), right: other }, 5))
                }
                _ => None,
            };
        }
        let high = |bit: u8| if first & bit == 0 { 8 } else { 0 };
        let (mut at, mut stride, mut length) = (0, 0, 5);
        let mut base = usize::from(rm) + high(0x20);
        if rm == 4 {
            let sib = code[5];
            let index = usize::from(sib >> 3 & 7) + high(0x40);
            base = usize::from(sib & 7) + high(0x20);
            stride = if index == 4 { 0 } else { value(index) << (sib >> 6) };
            length = 6;
        }
        if mode == 0 && base & 7 == 5 {
            return None;
        }
        at += value(base);
        match mode {
            1 => {
                at = at.wrapping_add_signed(isize::from(code[length] as i8));
                length += 1;
            }
            2 => {
                let far = i32::from_le_bytes(code[length..length + 4].try_into().ok()?);
                at = at.wrapping_add_signed(far as isize);
                length += 4;
            }
            _ => {}
        }
        let instruction = match (opcode, second & 3) {
            (0x49, 0) if reg == 0 => Instruction::Configure { at },
            (0x4b, 3) => Instruction::Load { tile: reg, at, stride },
            (0x4b, 2) => Instruction::Store { tile: reg, at, stride },
            _ => return None,
        };
        Some((instruction, length))
    }

    /// # Safety
    ///
    /// Memory operands are what the interrupted instruction might read and write.
    unsafe fn perform(instruction: Instruction) {
        REGISTERS.with_borrow_mut(|registers| match instruction {
            Instruction::Configure { at } => {
                // SAFETY: the caller's 64 bytes.
                let shapes = unsafe { std::slice::from_raw_parts(at as *const u8, 64) };
                assert_eq!(shapes[..2], [1, 0], "palette and first row");
                for (i, register) in registers.iter_mut().enumerate() {
                    let row_bytes = usize::from(u16::from_le_bytes([shapes[16 + 2 * i], shapes[17 + 2 * i]]));
                    let rows = usize::from(shapes[48 + i]);
                    assert!(rows <= 16 && row_bytes <= 64, "tile {i}: {rows} rows of {row_bytes} bytes");
                    *register = TileRegister { rows, row_bytes, data: [[0; 64]; 16] };
                }
            }
            Instruction::Zero { tile } => registers[tile].data = [[0; 64]; 16],
            Instruction::Load { tile, at, stride } => {
                let TileRegister { rows, row_bytes, data } = &mut registers[tile];
                assert!(*rows > 0, "tile {tile} has no shape");
                *data = [[0; 64]; 16];
                for (i, row) in data.iter_mut().enumerate().take(*rows) {
                    // SAFETY: the caller's rows.
                    let from =
                        unsafe { std::slice::from_raw_parts((at + i * stride) as *const u8, *row_bytes) };
                    row[..*row_bytes].copy_from_slice(from);
                }
            }
            Instruction::Store { tile, at, stride } => {
                let TileRegister { rows, row_bytes, data } = &registers[tile];
                for (i, row) in data.iter().enumerate().take(*rows) {
                    // SAFETY: the caller's rows.
                    let to =
                        unsafe { std::slice::from_raw_parts_mut((at + i * stride) as *mut u8, *row_bytes) };
                    to.copy_from_slice(&row[..*row_bytes]);
                }
            }
            Instruction::Multiply { sums, left, right } => {
                registers[sums] = multiplied(registers[sums], &registers[left], &registers[right]);
            }
        });
    }
}

/// Whether tile instructions are made here from now on.
pub(super) fn stand_in() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    handler::install();
    cfg!(all(target_arch = "x86_64", target_os = "linux"))
}
