//! Data directories of other versions.
//!
//! `tests/golden/data-directory/format-1-<engine>` was written by the last version of format 1: the first 100
//! transitions of the real trace, as tenant `acme`. Each file stands without the zeroes it ends in; `lengths` tells how
//! long it was, and names empty folders with a dash.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use plimsoll_tests::machine::command;
use plimsoll_tests::node::{Node, Start, binary};
use plimsoll_tests::{root, trace};

fn lay_out(engine: &str, data: &Path) {
    let golden = root().join(format!("tests/golden/data-directory/format-1-{engine}"));
    let lengths = fs::read_to_string(golden.join("lengths")).unwrap();
    for line in lengths.lines() {
        let (length, name) = line.split_once(' ').unwrap();
        let to = data.join(name);
        if length == "-" {
            fs::create_dir_all(to).unwrap();
            continue;
        }
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(golden.join("files").join(name), &to).unwrap();
        OpenOptions::new().write(true).open(&to).unwrap().set_len(length.parse().unwrap()).unwrap();
    }
}

fn migrate(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(binary());
    let output = command.args(["migrate", "--data-dir"]).arg(data).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn readiness(node: &Node) -> (u16, String) {
    let answer = node.get("/readyz");
    let reason = answer.json()["reason"].as_str().unwrap_or_default().replace("urn:plimsoll:problem:", "");
    (answer.status, reason)
}

fn format_1_is_read_and_migrated(engine: &str) {
    let data = tempfile::tempdir().unwrap();
    lay_out(engine, data.path());
    let trace = trace::real();
    let node = Start::on(data.path()).start().unwrap();
    assert_eq!(readiness(&node), (503, "migration-pending".into()));
    let whole = node.get("/projections/submitqueue%2Fmisc");
    assert_eq!(whole.status, 200);
    let refused = node.post(&trace[100]);
    assert_eq!((refused.status, refused.problem()), (503, "migration-pending".into()));
    assert!(!refused.header("retry-after").is_empty());
    assert!(node.stop().success());

    let dry = migrate(data.path(), &["--dry-run"]);
    assert!(dry.contains("100"), "{dry}");
    let node = Start::on(data.path()).start().unwrap();
    assert_eq!(readiness(&node), (503, "migration-pending".into()), "a dry run writes nothing");
    assert!(node.stop().success());

    migrate(data.path(), &[]);
    let node = Start::on(data.path()).start().unwrap();
    assert_eq!(readiness(&node), (200, String::new()));
    assert_eq!(node.get("/projections/submitqueue%2Fmisc").json(), whole.json(), "tokens outlive a migration");
    assert_eq!(node.post(&trace[99]).status, 200);
    assert_eq!(node.post(&trace[100]).status, 201);
}

#[test]
fn format_1_under_fjall_is_read_and_migrated() {
    format_1_is_read_and_migrated("fjall");
}

#[test]
fn format_1_under_redb_is_read_and_migrated() {
    format_1_is_read_and_migrated("redb");
}

#[test]
fn format_1_under_sled_is_read_and_migrated() {
    format_1_is_read_and_migrated("sled");
}

/// Damage is told, or read past where the data does not need what is damaged, and never a panic: every file of a
/// directory is cut short in turn.
#[test]
fn a_damaged_directory_is_a_clear_error_or_still_readable() {
    for engine in ["fjall", "redb", "sled"] {
        let whole = tempfile::tempdir().unwrap();
        lay_out(engine, whole.path());
        let node = Start::on(whole.path()).start().unwrap();
        let undamaged = node.get("/projections/submitqueue%2Fmisc").json();
        assert!(node.stop().success());
        let files =
            command("find", &[&whole.path().join(engine).to_string_lossy(), "-type", "f", "-size", "+0"]).unwrap();
        for file in files.lines() {
            let data = tempfile::tempdir().unwrap();
            command("cp", &["-a", &format!("{}/.", whole.path().display()), &data.path().to_string_lossy()]).unwrap();
            let name = Path::new(file).strip_prefix(whole.path()).unwrap();
            let path = data.path().join(name);
            let name = name.display();
            let half = fs::metadata(&path).unwrap().len() / 2;
            OpenOptions::new().write(true).open(&path).unwrap().set_len(half).unwrap();
            match Start::on(data.path()).start() {
                Ok(node) => {
                    let whole = node.get("/projections/submitqueue%2Fmisc");
                    let undamaged = whole.status == 200 && whole.json()["produced_refs"] == undamaged["produced_refs"];
                    let told = matches!(whole.status, 500 | 503);
                    assert!(undamaged || told, "{engine} {name}: {whole:?}");
                }
                Err(said) => {
                    assert!(!said.contains("panicked"), "{engine} {name}: {said}");
                    assert!(said.contains(&data.path().display().to_string()), "{engine} {name}: {said}");
                }
            }
        }
    }
}

#[test]
fn a_store_is_opened_once() {
    let data = tempfile::tempdir().unwrap();
    let _node = Start::on(data.path()).start().unwrap();
    let second = Start::on(data.path()).start().expect_err("the directory is in use");
    assert!(second.contains("in use by another process"), "{second}");
}
