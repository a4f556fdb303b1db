//! `plimsoll import`.
//!
//! The file is posted in chunks, one request at a time, so that a retry is small and order is kept. A line is done once
//! it was answered for good; the import ends at the first line that is not, for what follows may be of the same artifact
//! and must not overtake it. After each chunk the state file, if there is one, says how far it came.
//!
//! A line that was accepted may be posted again at any time. One that was refused may not, once a later transition of
//! its artifact was accepted: accepted now, it would be the newest. So what was answered is not posted again as long as
//! the state tells, and the state tells nothing that is not on the disk.
//!
//! With several nodes a chunk may go on at another one. A line that both have taken is one transition; one that was
//! refused is not posted again there either, for the client goes on behind it.

mod report;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_client::wire::http::v1::{BatchBody, BatchLine};
use plimsoll_client::wire::problem::{Kind, Problem};
use plimsoll_client::{BatchFailure, Client, RetryPolicy};

use crate::arguments::ImportArguments;
use crate::commands::is_standard_input;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use report::{Refusal, Report};
use source::{Chunk, Source};
use state::{Origin, Position, Progress, State};

/// A long import sits out a restart of the node.
pub(crate) const RETRY: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(10),
    budget: Duration::from_mins(5),
    attempts_max: const { NonZeroU32::new(60).expect("sixty is not zero") },
};

/// Imports a file.
pub(crate) async fn import(
    client: &Client,
    arguments: &ImportArguments,
    token: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    if arguments.resume.is_some() && is_standard_input(&arguments.file) {
        return Err(Failure::Config {
            detail: "--resume needs a file: standard input cannot be read twice".to_owned(),
        });
    }
    let found = arguments.resume.as_deref().map(State::load).transpose()?.flatten();
    let mut source = Source::open(&arguments.file)?;
    let (client, saved) = match &arguments.resume {
        None => (client.clone(), None),
        Some(file) => {
            let (narrowed, here) = Origin::ask(client, token).await?;
            for url in client.urls().filter(|url| narrowed.urls().all(|kept| kept != *url)) {
                printer.remark(&format!("plimsoll: {url} does not answer, and is left out."));
            }
            let origin = match &found {
                None => here,
                Some(found) => {
                    found.check_origin(&here, token)?;
                    source.skip_to(&found.progress.position)?;
                    printer.remark(&format!("Going on after line {}.", found.progress.position.lines));
                    found.origin.clone()
                }
            };
            (narrowed, Some(Saved { file, origin }))
        }
    };
    let report = Report::open(arguments.refused.as_deref(), found.as_ref().map(|found| found.progress.report_bytes))?;
    let progress = found.map(|found| found.progress).unwrap_or_default();
    let bar = progress_bar(source.length_bytes(), progress.position.offset_bytes);
    let (began, lines_before) = (Instant::now(), progress.position.lines);
    let mut import = Import { client, saved, progress, report, bar, printer };
    while let Some(chunk) = source.next_chunk()? {
        import.take(&chunk).await?;
        import.show_progress(lines_before, began.elapsed());
        import.show_notices();
    }
    import.conclude(lines_before, began.elapsed())
}

/// Where the state goes, and what it is bound to.
struct Saved<'a> {
    file: &'a Path,
    origin: Origin,
}

/// An import under way.
struct Import<'a> {
    client: Client,
    saved: Option<Saved<'a>>,
    progress: Progress,
    report: Report,
    bar: ProgressBar,
    printer: &'a mut Printer,
}

impl Import<'_> {
    /// Posts a chunk, counts its answers, and says how far that is.
    async fn take(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        match self.client.post_batch(&chunk.texts()).await {
            Ok(answers) => self.settle(chunk, answers.into_iter().map(Some)),
            Err(failure) => {
                let BatchFailure { answers, error } = *failure;
                self.settle(chunk, answers)?;
                self.bar.abandon();
                self.report.conclude(self.printer);
                let line = self.progress.position.lines + 1;
                self.printer.remark(&match self.saved {
                    Some(_) => format!("plimsoll: stopped at line {line}; the same command goes on there."),
                    None => format!("plimsoll: stopped at line {line}; what stands before it is done."),
                });
                Err(Failure::request(format!("import lines {line} to {}", chunk.last_line()))(error))
            }
        }
    }

    /// Takes note of the answers up to the first line that has none.
    fn settle(&mut self, chunk: &Chunk, answers: impl IntoIterator<Item = Option<BatchLine>>) -> Result<(), Failure> {
        let mut answers = answers.into_iter();
        for (index, line) in chunk.lines.iter().enumerate() {
            if chunk.is_open_at(index) {
                // It may be the beginning of a longer one: the state does not have it, nor what becomes of it.
                self.reach(chunk.before(index))?;
            }
            match &line.text {
                None => {
                    let problem = Problem::new(Kind::TooLarge, "the line is larger than 1 MiB");
                    self.refuse(&Refusal::unsendable(line.number, &problem))?;
                }
                Some(text) => match answers.next().flatten() {
                    None => return self.reach(chunk.before(index)),
                    Some(answer) => self.count(line.number, text, answer)?,
                },
            }
        }
        if chunk.is_open() {
            self.progress.position = chunk.end();
            return Ok(());
        }
        self.reach(chunk.end())
    }

    fn count(&mut self, number: u64, text: &Bytes, answer: BatchLine) -> Result<(), Failure> {
        match answer.body {
            BatchBody::Accepted(_) if answer.status == 201 => self.progress.accepted += 1,
            BatchBody::Accepted(_) => self.progress.repeated += 1,
            BatchBody::Problem(problem) => {
                self.refuse(&Refusal::new(number, text, answer.status, &problem))?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        self.progress.refused += 1;
        self.progress.conflicts += u64::from(refusal.is_conflict());
        self.report.note(refusal, |refusal| self.bar.suspend(|| refusal.print(self.printer)))
    }

    /// Says that all before `position` is done. The report goes to the disk first, so that the state never tells of a
    /// refused line that the report has lost.
    fn reach(&mut self, position: Position) -> Result<(), Failure> {
        self.progress.position = position;
        let Some(saved) = &self.saved else { return Ok(()) };
        self.progress.report_bytes = self.report.sync()?;
        State::new(saved.origin.clone(), self.progress.clone()).save(saved.file)
    }

    fn show_progress(&self, lines_before: u64, elapsed: Duration) {
        let Position { lines, offset_bytes, .. } = self.progress.position;
        let rate = report::per_second(lines - lines_before, elapsed);
        self.bar.set_message(format!("{lines} lines, {} refused, {rate} lines a second", self.progress.refused));
        self.bar.set_position(offset_bytes);
    }

    fn show_notices(&mut self) {
        self.bar.suspend(|| self.printer.show_notices());
    }

    fn conclude(mut self, lines_before: u64, elapsed: Duration) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.report.flush()?;
        self.report.conclude(self.printer);
        let lines_now = self.progress.position.lines - lines_before;
        report::print_summary(&self.progress, lines_now, elapsed, self.printer)?;
        match (self.progress.refused, self.progress.conflicts) {
            (0, _) => Ok(()),
            (refused, conflicts) if refused == conflicts => Err(Failure::Lines(Exit::Conflict)),
            _ => Err(Failure::Lines(Exit::Refused)),
        }
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(length_bytes: Option<u64>, position_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length_bytes, ProgressDrawTarget::stderr());
    let template = match length_bytes {
        Some(_) => "{bar:30} {percent:>3} %  {msg}  {eta} left",
        None => "{spinner} {bytes}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_position(position_bytes);
    bar.reset_eta();
    bar
}
