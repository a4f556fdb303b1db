//! Tools that a check needs beyond the toolchain, installed where that is allowed.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::{Trouble, cargo, root, run, succeeds};

/// The version of cargo-deny the checks are written for.
const CARGO_DENY: &str = "0.19.9";

/// The version of schemathesis the checks are written for.
const SCHEMATHESIS: &str = "4.32.5";

/// Where tools are installed: beside the build, never into the user's home.
#[must_use]
pub fn folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("tools")
}

/// A `cargo deny` to run, built from source where there is none yet.
///
/// # Errors
/// [`Trouble::NotRun`] where it cannot be installed.
pub fn cargo_deny() -> Result<Command, Trouble> {
    let installed = folder().join("bin/cargo-deny");
    if installed.exists() {
        return Ok(Command::new(installed));
    }
    if succeeds(Command::new("cargo-deny").arg("--version")) {
        return Ok(Command::new("cargo-deny"));
    }
    let mut install = cargo();
    install.args(["install", "cargo-deny", "--locked", "--no-default-features", "--version", CARGO_DENY]);
    install.arg("--root").arg(folder());
    // It runs for a second: to optimize it takes minutes.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    run(&mut install).map_err(|_| Trouble::NotRun("cargo-deny is not there and cannot be installed".into()))?;
    Ok(Command::new(installed))
}

/// A `schemathesis` to run, installed into an environment of its own where there is none yet.
///
/// # Errors
/// [`Trouble::NotRun`] where it cannot be installed.
pub fn schemathesis() -> Result<Command, Trouble> {
    let environment = folder().join("schemathesis");
    let program = environment.join("bin/schemathesis");
    if succeeds(Command::new(&program).arg("--version")) {
        return Ok(Command::new(program));
    }
    let lacking = |what: &str| Trouble::NotRun(format!("schemathesis needs {what}"));
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        .map_err(|_| lacking("python3 with its venv module"))?;
    run(Command::new(environment.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &format!("schemathesis=={SCHEMATHESIS}"),
    ]))
    .map_err(|_| lacking("a Python package index that can be reached"))?;
    Ok(Command::new(program))
}

/// Makes sure the programs of Debian packages are there, installing the packages where this process may.
///
/// # Errors
/// [`Trouble::NotRun`] where a program is missing and cannot be installed.
pub fn programs(wanted: &[(&str, &str)]) -> Result<(), Trouble> {
    let missing = |program: &str| !succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]));
    let packages: Vec<&str> =
        wanted.iter().filter(|(program, _)| missing(program)).map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let lacking = || Trouble::NotRun(format!("missing, and could not be installed: {}", packages.join(", ")));
    if !is_root() {
        return Err(lacking());
    }
    run(Command::new("apt-get").args(["-qq", "update"])).map_err(|_| lacking())?;
    run(Command::new("apt-get").args(["-qq", "install", "-y"]).args(&packages)).map_err(|_| lacking())
}

/// Whether this process may mount file systems and make network namespaces.
#[must_use]
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
