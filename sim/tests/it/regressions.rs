//! What the simulation found once stays found: the smallest run of each bug, as a scenario and the seed that it broke a promise with.

use std::fs;
use std::path::{Path, PathBuf};

use super::{simulate, text};

/// The seed stands at the end of the file's name.
fn seed_of(path: &Path) -> &str {
    let name = path.file_stem().and_then(|name| name.to_str()).expect("the file's name is a text");
    name.rsplit_once('-').expect("the file's name ends with a seed").1
}

/// Runs of the standard scenario of 10 s that broke a promise, and of which no smaller one was found that breaks the same.
const SEEDS: [&str; 1] = ["506455"];

#[test]
fn what_seeds_found_is_mended() {
    for seed in SEEDS {
        let output = simulate(&["run", "--seconds", "10", "--seed", seed]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn what_was_found_is_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let output = simulate(&["run", file.to_str().unwrap(), "--seed", seed_of(&file)]);
        assert!(output.status.success(), "{}: {}", file.display(), text(&output));
    }
}
