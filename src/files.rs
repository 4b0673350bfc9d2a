//! Files that are either complete or absent, and digests as text.
//!
//! Invariant: nobody ever reads a half-written file, because a file gets its name only when its
//! last byte is on disk.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Writes a file under a temporary name beside `path`, then renames it; on failure `path` is as it
/// was. `io` makes the caller's error from the system's.
pub fn write_atomically<E>(
    path: &Path,
    io: impl Fn(io::Error) -> E,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(&io)?;
    // A temporary file would be private to its user; this one is an ordinary file in the end.
    let ordinary = fs::Permissions::from_mode(0o666);
    let made = tempfile::Builder::new().permissions(ordinary).tempfile_in(folder);
    let (file, temporary) = made.map_err(&io)?.into_parts();
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(&io)?;
    temporary.persist(path).map_err(|error| io(error.error))
}

/// A finished SHA-256 as lower-case hexadecimal digits.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hex(hash)
}

/// The SHA-256 of a list of texts; their boundaries count, so that moving one changes the digest.
pub fn digest_of_texts<S: AsRef<str>>(texts: &[S]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        let text = text.as_ref();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(hash)
}
