//! Where what the program says goes: stdout, files.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes to stdout; a full disk or a closed pipe is an error like any other.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("stdout")
}

/// Writes a text to a file, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let io = |e: io::Error| anyhow::anyhow!("{}: {e}", path.display());
    v5gate::files::write_atomically(path, io, |file| file.write_all(text.as_bytes()).map_err(io))
}

/// Writes a JSON document to stdout.
pub fn print_json(value: &serde_json::Value) -> Result<u8> {
    print(&super::list::pretty(value)?).map(|()| 0)
}
