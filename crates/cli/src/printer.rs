//! The one place that writes to standard output and standard error.
//!
//! A pipe whose reader has left ends a command quietly: `plimsoll list --all | head` is not an error. In text, control
//! characters are written as escapes, so that what a node says cannot steer a terminal.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How answers and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: answers as the API gives them, errors as problem documents.
    Json,
}

/// Writes answers to one stream and everything else to another.
pub(crate) struct Printer {
    format: Format,
    answers: Box<dyn Write>,
    remarks: Box<dyn Write>,
}

impl Printer {
    /// A printer to the process's standard streams.
    pub(crate) fn standard(format: Format) -> Self {
        Self::new(format, BufWriter::new(io::stdout()), io::stderr())
    }

    pub(crate) fn new(format: Format, answers: impl Write + 'static, remarks: impl Write + 'static) -> Self {
        Self { format, answers: Box::new(answers), remarks: Box::new(remarks) }
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Writes an answer: `text` for people, `value` for programs.
    pub(crate) fn answer(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = match self.format {
            Format::Text => plain(&text()),
            Format::Json => serde_json::to_string(value).context("an answer cannot be written as JSON")?,
        };
        closed_pipe_apart(writeln!(self.answers, "{line}"))
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        closed_pipe_apart(self.answers.write_all(bytes))
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        closed_pipe_apart(self.answers.flush())
    }

    /// Writes a remark for people; programs get none. There is nobody to tell when that fails.
    pub(crate) fn remark(&mut self, text: &str) {
        if self.format == Format::Text {
            let _ = writeln!(self.remarks, "{}", plain(text));
        }
    }

    /// Writes a remark for people, or its value for programs.
    pub(crate) fn remark_or(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) {
        match (self.format, serde_json::to_string(value)) {
            (Format::Json, Ok(line)) => {
                let _ = writeln!(self.remarks, "{line}");
            }
            _ => self.remark(&text()),
        }
    }

    /// Tells why a command failed.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        // What was answered before comes first on a shared terminal.
        let _ = self.answers.flush();
        if let (Some(document), Some(text)) = (failure.document(), failure.text()) {
            self.remark_or(&document, || format!("plimsoll: {text}"));
        }
    }
}

fn closed_pipe_apart(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Other(anyhow::Error::new(error).context("cannot write the answer")),
    })
}

/// Text without control characters other than line feeds and tabs.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            // Writing to a string does not fail.
            let _ = write!(plain, "{}", character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_reader_that_has_left_is_not_an_error() {
        let mut printer = Printer::new(Format::Text, Closed, Closed);
        assert!(matches!(printer.answer(&1, || "1".to_owned()), Err(Failure::ClosedPipe)));
        assert!(matches!(printer.flush(), Err(Failure::ClosedPipe)));
        printer.remark("nobody listens");
        printer.failure(&Failure::Config { detail: "nobody listens".to_owned() });
    }

    #[test]
    fn a_node_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\rc\td\n"), "a\\u{1b}[2Jb\\u{d}c\td\n");
    }
}
