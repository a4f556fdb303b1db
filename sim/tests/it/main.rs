//! What `plimsoll-sim` does, by the binary: each run in a process of its own, as a run has to be.

mod evidence;
#[cfg(feature = "planted")]
mod planted;
mod regressions;
mod scale;
mod scenarios;
mod seeds;
mod timeline;

use std::process::{Command, Output};

/// The binary, with these arguments.
fn simulator(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-sim"));
    command.args(arguments);
    command
}

fn simulate(arguments: &[&str]) -> Output {
    simulator(arguments).output().expect("the binary can be run")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
