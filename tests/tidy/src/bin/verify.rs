//! `cargo verify`: every check, and nothing written but below `target`.
//!
//! Each step says what it found. A step that cannot run here is listed at the end with its reason; with `CI=true` that
//! is a failure. The last lines are those of the test runner, added up.
//!
//! `cargo verify --long` runs the crash tests with the number of rounds an issue is closed with, and looks whether the simulation finds
//! the bugs that are planted for it.

#![expect(clippy::print_stdout, reason = "this is a program for a terminal")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use plimsoll_tidy::{Trouble, cargo, root, run, step, tools};

/// Where tests that cannot run here say so, a line each.
const NOT_RUN_FILE: &str = "tests-not-run.txt";

/// How many runs of the simulation are made of each kind.
const SEEDS: &str = "50";

/// A run that takes longer hangs, in seconds.
const PATIENCE_S: &str = "300";

/// Tests that passed, failed and were ignored.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

type Step = (&'static str, fn() -> Result<(), Trouble>);

const STEPS: [Step; 7] = [
    ("format", || run(cargo().args(["fmt", "--all", "--check"]))),
    ("lints", lints),
    ("documentation", documentation),
    ("licences and sources of dependencies", dependencies),
    ("fuzz targets build", fuzz_targets),
    ("schema-driven fuzz of the API", schema_fuzz),
    ("simulation", simulation),
];

fn main() -> ExitCode {
    let long = env::args().any(|argument| argument == "--long");
    let mut failed = Vec::new();
    let mut not_run = Vec::new();
    for (name, work) in STEPS {
        match step(name, work) {
            Ok(()) => {}
            Err(Trouble::Failed(why)) => failed.push(format!("{name}: {why}")),
            Err(Trouble::NotRun(why)) => not_run.push(format!("{name}: {why}")),
        }
    }
    if long && let Err(Trouble::Failed(why) | Trouble::NotRun(why)) = step("planted bugs", planted_bugs) {
        failed.push(format!("planted bugs: {why}"));
    }
    let mut tally = Tally::default();
    if let Err(Trouble::Failed(why) | Trouble::NotRun(why)) = step("tests", || tests(long, &mut tally)) {
        failed.push(format!("tests: {why}"));
    }
    not_run.extend(tests_not_run());
    close(&failed, &not_run, &tally)
}

fn close(failed: &[String], not_run: &[String], tally: &Tally) -> ExitCode {
    if !not_run.is_empty() {
        println!("\nNot run here:");
        not_run.iter().for_each(|reason| println!("  {reason}"));
    }
    if !failed.is_empty() {
        println!("\nFailed:");
        failed.iter().for_each(|reason| println!("  {reason}"));
    }
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    println!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored);
    if failed.is_empty() && (not_run.is_empty() || !in_ci) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lints() -> Result<(), Trouble> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"]))
}

fn documentation() -> Result<(), Trouble> {
    let mut doc = cargo();
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    run(doc.args(["doc", "--workspace", "--no-deps", "--locked", "--quiet", "--document-private-items"]))
}

fn dependencies() -> Result<(), Trouble> {
    let mut deny = tools::cargo_deny()?;
    run(deny.args(["--workspace", "--all-features", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// The targets are run, over their corpora, among the tests; here they only have to build as a fuzzer builds them.
fn fuzz_targets() -> Result<(), Trouble> {
    run(cargo()
        .args(["check", "--quiet", "--locked", "--manifest-path", "tests/fuzz/Cargo.toml", "--target-dir"])
        .arg(tools::folder().with_file_name("fuzz")))
}

fn schema_fuzz() -> Result<(), Trouble> {
    let schemathesis = tools::schemathesis()?;
    run(cargo().args(["build", "--quiet", "--locked", "--package", "plimsoll-cli"]))?;
    plimsoll_tidy::schema_fuzz::run_against_node(schemathesis)
}

/// Seeds that are always the same, and seeds that nobody has run. One of these that fails is told with the command that runs it again.
fn simulation() -> Result<(), Trouble> {
    let simulate = |seed| {
        let program = ["run", "--quiet", "--locked", "--package", "plimsoll-sim", "--", "run", "--seconds", "10"];
        run(cargo().args(program).args(["--seeds", SEEDS, "--patience", PATIENCE_S, "--seed", seed]))
    };
    simulate("1").and_then(|()| simulate("random"))
}

/// What the simulation would find, were it in the product.
fn planted_bugs() -> Result<(), Trouble> {
    let package = ["--package", "plimsoll-sim", "--features", "planted"];
    run(cargo()
        .args(["test", "--quiet", "--locked", "--profile", "sim"])
        .args(package)
        .args(["--test", "it", "--", "planted"]))
}

fn tests(long: bool, tally: &mut Tally) -> Result<(), Trouble> {
    // What the tests of disks and of networks need. Where it cannot be had, they say so themselves.
    if tools::is_root() {
        let _ = tools::programs(&[("mkfs.ext4", "e2fsprogs"), ("losetup", "mount"), ("xfs_io", "xfsprogs")]);
        let _ = tools::programs(&[("ip", "iproute2"), ("iptables", "iptables")]);
        let _ = tools::programs(&[("chromium", "chromium")]);
    }
    let report = tools::folder().with_file_name(NOT_RUN_FILE);
    let _ = fs::remove_file(&report);
    let mut test = cargo();
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    test.env("PLIMSOLL_TESTS_NOT_RUN", &report);
    if long {
        test.env("PLIMSOLL_TEST_ROUNDS", "20");
    }
    count(&mut test, tally)
}

/// Runs the tests, passing their output on, and adds up the runner's closing lines.
fn count(test: &mut Command, tally: &mut Tally) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("cargo test: {error}"));
    let mut child = test.current_dir(root()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let output = child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines());
    for line in output.map_while(Result::ok) {
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.add(counts);
        }
    }
    match child.wait().map_err(failed)? {
        status if status.success() => Ok(()),
        status => Err(Trouble::Failed(format!("cargo test ended with {status}"))),
    }
}

impl Tally {
    /// Adds a closing line: `ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, counts: &str) {
        let number = |word: &str| {
            let part = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse::<u64>().ok()
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
        self.ignored += number("ignored").unwrap_or(0);
    }
}

fn tests_not_run() -> Vec<String> {
    let report = tools::folder().with_file_name(NOT_RUN_FILE);
    let lines = fs::read_to_string(report).unwrap_or_default();
    lines.lines().map(str::to_owned).collect()
}
