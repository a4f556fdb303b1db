//! Rules of the tree that no compiler holds.

use std::fs;

use plimsoll_tests::machine::command;
use plimsoll_tests::root;

/// The most lines of a source file, its tests not counted.
const LINES_MAX: usize = 500;

/// The files git tracks or would track, with one of these endings; all of them where none is given.
pub(crate) fn tracked(endings: &[&str]) -> Vec<String> {
    let root = root();
    let listed =
        command("git", &["-C", &root.to_string_lossy(), "ls-files", "--cached", "--others", "--exclude-standard"])
            .unwrap();
    let fits = |path: &&str| endings.is_empty() || endings.iter().any(|ending| path.ends_with(&format!(".{ending}")));
    listed.lines().filter(fits).filter(|path| root.join(path).is_file()).map(str::to_owned).collect()
}

#[test]
fn no_file_holds_two_concepts() {
    let mut long = Vec::new();
    for path in tracked(&["rs"]) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
        if lines > LINES_MAX && !is_test && !path.ends_with("conformance.rs") {
            long.push(format!("{path}: {lines} lines"));
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "#[ignore", "allow(dead_code"];
    let mut found = Vec::new();
    for path in tracked(&["rs", "toml", "md", "yaml"]) {
        if path == "tests/it/tidy.rs" || path == "Cargo.toml" {
            continue;
        }
        let text = fs::read_to_string(root().join(&path)).unwrap();
        found.extend(unfinished.iter().filter(|word| text.contains(**word)).map(|word| format!("{path}: {word}")));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let paths = ["/home/", "/root/", "/Users/"];
    let mut found = Vec::new();
    for path in tracked(&["rs", "toml", "md", "yaml", "json", "ndjson", "service", "yml"]) {
        if path == "tests/it/tidy.rs" {
            continue;
        }
        let text = fs::read_to_string(root().join(&path)).unwrap();
        found.extend(paths.iter().filter(|place| text.contains(**place)).map(|place| format!("{path}: {place}")));
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Which branch of a `select!` that is not biased is looked at first is drawn by the runtime: a run of the simulation could
/// not be repeated.
#[test]
fn nothing_is_left_to_the_chance_of_the_runtime() {
    let mut found = Vec::new();
    for path in tracked(&["rs"]) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_drawn = |pair: &[&str]| pair[0].ends_with("select! {") && pair[1] != "biased;";
        let drawn = lines.windows(2).enumerate().filter(|(_, pair)| is_drawn(pair));
        found.extend(drawn.map(|(line, _)| format!("{path}:{}", line + 1)));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_top_level_is_the_one_of_the_map() {
    let allowed = [
        "crates",
        "sim",
        "tests",
        "deploy",
        "docs",
        ".cargo",
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "deny.toml",
        "rustfmt.toml",
    ];
    let mut tops: Vec<String> =
        tracked(&[]).iter().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
    tops.dedup();
    let strange: Vec<String> = tops.into_iter().filter(|top| !allowed.contains(&top.as_str())).collect();
    assert_eq!(strange, Vec::<String>::new());
}
