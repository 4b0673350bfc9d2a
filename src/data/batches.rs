//! Which windows are read, in which order, as batches: ruling R13.
//!
//! Invariant: an order is drawn once per seed, saved and hashed; whatever trains on it reads it from
//! front to back and never shuffles again, so two models given one order see the same tokens at the
//! same step.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::TokenFile;
use crate::files::{clear_unfinished, hex, write_atomically};
use crate::random::Random;

/// The stream of the seed that orders are drawn from.
const ORDER_STREAM: u64 = 0;

/// The windows of a run in the order they are read; several epochs are several permutations in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    windows: Vec<u32>,
}

/// Why an order or a batch cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Too little text for one window.
    #[error("expected at least {expected} tokens (one window and its last target), got {got}")]
    TooShort {
        /// Tokens of one window.
        expected: usize,
        /// Tokens there are.
        got: usize,
    },
    /// More windows than a u32 can name.
    #[error("expected at most {max} windows, got {0}", max = u32::MAX)]
    TooMany(usize),
    /// The file could not be read or written, or is no such array.
    #[error("order {path}: {message}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// The order names a window the tokens do not have.
    #[error("order position {position}: expected a window below {windows}, got {window}")]
    NoSuchWindow {
        /// Where in the order.
        position: usize,
        /// The window named there.
        window: u32,
        /// How many windows there are.
        windows: usize,
    },
    /// The order is used up.
    #[error("expected {batch_size} windows from position {position} of the order, which has {length}")]
    Exhausted {
        /// First position asked for.
        position: usize,
        /// Windows asked for.
        batch_size: usize,
        /// Positions there are.
        length: usize,
    },
}

impl Order {
    /// Draws `needed` windows: permutation after permutation of all `n_windows`, all from one stream
    /// of the seed, so that a longer order begins with the shorter one.
    pub fn draw(n_windows: usize, needed: usize, seed: u64) -> Result<Self, OrderError> {
        Self::draw_mixture(&[(0..n_windows, 1.0)], needed, seed)
    }

    /// The same of several parts, each a range of windows and its share (ruling R27). Whichever part is farthest
    /// behind its share is next, so that every stretch of an order is mixed as declared, to within as many windows as there are parts;
    /// within a part, permutation follows permutation.
    pub fn draw_mixture(parts: &[(Range<usize>, f64)], needed: usize, seed: u64) -> Result<Self, OrderError> {
        for (windows, _) in parts {
            u32::try_from(windows.end).map_err(|_| OrderError::TooMany(windows.end))?;
        }
        if parts.is_empty() || parts.iter().any(|(windows, _)| windows.is_empty()) {
            return Err(OrderError::TooShort { expected: 1, got: 0 });
        }
        let mut random = Random::new(seed, ORDER_STREAM);
        let (mut drawn, mut left) = (vec![0_usize; parts.len()], vec![VecDeque::new(); parts.len()]);
        let mut windows = Vec::with_capacity(needed);
        for position in 1..=needed {
            let behind = |part: usize| parts[part].1 * position as f64 - drawn[part] as f64;
            // Of parts that are as far behind, the first.
            let next =
                (1..parts.len()).fold(0, |most, part| if behind(part) > behind(most) { part } else { most });
            if left[next].is_empty() {
                let mut epoch: Vec<u32> = parts[next].0.clone().map(|window| window as u32).collect();
                random.shuffle(&mut epoch);
                left[next] = epoch.into();
            }
            windows.extend(left[next].pop_front());
            drawn[next] += 1;
        }
        Ok(Self { windows })
    }

    /// The windows in reading order.
    pub fn windows(&self) -> &[u32] {
        &self.windows
    }

    /// How many windows will be read.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether nothing will be read.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// SHA-256 of the windows as little-endian u32.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.windows.iter().for_each(|window| hash.update(window.to_le_bytes()));
        hex(hash)
    }

    /// Writes the order as a one-dimensional `<u4` array that NumPy reads, whole or not at all.
    pub fn save_npy(&self, path: &Path) -> Result<(), OrderError> {
        let wrong = |message: String| OrderError::File { path: path.to_owned(), message };
        let io = |error: io::Error| wrong(error.to_string());
        write_atomically(path, io, |file| {
            file.write_all(&npy_header("<u4", &format!("({},)", self.len()))).map_err(io)?;
            self.windows.iter().try_for_each(|window| file.write_all(&window.to_le_bytes())).map_err(io)
        })
    }

    /// Saves the order unless the file is there and reads it back, since the file is what is trained
    /// on. A file that holds another order is refused.
    pub fn save_or_verify(&self, path: &Path) -> Result<Self, OrderError> {
        match path.exists() {
            true => clear_unfinished(path)
                .map_err(|error| OrderError::File { path: path.to_owned(), message: error.to_string() })?,
            false => self.save_npy(path)?,
        }
        let saved = Self::load_npy(path)?;
        if saved == *self {
            return Ok(saved);
        }
        let message = format!("expected the order {}, got {}", self.digest(), saved.digest());
        Err(OrderError::File { path: path.to_owned(), message })
    }

    /// Reads what [`Order::save_npy`] or NumPy wrote; no length is believed that the file does not have.
    pub fn load_npy(path: &Path) -> Result<Self, OrderError> {
        let wrong = |message: String| OrderError::File { path: path.to_owned(), message };
        let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let Some((description, data)) = npy_parts(&bytes) else {
            return Err(wrong("expected an array as NumPy writes it, got something else".to_owned()));
        };
        let said: String = description.chars().filter(|c| !c.is_whitespace()).collect();
        let (windows, rest) = data.as_chunks::<4>();
        let shape = format!("'shape':({},)", windows.len());
        if !rest.is_empty() || !said.contains("'descr':'<u4'") || !said.contains(&shape) {
            let got = format!("{} and {} bytes", description.trim(), data.len());
            return Err(wrong(format!("expected a u32 array of one dimension, all of it, got {got}")));
        }
        Ok(Self { windows: windows.iter().map(|window| u32::from_le_bytes(*window)).collect() })
    }
}

/// The description of a NumPy array in a file, and its data.
fn npy_parts(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.strip_prefix(b"\x93NUMPY")?.split_first_chunk::<2>()?;
    let (length, rest) = match version {
        [1, _] => rest.split_first_chunk::<2>().map(|(n, rest)| (u16::from_le_bytes(*n).into(), rest))?,
        [2 | 3, _] => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n), rest))?,
        _ => return None,
    };
    let (description, data) = rest.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(description).ok()?, data))
}

/// Version 1.0 of NumPy's format: magic, length of the description, the description padded with
/// spaces so that the data begin at a multiple of 64.
fn npy_header(kind: &str, shape: &str) -> Vec<u8> {
    let description = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let padded = (10 + description.len() + 1).next_multiple_of(64) - 11;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((padded as u16 + 1).to_le_bytes());
    header.extend(format!("{description:<padded$}\n").into_bytes());
    header
}

/// How many windows a text of so many tokens has: `context_length` inputs each, one more for the
/// last target, beginning every `context_length` tokens.
pub fn window_count(tokens: usize, context_length: usize) -> usize {
    tokens.saturating_sub(1) / context_length
}

/// Training or validation text in an order.
#[derive(Debug)]
pub struct Batches<'a> {
    file: &'a TokenFile,
    order: Order,
    context_length: usize,
}

/// Windows side by side, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the model reads: `batch_size` rows of `context_length` ids.
    pub inputs: Vec<u32>,
    /// What it should predict: the inputs one token later.
    pub targets: Vec<u32>,
    /// Rows.
    pub batch_size: usize,
    /// Ids per row.
    pub context_length: usize,
}

impl<'a> Batches<'a> {
    /// Text and order together; refuses an order drawn for a longer text.
    pub fn new(file: &'a TokenFile, order: Order, context_length: usize) -> Result<Self, OrderError> {
        let windows = match context_length {
            0 => 0,
            length => window_count(file.len(), length),
        };
        if windows == 0 {
            return Err(OrderError::TooShort { expected: context_length.max(1) + 1, got: file.len() });
        }
        let beyond = order.windows.iter().position(|&window| window as usize >= windows);
        if let Some(position) = beyond {
            return Err(OrderError::NoSuchWindow { position, window: order.windows[position], windows });
        }
        Ok(Self { file, order, context_length })
    }

    /// Every window once, as they lie in the text: for validation, where order does not matter.
    pub fn in_sequence(file: &'a TokenFile, context_length: usize) -> Result<Self, OrderError> {
        let windows = window_count(file.len(), context_length.max(1));
        let count = u32::try_from(windows).map_err(|_| OrderError::TooMany(windows))?;
        Self::new(file, Order { windows: (0..count).collect() }, context_length)
    }

    /// The order being read.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Writes what is read, window after window in order, as an array of NumPy: a row for each, its inputs and the
    /// last target, in two bytes an id where a vocabulary of that size allows, else in four. `write` gets the bytes.
    pub fn write_npy(
        &self,
        vocabulary: usize,
        write: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (rows, length) = (self.order.len(), self.context_length + 1);
        let narrow = vocabulary <= 1 << 16;
        let kind = if narrow { "<u2" } else { "<u4" };
        write(&npy_header(kind, &format!("({rows}, {length})")))?;
        for &row in &self.order.windows {
            let start = row as usize * self.context_length;
            for id in self.file.tokens(start..start + length) {
                let bytes = id.to_le_bytes();
                write(if narrow { &bytes[..2] } else { &bytes })?;
            }
        }
        Ok(())
    }

    /// The batch whose first row is at that position of the order.
    pub fn get(&self, first_position: usize, batch_size: usize) -> Result<Batch, OrderError> {
        let rows = first_position
            .checked_add(batch_size)
            .and_then(|end| self.order.windows.get(first_position..end))
            .ok_or(OrderError::Exhausted {
                position: first_position,
                batch_size,
                length: self.order.len(),
            })?;
        let length = self.context_length;
        let mut batch = Batch {
            inputs: Vec::with_capacity(batch_size * length),
            targets: Vec::with_capacity(batch_size * length),
            batch_size,
            context_length: length,
        };
        for &row in rows {
            let start = row as usize * length;
            batch.inputs.extend(self.file.tokens(start..start + length));
            batch.targets.extend(self.file.tokens(start + 1..start + length + 1));
        }
        Ok(batch)
    }
}
