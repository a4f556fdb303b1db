//! What `cargo verify` and `cargo tidy-up` share: steps, and the commands they run.
//!
//! Nothing here depends on the rest of the workspace, so that a tree that does not build can still be told why.

#![expect(clippy::print_stdout, reason = "these are programs for a terminal")]

pub mod schema_fuzz;
pub mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Why a step did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// It ran, and found something.
    Failed(String),
    /// It could not run here.
    NotRun(String),
}

/// The root of the workspace.
///
/// # Panics
/// Never: this crate lies two folders below it.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy lies two folders below the root").to_path_buf()
}

/// Runs a command in the root of the workspace, its output going to the terminal.
///
/// # Errors
/// [`Trouble::Failed`] with the command, if it fails or cannot be started.
pub fn run(command: &mut Command) -> Result<(), Trouble> {
    let shown = show(command);
    let status = command.current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::Failed(format!("`{shown}` ended with {status}"))),
        Err(error) => Err(Trouble::Failed(format!("`{shown}` could not be started: {error}"))),
    }
}

/// Whether a command can be run and succeeds; its output is dropped.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command.current_dir(root()).output().is_ok_and(|output| output.status.success())
}

/// The `cargo` that runs this program.
#[must_use]
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    std::iter::once(program.into_owned()).chain(arguments).collect()
}

/// Tells what begins and how it ended.
///
/// # Errors
/// What the step fails with.
pub fn step(name: &str, work: impl FnOnce() -> Result<(), Trouble>) -> Result<(), Trouble> {
    println!("\n── {name}");
    let begun = Instant::now();
    let outcome = work();
    let word = match &outcome {
        Ok(()) => "ok",
        Err(Trouble::Failed(_)) => "FAILED",
        Err(Trouble::NotRun(_)) => "NOT RUN",
    };
    println!("── {name}: {word} ({:.0} s)", begun.elapsed().as_secs_f64());
    outcome
}
