//! The file an import reads, in chunks, in bounded memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use plimsoll_client::wire::problem::{Kind, Problem};

use super::report::Refusal;
use super::state::State;
use crate::commands::{is_standard_input, open};
use crate::failure::Failure;

/// Lines a request: enough for the node to commit them in groups, few enough for a retry to be small.
const CHUNK_LINES: usize = 2_000;

/// A chunk ends early once it has this many bytes: lines may be 1 MiB each.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A node takes no longer line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Some lines of the file, in order.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    /// The lines to post, without their ends. Blank lines are left out.
    pub(super) lines: Vec<Bytes>,
    /// The number of each of them in the file, from 1.
    pub(super) numbers: Vec<u64>,
    /// The lines that cannot be posted.
    pub(super) unsendable: Vec<Refusal>,
}

/// Reads the file, and knows what of it was read.
pub(super) struct Source {
    reader: BufReader<Box<dyn Read>>,
    length_bytes: Option<u64>,
    offset_bytes: u64,
    lines: u64,
    digest: blake3::Hasher,
}

impl Source {
    pub(super) fn open(file: &Path) -> Result<Self, Failure> {
        let reader = open(file)?;
        let metadata = if is_standard_input(file) { None } else { File::open(file).and_then(|f| f.metadata()).ok() };
        Ok(Self::new(reader, metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())))
    }

    pub(super) fn new(reader: Box<dyn Read>, length_bytes: Option<u64>) -> Self {
        let reader = BufReader::with_capacity(256 * 1024, reader);
        Self { reader, length_bytes, offset_bytes: 0, lines: 0, digest: blake3::Hasher::new() }
    }

    pub(super) const fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// Reads over what was imported before; refuses a file that has changed there.
    pub(super) fn skip_to(&mut self, state: &State) -> Result<(), Failure> {
        while self.offset_bytes < state.offset_bytes {
            let buffer = self.reader.fill_buf().context("cannot read the file")?;
            if buffer.is_empty() {
                break;
            }
            let left = usize::try_from(state.offset_bytes - self.offset_bytes).unwrap_or(usize::MAX);
            let taken = buffer.len().min(left);
            self.digest.update(&buffer[..taken]);
            self.reader.consume(taken);
            self.offset_bytes += taken as u64;
        }
        if self.offset_bytes != state.offset_bytes || self.digest.finalize().to_hex().as_str() != state.digest {
            return Err(Failure::Config {
                detail: format!(
                    "the file has changed in its first {} bytes, which were imported before\n  \
                     Remove the state file to import it from the start: that is safe.",
                    state.offset_bytes
                ),
            });
        }
        self.lines = state.lines;
        Ok(())
    }

    /// Notes in a state how far the file was read.
    pub(super) fn mark(&self, state: &mut State) {
        state.offset_bytes = self.offset_bytes;
        state.lines = self.lines;
        state.digest = self.digest.finalize().to_hex().to_string();
    }

    /// The next lines; `None` at the end.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, Failure> {
        let mut chunk = Chunk {
            first_line: self.lines + 1,
            last_line: self.lines,
            lines: Vec::new(),
            numbers: Vec::new(),
            unsendable: Vec::new(),
        };
        let mut bytes = 0;
        let mut line = Vec::new();
        for _ in 0..CHUNK_LINES {
            if bytes >= CHUNK_BYTES {
                break;
            }
            line.clear();
            let is_whole = self.read_line(&mut line).context("cannot read the file")?;
            if line.is_empty() {
                break;
            }
            chunk.last_line = self.lines;
            let content = line.trim_ascii();
            if !is_whole {
                let problem = Problem::new(Kind::TooLarge, "the line is larger than 1 MiB");
                chunk.unsendable.push(Refusal::unsendable(self.lines, &problem));
            } else if !content.is_empty() {
                bytes += content.len();
                chunk.lines.push(Bytes::copy_from_slice(content));
                chunk.numbers.push(self.lines);
            }
        }
        Ok((chunk.last_line >= chunk.first_line).then_some(chunk))
    }

    /// Reads a line with its end into an empty buffer; tells whether it is there whole, or only its beginning.
    fn read_line(&mut self, line: &mut Vec<u8>) -> std::io::Result<bool> {
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', line)?;
        if read == 0 {
            return Ok(true);
        }
        self.digest.update(line);
        self.offset_bytes += read as u64;
        self.lines += 1;
        let is_whole = line.last() == Some(&b'\n') || line.len() <= LINE_BYTES_MAX;
        if !is_whole {
            self.skip_line()?;
        }
        Ok(is_whole)
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.digest.update(&buffer[..taken]);
            self.reader.consume(taken);
            self.offset_bytes += taken as u64;
            if end.is_some() {
                return Ok(());
            }
        }
    }
}
