//! What the fuzz targets share: bytes become a file, because that is what the readers read.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use sha2::Digest as _;
use tempfile::TempDir;
use v5gate::data::corpora::TextFile;

/// In memory where the system has such a folder, so that an input costs no disk.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
});

/// Calls `read` with a file `name` that holds the bytes.
pub fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let path = FOLDER.path().join(name);
    fs::write(&path, bytes).expect("a file can be written");
    read(&path)
}

/// Calls `read` with a folder that holds a file for each pair of name and bytes and nothing else.
pub fn with_folder<T>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> T) -> T {
    let folder = FOLDER.path().join("folder");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder can be made");
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("a file can be written");
    }
    read(&folder)
}

/// Calls `read` with the text, if the bytes are one.
pub fn with_text(name: &str, bytes: &[u8], read: impl FnOnce(&TextFile)) {
    if let Ok(file) = with_file(name, bytes, TextFile::read) {
        read(&file);
    }
}

/// The digest of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands before the first byte 0 and what follows it: two files in one input.
pub fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}
