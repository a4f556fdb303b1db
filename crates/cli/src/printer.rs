//! The one place that writes to standard output and standard error.
//!
//! A pipe whose reader has left ends a command quietly: `plimsoll list --all | head` is not an error. In text, control
//! characters are written as escapes, so that what a node says cannot steer a terminal.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};

use anyhow::Context as _;
use clap::ValueEnum;
use plimsoll_client::{Switch, SwitchReason};
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
    /// Whether people see the answers as they are written.
    is_terminal: bool,
    answers: Box<dyn Write>,
    remarks: Box<dyn Write>,
    notices: (Notices, Receiver<String>),
}

/// Clears a terminal, and goes to its first line (ECMA-48, ED and CUP).
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// More notices than this between two things that are printed say nothing new, and are dropped.
const NOTICES_MAX: usize = 16;

/// Where a remark can be left from anywhere; the printer shows it before what it prints next.
#[derive(Debug, Clone)]
pub(crate) struct Notices(SyncSender<String>);

impl Notices {
    /// Leaves a notice that the client goes on at another node, where one has failed.
    pub(crate) fn switched(&self, switch: &Switch) {
        let Switch { from, to, reason } = switch;
        if *reason != SwitchReason::Nearer {
            // Nobody misses it when there are too many, or the printer is gone.
            let _ = self.0.try_send(format!("plimsoll: {from}: {reason}; going on at {to}"));
        }
    }
}

impl Printer {
    /// A printer to the process's standard streams.
    pub(crate) fn standard(format: Format) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { is_terminal, ..Self::new(format, BufWriter::new(io::stdout()), io::stderr()) }
    }

    pub(crate) fn new(format: Format, answers: impl Write + 'static, remarks: impl Write + 'static) -> Self {
        let (sender, receiver) = mpsc::sync_channel(NOTICES_MAX);
        let notices = (Notices(sender), receiver);
        Self { format, is_terminal: false, answers: Box::new(answers), remarks: Box::new(remarks), notices }
    }

    /// Where notices can be left for this printer.
    pub(crate) fn notices(&self) -> Notices {
        self.notices.0.clone()
    }

    /// Shows the notices that were left. Whatever is printed does so; something long may do it on its way.
    pub(crate) fn show_notices(&mut self) {
        while let Ok(notice) = self.notices.1.try_recv() {
            self.write_remark(&notice);
        }
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
        self.show_notices();
        closed_pipe_apart(writeln!(self.answers, "{line}"))
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        closed_pipe_apart(self.answers.write_all(bytes))
    }

    /// Begins an answer that takes the place of the one before: on a terminal the screen is cleared, elsewhere the two
    /// stand one after the other.
    pub(crate) fn begin_screen(&mut self) -> Result<(), Failure> {
        match (self.format, self.is_terminal) {
            (Format::Text, true) => self.raw(CLEAR),
            _ => Ok(()),
        }
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        closed_pipe_apart(self.answers.flush())
    }

    /// Writes a remark for people; programs get none. There is nobody to tell when that fails.
    pub(crate) fn remark(&mut self, text: &str) {
        self.show_notices();
        self.write_remark(text);
    }

    fn write_remark(&mut self, text: &str) {
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
        self.show_notices();
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
    use crate::fake_node::Buffer;

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
    fn a_notice_comes_before_what_is_printed_next_and_for_people_only() {
        let switch = |reason| Switch { from: "http://a".to_owned(), to: "http://b".to_owned(), reason };
        let notice = "plimsoll: http://a: it is not ready; going on at http://b\n";
        for (format, expected) in [(Format::Text, notice), (Format::Json, "")] {
            let written = Buffer::default();
            let mut printer = Printer::new(format, io::sink(), written.clone());
            let notices = printer.notices();
            notices.switched(&switch(SwitchReason::Nearer));
            notices.switched(&switch(SwitchReason::NotReady));
            assert_eq!(written.text(), "");
            printer.answer(&1, || "1".to_owned()).unwrap();
            assert_eq!(written.text(), expected);
        }
    }

    #[test]
    fn a_screen_is_cleared_on_a_terminal_only_and_for_people_only() {
        for (format, is_terminal, expected) in
            [(Format::Text, true, "\u{1b}[2J\u{1b}[H"), (Format::Text, false, ""), (Format::Json, true, "")]
        {
            let written = Buffer::default();
            let mut printer = Printer { is_terminal, ..Printer::new(format, written.clone(), io::sink()) };
            printer.begin_screen().unwrap();
            assert_eq!(written.text(), expected, "{format:?} {is_terminal}");
        }
    }

    #[test]
    fn a_node_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\rc\td\n"), "a\\u{1b}[2Jb\\u{d}c\td\n");
    }
}
