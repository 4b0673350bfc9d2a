//! The writing half of `cache`: tokens of any number of documents, as they come, in a file that grows.
//!
//! Invariant: ids reach the disk only after a check against the vocabulary, and the file gets its name when its header,
//! which holds the digest of the payload, is written over a page kept free for it. Until then a second file says where
//! documents end, and only of such tokens as are on the disk already: whoever comes after a killed process goes on
//! behind the last of them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::token_format::{CacheError, Header, MAGIC, PAGE, VERSION, tokens_bytes};
use super::tokenizer::Tokenizer;
use crate::files::{WRITING, folder_of, hex, is_at};

/// Bytes of tokens after which they are made sure of: as much is encoded again after a kill.
const KEEP: usize = 64 << 20;

/// Writes the payload as it comes and the header, which needs its digest, last.
pub(super) struct TokenWriter<'a> {
    path: &'a Path,
    /// The growing file, and where its documents end.
    growing: [PathBuf; 2],
    tokens: BufWriter<File>,
    ends: BufWriter<File>,
    header: Header,
    /// Ends of documents that are not written yet, because their tokens may not be on the disk.
    pending: Vec<u64>,
    /// Documents that a killed process would leave.
    kept: usize,
    payload: Sha256,
    keep: usize,
}

impl<'a> TokenWriter<'a> {
    /// Goes on with what a killed process left, or begins.
    pub(super) fn begin(path: &'a Path, source: &str, tokenizer: &Tokenizer) -> Result<Self, CacheError> {
        Self::keeping(path, source, tokenizer, KEEP)
    }

    fn keeping(path: &'a Path, source: &str, tokenizer: &Tokenizer, keep: usize) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io { path: path.to_owned(), source };
        let vocab_size = tokenizer.vocab_size();
        let header = Header {
            tokenizer: tokenizer.digest().to_owned(),
            source: source.to_owned(),
            vocab_size,
            tokens: 0,
            documents: 0,
            width: if vocab_size <= usize::from(u16::MAX) + 1 { 2 } else { 4 },
            payload: String::new(),
        };
        fs::create_dir_all(folder_of(path)).map_err(io)?;
        let (growing, tokens) = own(path).map_err(io)?;
        let ends = open(&growing[1]).map_err(io)?;
        let [tokens, ends] = [tokens, ends].map(|file| BufWriter::with_capacity(1 << 20, file));
        let (pending, payload) = (Vec::new(), Sha256::new());
        let mut writer = Self { path, growing, tokens, ends, header, pending, kept: 0, payload, keep };
        if !writer.go_on().map_err(io)? {
            writer.start().map_err(io)?;
        }
        Ok(writer)
    }

    /// Documents that are there already.
    pub(super) fn documents(&self) -> usize {
        self.header.documents
    }

    /// What the first page holds while the file grows.
    fn label(&self) -> Vec<u8> {
        let mut page = format!("growing {} {}", self.header.tokenizer, self.header.source).into_bytes();
        page.resize(PAGE, 0);
        page
    }

    fn start(&mut self) -> io::Result<()> {
        for file in [&mut self.tokens, &mut self.ends] {
            file.get_ref().set_len(0)?;
            file.rewind()?;
        }
        self.tokens.write_all(&self.label())
    }

    /// Takes over what is there, where it is of this text and tokenizer.
    fn go_on(&mut self) -> io::Result<bool> {
        let length = self.tokens.get_ref().metadata()?.len();
        let mut page = Vec::new();
        self.tokens.get_ref().take(PAGE as u64).read_to_end(&mut page)?;
        if page != self.label() {
            return Ok(false);
        }
        let width = self.header.width as u64;
        let mut ends = BufReader::new(self.ends.get_ref());
        let (mut documents, mut tokens, mut end) = (0, 0, [0; 8]);
        while ends.read_exact(&mut end).is_ok() {
            let end = u64::from_le_bytes(end);
            let there = end > tokens && end.saturating_mul(width).saturating_add(PAGE as u64) <= length;
            if !there {
                break;
            }
            (documents, tokens) = (documents + 1, end);
        }
        for (file, length) in [(&self.tokens, PAGE as u64 + tokens * width), (&self.ends, documents * 8)] {
            file.get_ref().set_len(length)?;
        }
        self.tokens.seek(SeekFrom::Start(PAGE as u64))?;
        let payload = &mut self.payload;
        pieces(self.tokens.get_ref(), |bytes| {
            payload.update(bytes);
            Ok(())
        })?;
        self.ends.seek(SeekFrom::End(0))?;
        self.header.documents = documents as usize;
        self.header.tokens = tokens as usize;
        self.kept = self.header.documents;
        Ok(true)
    }

    /// Appends a document and the end-of-text token after it.
    pub(super) fn document(&mut self, ids: &[u32], eot: u32) -> Result<(), CacheError> {
        let mut bytes = Vec::with_capacity((ids.len() + 1) * self.header.width);
        for (i, &id) in ids.iter().chain([&eot]).enumerate() {
            if id as usize >= self.header.vocab_size {
                let (path, vocab_size) = (self.path.to_owned(), self.header.vocab_size);
                let position = self.header.tokens + i;
                return Err(CacheError::OutsideVocabulary { path, position, id, vocab_size });
            }
            bytes.extend_from_slice(&id.to_le_bytes()[..self.header.width]);
        }
        let before = self.header.tokens * self.header.width / self.keep;
        self.header.tokens += ids.len() + 1;
        self.header.documents += 1;
        self.pending.push(self.header.tokens as u64);
        self.hashed(&bytes).map_err(|source| self.io(source))?;
        if self.header.tokens * self.header.width / self.keep > before {
            self.keep().map_err(|source| self.io(source))?;
        }
        Ok(())
    }

    /// Makes sure of what there is.
    fn keep(&mut self) -> io::Result<()> {
        self.tokens.flush()?;
        self.tokens.get_ref().sync_data()?;
        for end in self.pending.drain(..) {
            self.ends.write_all(&end.to_le_bytes())?;
        }
        self.ends.flush()?;
        self.ends.get_ref().sync_data()?;
        self.kept = self.header.documents;
        Ok(())
    }

    /// Completes the file, which then has its name.
    pub(super) fn finish(mut self) -> Result<(), CacheError> {
        if self.header.documents == 0 {
            return Err(CacheError::Empty(self.path.to_owned()));
        }
        self.complete().map_err(|source| self.io(source))
    }

    fn complete(&mut self) -> io::Result<()> {
        let written = self.header.tokens * self.header.width;
        self.hashed(&vec![0; tokens_bytes(&self.header) - written])?;
        self.hashed(&[0; 8])?;
        self.ends.flush()?;
        self.ends.rewind()?;
        let (payload, tokens) = (&mut self.payload, &mut self.tokens);
        pieces(self.ends.get_ref(), |bytes| {
            payload.update(bytes);
            tokens.write_all(bytes)
        })?;
        for end in std::mem::take(&mut self.pending) {
            self.hashed(&end.to_le_bytes())?;
        }
        self.header.payload = hex(std::mem::take(&mut self.payload));
        let json = serde_json::to_vec(&self.header)?;
        let length = json.len() as u32;
        let mut page = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes(), &json].concat();
        page.resize(PAGE, 0);
        self.tokens.rewind()?;
        self.tokens.write_all(&page)?;
        self.tokens.flush()?;
        self.tokens.get_ref().sync_all()?;
        fs::rename(&self.growing[0], self.path)?;
        fs::remove_file(&self.growing[1])?;
        // Nothing is left to be removed.
        self.kept = self.header.documents;
        Ok(())
    }

    fn hashed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.payload.update(bytes);
        self.tokens.write_all(bytes)
    }

    fn io(&self, source: io::Error) -> CacheError {
        CacheError::Io { path: self.path.to_owned(), source }
    }
}

impl Drop for TokenWriter<'_> {
    fn drop(&mut self) {
        if self.kept == 0 {
            // Nothing that would save anybody time; what cannot be removed does no harm.
            self.growing.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

/// The rest of a file, piece by piece.
fn pieces(mut file: &File, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(()),
            read => each(&bytes[..read])?,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// A growing file that nobody else writes: the one of this name, or where somebody does, or nobody can know, one of a
/// name that is used once.
fn own(path: &Path) -> io::Result<([PathBuf; 2], File)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default();
    let named = |before: &str| {
        ["", ".ends"].map(|after| {
            let mut whole = OsString::from(before);
            whole.push(name);
            whole.push(after);
            folder_of(path).join(whole)
        })
    };
    let growing = named("growing-");
    loop {
        let file = open(&growing[0])?;
        if file.try_lock().is_err() {
            break;
        }
        // Until it was locked another may have completed it.
        if is_at(&file, &growing[0])? {
            return Ok((growing, file));
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let growing = named(&format!("{WRITING}{}-{number}-", std::process::id()));
    let file = open(&growing[0])?;
    Ok((growing, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cache::TokenFile;

    const DOCUMENTS: usize = 40;

    fn ids(i: usize) -> Vec<u32> {
        (0..i as u32 % 7).collect()
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(&["text"], 257).unwrap()
    }

    /// Writes documents from where the writer is up to one of them.
    fn write(writer: &mut TokenWriter<'_>, to: usize) {
        (writer.documents()..to).for_each(|i| writer.document(&ids(i), 256).unwrap());
    }

    fn whole(folder: &Path) -> Vec<u8> {
        let path = folder.join("whole");
        let tokenizer = tokenizer();
        let mut writer = TokenWriter::begin(&path, "text", &tokenizer).unwrap();
        write(&mut writer, DOCUMENTS);
        writer.finish().unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn a_killed_writer_is_gone_on_with_byte_for_byte() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
        let (expected, path) = (whole(folder.path()), folder.path().join("a.tokens"));
        let begin = |source| TokenWriter::keeping(&path, source, &tokenizer, 32).unwrap();
        for stop in [3, 11, 29] {
            let mut writer = begin("text");
            let behind = writer.documents();
            write(&mut writer, stop);
            // Tokens beyond the last end are on the disk too, as after a kill.
            writer.tokens.flush().unwrap();
            assert!(writer.kept <= stop && writer.kept >= behind);
            drop(writer);
        }
        let kept = begin("text").documents();
        assert!((12..=29).contains(&kept), "{kept}");
        assert!(!path.exists());
        let mut writer = begin("text");
        write(&mut writer, DOCUMENTS);
        writer.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
        TokenFile::open(&path).unwrap();
    }

    #[test]
    fn what_is_of_another_text_or_damaged_is_begun_again() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
        let path = folder.path().join("a.tokens");
        let left = |source| {
            let mut writer = TokenWriter::keeping(&path, source, &tokenizer, 32).unwrap();
            let behind = writer.documents();
            write(&mut writer, 30);
            behind
        };
        assert_eq!(left("one text"), 0);
        assert_eq!(left("another"), 0);
        let kept = left("another");
        assert!(kept > 12);
        let [tokens, ends] =
            ["growing-a.tokens", "growing-a.tokens.ends"].map(|name| folder.path().join(name));
        // What a lost write leaves: zeros, or less than was promised.
        let mut zeros = fs::read(&ends).unwrap();
        zeros[80..].fill(0);
        fs::write(&ends, &zeros).unwrap();
        assert_eq!(left("another"), 10);
        let length = fs::metadata(&tokens).unwrap().len();
        File::options().write(true).open(&tokens).unwrap().set_len(PAGE as u64 + 20).unwrap();
        assert!(left("another") < 10 && length > PAGE as u64 + 20);
        fs::write(&tokens, "").unwrap();
        assert_eq!(left("another"), 0);
    }

    #[test]
    fn two_writers_do_not_meet() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
        let (expected, path) = (whole(folder.path()), folder.path().join("a.tokens"));
        let begin = || TokenWriter::keeping(&path, "text", &tokenizer, 32).unwrap();
        let (mut one, mut two) = (begin(), begin());
        write(&mut one, 20);
        write(&mut two, DOCUMENTS);
        write(&mut one, DOCUMENTS);
        for writer in [two, one] {
            writer.finish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), expected);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
    }
}
