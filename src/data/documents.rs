//! Documents of a text file one after another: a text may be larger than memory, a document is not.
//!
//! Invariant: every reading of a file gives at least one document and none that is blank, or an error that names the
//! file and, where there is one, the line.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read as _};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::text_format::{CorpusError, END_OF_TEXT, Format, refuse_stand_in};

/// Documents that can be gone through as often as they are needed.
#[derive(Debug)]
pub(super) enum Documents {
    /// Generated ones, and those of a source that cannot be read twice.
    Held(Vec<String>),
    /// Those of a file, which is read again every time.
    File(PathBuf, Format),
}

/// A document, or what stands in its way.
pub(super) type Text<'a> = Result<Cow<'a, str>, CorpusError>;

impl Documents {
    /// The documents of a file, whose name says how they are separated.
    pub(super) fn of(path: &Path) -> Result<Self, CorpusError> {
        let format = Format::detect(path)?;
        match fs::metadata(path) {
            // A pipe cannot be read again.
            Ok(found) if !found.is_file() => {
                Ok(Self::Held(DocumentReader::open(path, format)?.collect::<Result<_, _>>()?))
            }
            // What is wrong with the first is said at once.
            _ => match DocumentReader::open(path, format)?.next() {
                Some(Err(error)) => Err(error),
                _ => Ok(Self::File(path.to_owned(), format)),
            },
        }
    }

    /// Each of them in order.
    pub(super) fn each(&self) -> Box<dyn Iterator<Item = Text<'_>> + Send + '_> {
        match self {
            Self::Held(documents) => Box::new(documents.iter().map(|text| Ok(Cow::from(text)))),
            Self::File(path, format) => match DocumentReader::open(path, *format) {
                Ok(reader) => Box::new(reader.map(|text| text.map(Cow::from))),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
        }
    }

    /// Whether it is known already that there are none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Held(documents) if documents.is_empty())
    }

    /// Bytes of text, about.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Held(documents) => documents.iter().map(|text| text.len() as u64).sum(),
            Self::File(path, _) => fs::metadata(path).map_or(0, |found| found.len()),
        }
    }
}

/// The documents of a file as they are read.
pub(super) struct DocumentReader {
    format: Format,
    lines: Peekable<Lines>,
    path: PathBuf,
    /// The line that was read last, counted from one.
    line: usize,
    /// Whether it was blank, or there was none.
    after_blank: bool,
    /// A heading that opens the next document.
    heading: String,
    headings: usize,
    documents: usize,
    ended: bool,
}

impl DocumentReader {
    pub(super) fn open(path: &Path, format: Format) -> Result<Self, CorpusError> {
        if path.is_dir() {
            return Err(CorpusError::IsFolder(path.to_owned()));
        }
        Ok(Self {
            format,
            lines: Lines::open(path)?.peekable(),
            path: path.to_owned(),
            line: 0,
            after_blank: true,
            heading: String::new(),
            headings: 0,
            documents: 0,
            ended: false,
        })
    }

    fn next_line(&mut self) -> Option<Result<String, CorpusError>> {
        let line = self.lines.next()?;
        self.line += 1;
        Some(line)
    }

    /// The next document, be it blank; none where the file ends.
    fn document(&mut self) -> Result<Option<String>, CorpusError> {
        let mut text = std::mem::take(&mut self.heading);
        let mut any = !text.is_empty();
        while let Some(line) = self.next_line() {
            let line = line?;
            any = true;
            let opens = self.format == Format::WikiText && self.is_heading(&line);
            match self.format {
                Format::JsonLines if line.trim().is_empty() => continue,
                Format::JsonLines => return self.json(&line).map(Some),
                Format::Text if line.trim() == END_OF_TEXT => return Ok(Some(text)),
                Format::WikiText if opens => {
                    self.headings += 1;
                    self.after_blank = false;
                    self.heading = line + "\n";
                    return Ok(Some(text));
                }
                Format::Text | Format::WikiText => {
                    self.after_blank = line.trim().is_empty();
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        Ok(any.then_some(text))
    }

    fn json(&self, line: &str) -> Result<String, CorpusError> {
        #[derive(Deserialize)]
        struct JsonDocument {
            text: String,
        }
        let read = serde_json::from_str(line).map(|line: JsonDocument| line.text);
        read.map_err(|source| CorpusError::BadLine { path: self.path.clone(), line: self.line, source })
    }

    /// A level-1 heading stands between blank lines, which tells it from a line of text such as "= x =".
    fn is_heading(&mut self, line: &str) -> bool {
        let inner = line.trim().strip_prefix("= ").and_then(|rest| rest.strip_suffix(" ="));
        let title = inner.is_some_and(|inner| !inner.starts_with("= ") && !inner.ends_with(" ="));
        title
            && self.after_blank
            && self.lines.peek().is_none_or(|next| next.as_ref().is_ok_and(|next| next.trim().is_empty()))
    }
}

impl Iterator for DocumentReader {
    type Item = Result<String, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let found = loop {
            match self.document() {
                Ok(Some(text)) if text.trim().is_empty() => continue,
                Ok(Some(text)) => break Ok(Some(text)),
                other => break other,
            }
        };
        match found {
            // Text before the first heading is a document by itself, and the last line may have been the first heading.
            Ok(Some(text)) => {
                let headless = self.format == Format::WikiText && self.headings == 0;
                self.documents += 1;
                self.ended = headless;
                Some(if headless { Err(CorpusError::NoHeading(self.path.clone())) } else { Ok(text) })
            }
            Ok(None) => {
                self.ended = true;
                (self.documents == 0).then(|| Err(CorpusError::Empty(self.path.clone())))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// How much of a file is looked at to tell whether something else stands in the place of the text.
const START: u64 = 200;

/// Lines of UTF-8, without their ends and without the byte-order mark that some editors put before a text.
struct Lines {
    path: PathBuf,
    from: Chain<Cursor<Vec<u8>>, BufReader<File>>,
    line: usize,
    bytes: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, CorpusError> {
        let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut start = Vec::new();
        file.by_ref().take(START).read_to_end(&mut start).map_err(unreadable)?;
        refuse_stand_in(path, &start)?;
        if start.starts_with("\u{feff}".as_bytes()) {
            start.drain(.."\u{feff}".len());
        }
        Ok(Self { path: path.to_owned(), from: Cursor::new(start).chain(file), line: 0, bytes: Vec::new() })
    }

    fn read(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        Ok(self.from.read_until(b'\n', &mut self.bytes)? > 0)
    }
}

impl Iterator for Lines {
    type Item = Result<String, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(false) => return None,
            Ok(true) => self.line += 1,
            Err(source) => return Some(Err(CorpusError::Unreadable { path: self.path.clone(), source })),
        }
        let line =
            self.bytes.strip_suffix(b"\n").map_or(&*self.bytes, |l| l.strip_suffix(b"\r").unwrap_or(l));
        Some(str::from_utf8(line).map(str::to_owned).map_err(|error| {
            let byte = line.get(error.valid_up_to()).copied().unwrap_or_default();
            CorpusError::NotText { path: self.path.clone(), line: self.line, byte }
        }))
    }
}
