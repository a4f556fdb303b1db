//! `cargo tidy-up`: writes what can be written by a machine, and checks nothing.

use std::process::{Command, ExitCode};

use plimsoll_tidy::{Trouble, cargo, run, step};

fn main() -> ExitCode {
    match tidy_up() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn tidy_up() -> Result<(), Trouble> {
    step("format", || run(cargo().args(["fmt", "--all"])))?;
    step("OpenAPI document and golden files", || {
        let mut write: Command = cargo();
        write.env("PLIMSOLL_GOLDEN", "write");
        run(write.args(["test", "--quiet", "--package", "plimsoll-tests", "--test", "it", "golden"]))
    })
}
