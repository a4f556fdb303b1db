//! What a test may need of the machine, and how it says that it did not get it.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// How often a crash test crashes: a few times where somebody waits, `PLIMSOLL_TEST_ROUNDS` times otherwise.
#[must_use]
pub fn rounds() -> u32 {
    env::var("PLIMSOLL_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

/// Says that a test did not run here, and why: `cargo verify` lists it.
///
/// # Panics
/// Where the report cannot be written: a check must not be skipped in silence.
pub fn not_run(test: &str, why: &str) {
    // Written at once: another test may say the same at this moment.
    let line = format!("{test}: {}\n", why.replace('\n', " "));
    match env::var_os("PLIMSOLL_TESTS_NOT_RUN") {
        None => assert!(write!(std::io::stderr(), "NOT RUN {line}").is_ok(), "the report cannot be written"),
        Some(path) => {
            let report = OpenOptions::new().create(true).append(true).open(path);
            report.and_then(|mut report| report.write_all(line.as_bytes())).expect("the report can be written");
        }
    }
}

/// Runs a command; its output on success.
///
/// # Errors
/// What it printed on its error output, or why it could not be started.
pub fn command(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
