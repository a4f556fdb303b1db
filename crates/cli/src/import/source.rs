//! The file an import reads, in chunks, in bounded memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;

use super::state::Position;
use crate::commands::{is_standard_input, open};
use crate::failure::Failure;

/// Lines a request, as many as the client takes: between two requests the node waits for the client, some 7 ms each time,
/// and a retry sends only what was not answered.
const CHUNK_LINES: u64 = plimsoll_client::BATCH_LINES_MAX as u64;

/// A chunk ends early once it has this many bytes: lines may be 1 MiB each.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A node takes no longer line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A place in the file: between two lines, but for the file's end.
#[derive(Debug, Clone, Default)]
struct Place {
    offset_bytes: u64,
    lines: u64,
    digest: blake3::Hasher,
}

impl Place {
    fn pass(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.offset_bytes += bytes.len() as u64;
    }

    fn position(&self) -> Position {
        let digest = self.digest.finalize().to_hex().to_string();
        Position { offset_bytes: self.offset_bytes, lines: self.lines, digest }
    }
}

/// A line that is not blank.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number in the file, from 1.
    pub(super) number: u64,
    /// What to post, without its end; `None` where it is longer than a node takes.
    pub(super) text: Option<Bytes>,
    /// Where it begins in the chunk.
    start: usize,
}

/// Some lines of the file, in order.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) lines: Vec<Line>,
    begin: Place,
    end: Place,
    /// The bytes from the beginning to the end, but for a line that is too long: that one is the last.
    raw: Bytes,
    /// The last line has no end: whoever writes the file may not be done with it.
    is_open: bool,
}

impl Chunk {
    /// What is to be posted.
    pub(super) fn texts(&self) -> Vec<Bytes> {
        self.lines.iter().filter_map(|line| line.text.clone()).collect()
    }

    /// The number of the last line, be it blank.
    pub(super) const fn last_line(&self) -> u64 {
        self.end.lines
    }

    /// Whether the last line has no end.
    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether this is a line without an end.
    pub(super) const fn is_open_at(&self, index: usize) -> bool {
        self.is_open && index + 1 == self.lines.len()
    }

    /// The position before one of the lines.
    pub(super) fn before(&self, index: usize) -> Position {
        let line = &self.lines[index];
        let mut place = self.begin.clone();
        place.pass(&self.raw[..line.start]);
        place.lines = line.number - 1;
        place.position()
    }

    /// The position after all of them.
    pub(super) fn end(&self) -> Position {
        self.end.position()
    }
}

/// What was found where a line was looked for.
enum Found {
    Nothing,
    Whole,
    TooLong,
}

/// Reads the file, and knows what of it was read.
pub(super) struct Source {
    reader: BufReader<Box<dyn Read>>,
    length_bytes: Option<u64>,
    place: Place,
    /// The end of the file was seen. What is written after that is for another run.
    is_ended: bool,
}

impl Source {
    pub(super) fn open(file: &Path) -> Result<Self, Failure> {
        let reader = open(file)?;
        let metadata = if is_standard_input(file) { None } else { File::open(file).and_then(|f| f.metadata()).ok() };
        Ok(Self::new(reader, metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())))
    }

    pub(super) fn new(reader: Box<dyn Read>, length_bytes: Option<u64>) -> Self {
        let reader = BufReader::with_capacity(256 * 1024, reader);
        Self { reader, length_bytes, place: Place::default(), is_ended: false }
    }

    pub(super) const fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// Reads over what was imported before; refuses a file that has changed there.
    pub(super) fn skip_to(&mut self, position: &Position) -> Result<(), Failure> {
        while self.place.offset_bytes < position.offset_bytes {
            let buffer = self.reader.fill_buf().context("cannot read the file")?;
            if buffer.is_empty() {
                break;
            }
            let left = usize::try_from(position.offset_bytes - self.place.offset_bytes).unwrap_or(usize::MAX);
            let taken = buffer.len().min(left);
            self.place.pass(&buffer[..taken]);
            self.reader.consume(taken);
        }
        self.place.lines = position.lines;
        if self.place.position() == *position {
            return Ok(());
        }
        Err(Failure::Config {
            detail: format!(
                "the file has changed in its first {} bytes, which were imported before\n  \
                 Put what is new into a file of its own, with a state file of its own.",
                position.offset_bytes
            ),
        })
    }

    /// The next lines; `None` at the end.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, Failure> {
        let begin = self.place.clone();
        let (mut raw, mut found, mut is_open) = (Vec::new(), Vec::new(), false);
        while !self.is_ended && self.place.lines - begin.lines < CHUNK_LINES && raw.len() < CHUNK_BYTES {
            let start = raw.len();
            match self.read_line(&mut raw).context("cannot read the file")? {
                Found::Nothing => break,
                Found::Whole if raw[start..].trim_ascii().is_empty() => {}
                Found::Whole => found.push((self.place.lines, start, Some(raw.len()))),
                Found::TooLong => {
                    found.push((self.place.lines, start, None));
                    is_open = self.is_ended;
                    break;
                }
            }
            is_open = self.is_ended;
        }
        let raw = Bytes::from(raw);
        let line = |(number, start, end): (u64, usize, Option<usize>)| {
            let text = end.map(|end| raw.slice_ref(raw[start..end].trim_ascii()));
            Line { number, text, start }
        };
        let lines = found.into_iter().map(line).collect();
        let is_empty = self.place.lines == begin.lines;
        Ok((!is_empty).then(|| Chunk { lines, begin, end: self.place.clone(), raw: raw.clone(), is_open }))
    }

    /// Reads a line with its end; one that is too long is left out. Blanks at the end of the file are no line.
    fn read_line(&mut self, raw: &mut Vec<u8>) -> std::io::Result<Found> {
        let start = raw.len();
        let limit = LINE_BYTES_MAX as u64 + 1;
        self.reader.by_ref().take(limit).read_until(b'\n', raw)?;
        let line = &raw[start..];
        let has_end = line.last() == Some(&b'\n');
        let is_whole = has_end || line.len() <= LINE_BYTES_MAX;
        self.is_ended = is_whole && !has_end;
        if self.is_ended && line.trim_ascii().is_empty() {
            raw.truncate(start);
            return Ok(Found::Nothing);
        }
        self.place.pass(line);
        self.place.lines += 1;
        if is_whole {
            return Ok(Found::Whole);
        }
        raw.truncate(start);
        self.skip_line()?;
        Ok(Found::TooLong)
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                self.is_ended = true;
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.place.pass(&buffer[..taken]);
            self.reader.consume(taken);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}
