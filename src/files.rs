//! Files that are either complete or absent, locks between processes, and digests as text.
//!
//! Invariant: nobody ever reads a half-written file, because a file gets its name only when its
//! last byte is on disk. What a link points to is replaced, not the link; a pipe or a device is
//! written to.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// What is being written has this before its name until all of it is there.
pub const WRITING: &str = ".writing-";

/// Removes what killed processes left half-written in a folder: for who holds its lock, beside whom nobody writes.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(WRITING.as_bytes())) {
            continue;
        }
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// Writes a file under a temporary name beside it, then renames it; on failure it is as it was.
/// What is no plain file, such as a pipe, is written to as it stands. `io` makes the caller's error
/// from the system's.
pub fn write_atomically<E>(
    path: &Path,
    io: impl Fn(io::Error) -> E,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let path = match destination(path).map_err(&io)? {
        Destination::Plain(path) => path,
        Destination::Special => {
            let mut open = BufWriter::new(File::options().write(true).open(path).map_err(&io)?);
            write(&mut open)?;
            return open.flush().map_err(io);
        }
    };
    fs::create_dir_all(folder_of(&path)).map_err(&io)?;
    let (file, temporary) = beside(&path).map_err(&io)?.into_parts();
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(&io)?;
    temporary.persist(path).map_err(|error| io(error.error))
}

/// A temporary file beside the one that it will replace, in place of those that killed processes left there. Its lock
/// tells others that somebody is writing.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let (folder, prefix) = (folder_of(path), unfinished(path));
    // A temporary file would be private to its user; this one is an ordinary file in the end.
    let ordinary = fs::Permissions::from_mode(0o666);
    let made = loop {
        let made =
            tempfile::Builder::new().prefix(&prefix).permissions(ordinary.clone()).tempfile_in(folder)?;
        match made.as_file().lock() {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(made),
            locked => locked?,
        }
        // Until it was locked another could take it for one that was left.
        if is_at(made.as_file(), made.path())? {
            break made;
        }
    };
    clear(folder, &prefix, Some(made.path()))?;
    Ok(made)
}

/// What the names of a file's half-written ones begin with.
fn unfinished(path: &Path) -> String {
    let name: String = path.file_name().unwrap_or_default().to_string_lossy().chars().take(50).collect();
    format!("{WRITING}{name}-")
}

/// Removes what killed processes left of writing this file, for who finds it written: two may have begun, of which one
/// was killed after the other had ended.
pub fn clear_unfinished(path: &Path) -> io::Result<()> {
    clear(folder_of(path), &unfinished(path), None)
}

/// Removes files of that beginning that nobody is writing.
fn clear(folder: &Path, prefix: &str, own: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let found = entry?.path();
        let ours =
            found.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        if !ours || Some(found.as_path()) == own {
            continue;
        }
        let Ok(file) = File::open(&found) else { continue };
        // Nobody is writing it, and nobody begins to while this holds the lock.
        if file.try_lock().is_ok() {
            drop(fs::remove_file(&found));
        }
    }
    Ok(())
}

/// The folder that a path names a file in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What writing to a path means.
pub enum Destination {
    /// The file at this path, behind all links, is made or replaced.
    Plain(PathBuf),
    /// A pipe, a device or an open file of a process, which cannot be replaced.
    Special,
}

/// Follows links to what is written to, whether it is there yet or not.
pub fn destination(path: &Path) -> io::Result<Destination> {
    /// The links that Linux follows.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        // Below /proc a link may stand for a file that has no name, or whose name is of no use.
        if path.starts_with("/proc") || path.starts_with("/dev/fd") {
            return Ok(Destination::Special);
        }
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => path = folder_of(&path).join(fs::read_link(&path)?),
            Ok(found) if found.is_file() || found.is_dir() => return Ok(Destination::Plain(path)),
            Ok(_) => return Ok(Destination::Special),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Destination::Plain(path)),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::InvalidInput, format!("more than {LINKS} links")))
}

/// A file whose lock one process holds at a time. It is there while it is held, and says by whom and for what;
/// the system drops the lock of a process that is killed, and the next one takes the file over.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    /// None where the file system has no locks or nothing can be written: there is nothing to wait for.
    held: Option<File>,
}

impl FileLock {
    /// Waits until nobody else holds the lock at that path, after one line to `say` that tells whom it waits for.
    /// `purpose` follows "process N, which is" in that line of others. Where `stop` says yes, waiting ends in an error.
    pub fn acquire(
        path: &Path,
        purpose: &str,
        say: &dyn Fn(&str),
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        /// Between two attempts.
        const PAUSE: Duration = Duration::from_millis(50);
        let lock = |held| Self { path: path.to_owned(), held };
        let mut told = false;
        loop {
            let mut file = match open_lock(path) {
                Ok(file) => file,
                Err(error) if is_read_only(&error) => return Ok(lock(None)),
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, path)? => {
                    // Only for people: on a full disk others wait for "another process".
                    let holder = format!("process {}, which is {purpose}", std::process::id());
                    drop(file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())));
                    return Ok(lock(Some(file)));
                }
                // Whoever held it has removed it meanwhile.
                Ok(()) => continue,
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(lock(None));
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            std::thread::sleep(PAUSE);
            if stop() {
                let what = format!("interrupted while waiting for {}", holder(&mut file));
                return Err(io::Error::other(what));
            }
            if !told {
                say(&format!("{}: waiting for {}", folder_of(path).display(), holder(&mut file)));
                told = true;
            }
        }
    }

    /// Whether others are kept out.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }
}

impl FileLock {
    /// Whether a process holds the lock at that path.
    pub fn is_held(path: &Path) -> bool {
        let file = File::options().read(true).open(path);
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if self.held.is_some() {
            // Before it is let go, so that nobody else's is removed. One that stays does no harm.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder_of(path))?;
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether this open file is still the one at that path.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who holds the lock of this file, as it says itself.
fn holder(file: &mut File) -> String {
    let mut said = String::new();
    match file.read_to_string(&mut said) {
        Ok(_) if !said.is_empty() => said,
        _ => "another process".to_owned(),
    }
}

/// A finished SHA-256 as lower-case hexadecimal digits.
pub fn hex(hash: Sha256) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    hash.finalize().iter().flat_map(digits).collect()
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

/// Adds a text to a digest of several; their boundaries count, so that moving one changes the digest.
pub fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// The SHA-256 of a list of texts, by [`add_text`].
pub fn digest_of_texts<S: AsRef<str>>(texts: &[S]) -> String {
    let mut hash = Sha256::new();
    texts.iter().for_each(|text| add_text(&mut hash, text.as_ref()));
    hex(hash)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn add_one(lock: &Path, counter: &Path, lines: &Mutex<Vec<String>>) {
        let say = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let _held = FileLock::acquire(lock, "counting", &say, &|| false).unwrap();
        let count: u32 = fs::read_to_string(counter).unwrap().parse().unwrap();
        fs::write(counter, (count + 1).to_string()).unwrap();
    }

    /// Although each removes the file when it lets go.
    #[test]
    fn one_at_a_time_holds_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, counter) = (folder.path().join("below/.lock"), folder.path().join("counter"));
        fs::write(&counter, "0").unwrap();
        let lines = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| add_one(&lock, &counter, &lines)));
            }
        });
        assert_eq!(fs::read_to_string(&counter).unwrap(), "200");
        assert!(!lock.exists());
        let own = format!("waiting for process {}, which is counting", std::process::id());
        let lines = lines.into_inner().unwrap();
        assert!(lines.iter().all(|line| line.contains(&own) || line.contains("another")), "{lines:?}");
    }

    #[test]
    fn waiting_ends_when_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let _held = FileLock::acquire(&path, "holding", &|_| (), &|| false).unwrap();
        let error = FileLock::acquire(&path, "waiting", &|_| (), &|| true).unwrap_err().to_string();
        let own = format!("process {}, which is holding", std::process::id());
        assert!(error.starts_with("interrupted while waiting for ") && error.ends_with(&own), "{error}");
    }

    /// A file that a killed process left is nobody's.
    #[test]
    fn a_lock_that_was_left_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        fs::write(&path, "process 1, which is gone").unwrap();
        drop(FileLock::acquire(&path, "next", &|line| panic!("{line}"), &|| false).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_half_written_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str| folder.path().join(name);
        fs::create_dir_all(made(".writing-a/b")).unwrap();
        [".writing-c", "file", ".hidden"].iter().for_each(|name| fs::write(made(name), "").unwrap());
        sweep(folder.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".hidden", "file"]);
    }

    /// Also where others write the same file at the same time.
    #[test]
    fn what_a_killed_process_left_goes_when_the_file_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        for left in [".writing-report.md-abcdef", ".writing-other.md-abcdef"] {
            fs::write(folder.path().join(left), "half").unwrap();
        }
        let write = |text: &str| write_atomically(&path, |e| e, |file| file.write_all(text.as_bytes()));
        std::thread::scope(|scope| {
            for text in ["first", "second", "third", "fourth"] {
                scope.spawn(move || (0..100).for_each(|_| write(text).unwrap()));
            }
        });
        assert!(["first", "second", "third", "fourth"].contains(&&*fs::read_to_string(&path).unwrap()));
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".writing-other.md-abcdef", "report.md"]);
    }

    #[test]
    fn what_a_killed_process_left_goes_when_the_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.npy");
        let [left, written] =
            ["abc", "def"].map(|end| folder.path().join(format!(".writing-order.npy-{end}")));
        fs::write(&left, "half").unwrap();
        let writer = File::create(&written).unwrap();
        writer.lock().unwrap();
        clear_unfinished(&path).unwrap();
        assert!(!left.exists() && written.exists(), "what somebody writes stays");
        drop(writer);
        clear_unfinished(&path).unwrap();
        assert!(!written.exists());
    }

    #[test]
    fn links_stay_and_their_targets_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, second) =
            (folder.path().join("file"), folder.path().join("link"), folder.path().join("second"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        std::os::unix::fs::symlink(&link, &second).unwrap();
        // First a link to nothing, then to a file.
        for text in ["one", "two"] {
            write_atomically(&second, |e| e, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert!(link.is_symlink() && second.is_symlink());
        }
        write_atomically(Path::new("/dev/null"), |e| e, |out| out.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
        assert!(destination(&folder.path().join("circle")).is_err());
    }
}
