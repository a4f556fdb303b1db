//! `plimsoll import`.
//!
//! The file is posted in chunks, one request at a time, so that a retry is small and order is kept. After each chunk
//! the state file, if there is one, says how far it came. Every way of doing it twice is harmless: a transition is named
//! by its id, and the state is written after what it tells.

mod report;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_client::wire::http::v1::BatchBody;
use plimsoll_client::{BatchFailure, Client, RetryPolicy};

use crate::arguments::ImportArguments;
use crate::commands::is_standard_input;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use report::{Refusal, Report};
use source::{Chunk, Source};
use state::State;

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
    url: &str,
    printer: &mut Printer,
) -> Result<(), Failure> {
    if arguments.resume.is_some() && is_standard_input(&arguments.file) {
        return Err(Failure::Config {
            detail: "--resume needs a file: standard input cannot be read twice".to_owned(),
        });
    }
    let found = arguments.resume.as_deref().map(State::load).transpose()?.flatten();
    let mut source = Source::open(&arguments.file)?;
    let mut state = match &found {
        Some(found) => {
            found.check_url(url)?;
            source.skip_to(found)?;
            printer.remark(&format!("Going on after line {}.", found.lines));
            found.clone()
        }
        None => State::new(url),
    };
    let mut report = Report::open(arguments.refused.as_deref(), found.is_some())?;
    let bar = progress_bar(source.length_bytes(), state.offset_bytes);
    let (began, lines_before) = (Instant::now(), state.lines);
    while let Some(chunk) = source.next_chunk()? {
        if let Err(failure) = post_chunk(client, &chunk, &mut state, &mut report, &bar, printer).await {
            bar.abandon();
            printer.remark(&format!(
                "plimsoll: stopped after line {}; running it again{} is safe.",
                state.lines,
                if arguments.resume.is_some() { " goes on from there and" } else { "" }
            ));
            return Err(failure);
        }
        source.mark(&mut state);
        report.flush()?;
        if let Some(file) = &arguments.resume {
            state.save(file)?;
        }
        show_progress(&bar, &state, state.lines - lines_before, began.elapsed());
    }
    bar.finish_and_clear();
    report.conclude(printer);
    report::print_summary(&state, state.lines - lines_before, began.elapsed(), printer)?;
    match (state.refused, state.conflicts) {
        (0, _) => Ok(()),
        (refused, conflicts) if refused == conflicts => Err(Failure::Lines(Exit::Conflict)),
        _ => Err(Failure::Lines(Exit::Refused)),
    }
}

/// Posts a chunk and counts its answers.
async fn post_chunk(
    client: &Client,
    chunk: &Chunk,
    state: &mut State,
    report: &mut Report,
    bar: &ProgressBar,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let answers = client.post_batch(&chunk.lines).await.map_err(|failure| {
        let BatchFailure { error, .. } = *failure;
        Failure::request(format!("import lines {} to {}", chunk.first_line, chunk.last_line))(error)
    })?;
    let mut refusals = Vec::new();
    for ((answer, line), number) in answers.into_iter().zip(&chunk.lines).zip(&chunk.numbers) {
        match answer {
            answer if answer.status == 200 => state.repeated += 1,
            answer if answer.status == 201 => state.accepted += 1,
            answer => {
                let BatchBody::Problem(problem) = answer.body else { continue };
                refusals.push(Refusal::new(*number, line, answer.status, &problem));
            }
        }
    }
    refusals.extend(chunk.unsendable.iter().cloned());
    refusals.sort_by_key(|refusal| refusal.line);
    for refusal in refusals {
        state.refused += 1;
        state.conflicts += u64::from(refusal.is_conflict());
        report.note(&refusal, |refusal| bar.suspend(|| refusal.print(printer)))?;
    }
    Ok(())
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

fn show_progress(bar: &ProgressBar, state: &State, lines: u64, elapsed: Duration) {
    let rate = report::per_second(lines, elapsed);
    bar.set_message(format!("{} lines, {} refused, {rate} lines a second", state.lines, state.refused));
    bar.set_position(state.offset_bytes);
}
