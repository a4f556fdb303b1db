//! The commands of the binary, as a shell runs them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::node::{TOKEN, binary};

/// What a command did.
#[derive(Debug)]
pub struct Run {
    /// Its exit code.
    pub code: i32,
    /// What it answered.
    pub answers: String,
    /// What it remarked: its error output.
    pub remarks: String,
}

impl Run {
    /// The answer, as one JSON text.
    ///
    /// # Panics
    /// If it failed, or it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.answers).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answers, one JSON text a line.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.answers.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// What it failed with, as a problem document.
    ///
    /// # Panics
    /// If it told none.
    #[must_use]
    pub fn problem(&self) -> Value {
        let last = self.remarks.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command that speaks to a node as `acme`, in JSON.
#[must_use]
pub fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["--output", "json"]).args(arguments).env("PLIMSOLL_URL", url).env("PLIMSOLL_TOKEN", TOKEN);
    command
}

/// Runs a command.
pub fn run(url: &str, arguments: &[&str]) -> Run {
    run_with(url, arguments, "")
}

/// Runs a command with something on its standard input.
///
/// # Panics
/// If it cannot be started, or a signal ended it.
pub fn run_with(url: &str, arguments: &[&str], input: &str) -> Run {
    finish(command(url, arguments), input)
}

/// Runs a command that was made otherwise.
///
/// # Panics
/// If it cannot be started, or a signal ended it.
#[must_use]
pub fn finish(mut command: Command, input: &str) -> Run {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().expect("the binary can be started");
    // One that does not read its input may have ended.
    let _ = process.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = process.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    let code = output.status.code().expect("it ended by itself");
    Run { code, answers: text(output.stdout), remarks: text(output.stderr) }
}

/// A command that runs until it is ended. Killed when dropped.
#[derive(Debug)]
pub struct Background {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Background {
    /// Starts it. What it remarks is not kept.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = piped.spawn().expect("the binary can be started");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, output }
    }

    /// The next line it prints; `None` once it has ended.
    ///
    /// # Panics
    /// If it prints what is not text.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("it prints text");
        (read > 0).then_some(line)
    }

    /// Sends it a signal, by its name.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        crate::machine::command("kill", &[&format!("-{name}"), &id]).expect("it can be signalled");
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("it ends")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A path as an argument.
///
/// # Panics
/// If it is not Unicode.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are Unicode")
}
