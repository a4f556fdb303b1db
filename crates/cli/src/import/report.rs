//! What an import tells: the lines that were refused, and the sum.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use plimsoll_client::wire::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::state::Progress;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

/// More refused lines than this are counted but not shown.
const SHOWN_MAX: u64 = 20;

/// A line that was refused.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Refusal {
    /// Its number in the file, from 1.
    pub(super) line: u64,
    transition_id: Option<String>,
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    content: Option<Bytes>,
    #[serde(skip)]
    exit: Exit,
}

impl Refusal {
    pub(super) fn new(line: u64, content: &Bytes, status: u16, problem: &Problem) -> Self {
        #[derive(Deserialize)]
        struct Named {
            transition_id: String,
        }
        let named = serde_json::from_slice::<Named>(content).ok();
        Self {
            transition_id: named.map(|named| named.transition_id),
            status,
            content: Some(content.clone()),
            ..Self::unsendable(line, problem)
        }
    }

    /// A line that is too large to be kept.
    pub(super) fn unsendable(line: u64, problem: &Problem) -> Self {
        Self {
            line,
            transition_id: None,
            status: problem.status,
            kind: problem.kind.clone(),
            detail: problem.detail.clone(),
            field: problem.field.clone(),
            content: None,
            exit: Exit::of_problem(problem),
        }
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.exit == Exit::Conflict
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.remark_or(self, || {
            let transition_id = self.transition_id.as_deref().unwrap_or("no transition_id");
            let field = self.field.as_ref().map(|field| format!(" ({field})")).unwrap_or_default();
            format!("line {}, {transition_id}: {} {}: {}{field}", self.line, self.status, self.kind, self.detail)
        });
    }
}

/// Where refused lines go.
pub(super) struct Report {
    file: Option<BufWriter<File>>,
    /// A pipe or a device cannot be cut off, nor synced.
    is_regular: bool,
    length_bytes: u64,
    noted: u64,
}

impl Report {
    /// Begins a report, or goes on with the one of an interrupted import where its state ends: what was written after
    /// that is written again.
    pub(super) fn open(path: Option<&Path>, resumed_at: Option<u64>) -> Result<Self, Failure> {
        let length_bytes = resumed_at.unwrap_or_default();
        let Some(path) = path else {
            return Ok(Self { file: None, is_regular: false, length_bytes, noted: 0 });
        };
        let cannot = |error: io::Error| Failure::Config { detail: format!("cannot write {}: {error}", path.display()) };
        let mut file = File::options().create(true).write(true).truncate(false).open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let is_regular = metadata.is_file();
        if is_regular {
            if metadata.len() < length_bytes {
                return Err(Failure::Config {
                    detail: format!(
                        "{} is not what the import has left: it is shorter than {length_bytes} bytes\n  \
                         Name the file that the import began with, or none.",
                        path.display()
                    ),
                });
            }
            file.set_len(length_bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(cannot)?;
        }
        Ok(Self { file: Some(BufWriter::new(file)), is_regular, length_bytes, noted: 0 })
    }

    /// Takes note of a refusal, and shows it if there are not too many.
    pub(super) fn note(&mut self, refusal: &Refusal, show: impl FnOnce(&Refusal)) -> Result<(), Failure> {
        if let (Some(file), Some(content)) = (&mut self.file, &refusal.content) {
            file.write_all(content).and_then(|()| file.write_all(b"\n")).context(CANNOT_WRITE)?;
            self.length_bytes += content.len() as u64 + 1;
        }
        self.noted += 1;
        if self.noted <= SHOWN_MAX {
            show(refusal);
        }
        Ok(())
    }

    /// Says how many refused lines were not shown.
    pub(super) fn conclude(&self, printer: &mut Printer) {
        if self.noted > SHOWN_MAX {
            let hidden = self.noted - SHOWN_MAX;
            printer.remark(&format!("{hidden} more refused lines are not shown; --refused FILE keeps them all."));
        }
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            file.flush().context(CANNOT_WRITE)?;
        }
        Ok(())
    }

    /// Brings what was written to the disk; gives the length of all of it.
    pub(super) fn sync(&mut self) -> Result<u64, Failure> {
        self.flush()?;
        if let Some(file) = self.file.as_ref().filter(|_| self.is_regular) {
            file.get_ref().sync_data().context(CANNOT_WRITE)?;
        }
        Ok(self.length_bytes)
    }
}

const CANNOT_WRITE: &str = "cannot write the file of refused lines";

/// Prints the sum over all runs, and the speed of this one.
pub(super) fn print_summary(
    progress: &Progress,
    lines_now: u64,
    elapsed: Duration,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let Progress { position, accepted, repeated, refused, conflicts, .. } = progress;
    let lines = position.lines;
    let rate = per_second(lines_now, elapsed);
    let seconds = elapsed.as_secs_f64();
    let value = json!({
        "lines": lines, "accepted": accepted, "repeated": repeated, "refused": refused, "conflicts": conflicts,
        "seconds": seconds, "lines_per_second": rate,
    });
    printer.answer(&value, || {
        let conflicting = if *conflicts > 0 { format!(", {conflicts} of them conflicts") } else { String::new() };
        format!(
            "imported {lines} lines in {seconds:.1} s ({rate} a second): \
             {accepted} accepted, {repeated} repeated, {refused} refused{conflicting}"
        )
    })
}

/// Lines a second, whole.
pub(super) fn per_second(lines: u64, elapsed: Duration) -> u64 {
    let milliseconds = elapsed.as_millis().max(1);
    u64::try_from(u128::from(lines) * 1000 / milliseconds).unwrap_or(u64::MAX)
}
