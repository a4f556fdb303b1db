//! The map of `docs/architecture.md`: who sees whom, and what is named in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use plimsoll_tests::machine::command;
use plimsoll_tests::root;
use serde_json::Value;

/// For each crate, the crates of the workspace it may depend on.
const MAP: &[(&str, &[&str])] = &[
    ("plimsoll-domain", &[]),
    ("plimsoll-wire", &["plimsoll-domain"]),
    ("plimsoll-store", &["plimsoll-domain", "plimsoll-wire"]),
    ("plimsoll-cluster", &["plimsoll-domain", "plimsoll-store", "plimsoll-wire"]),
    ("plimsoll-node", &["plimsoll-cluster", "plimsoll-domain", "plimsoll-store", "plimsoll-wire"]),
    ("plimsoll-client", &["plimsoll-domain", "plimsoll-wire"]),
    ("plimsoll-cli", &["plimsoll-client", "plimsoll-node"]),
    ("plimsoll-sim", &["plimsoll-domain", "plimsoll-node", "plimsoll-wire"]),
    ("plimsoll-tests", &["plimsoll-domain", "plimsoll-node", "plimsoll-store", "plimsoll-wire"]),
    ("plimsoll-test-clock", &[]),
    ("plimsoll-tidy", &[]),
];

/// What may be named below one place only: a word, and the path its uses must begin with.
const ONLY_HERE: &[(&str, &[&str])] = &[
    ("sled::", &["crates/store/src/engine/sled.rs"]),
    ("redb::", &["crates/store/src/engine/redb.rs"]),
    ("fjall::", &["crates/store/src/engine/fjall.rs"]),
    ("bincode::", &["crates/wire/src/record", "crates/wire/src/peer.rs"]),
    ("SystemTime", &["crates/node/src/environment.rs", "crates/cli/src/bench"]),
    ("axum::", &["crates/node/src", "crates/cli/src/bench"]),
    ("foca::", &["crates/cluster/src/membership.rs"]),
    ("rustls::", &["crates/cluster/src/tls.rs", "crates/cluster/src/tls"]),
    ("rcgen::", &["crates/cluster/src/tls"]),
    ("anyhow::", &["crates/cli/src"]),
];

#[test]
fn crates_see_only_what_the_map_lists() {
    let output = command("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"]).unwrap();
    let metadata: Value = serde_json::from_str(&output).unwrap();
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let seen: BTreeSet<String> = dependencies
            .filter(|dependency| !dependency["path"].is_null() && dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        edges.insert(package["name"].as_str().unwrap().to_owned(), seen);
    }
    let map: BTreeMap<String, BTreeSet<String>> =
        MAP.iter().map(|(name, sees)| ((*name).into(), sees.iter().map(|&seen| seen.into()).collect())).collect();
    assert_eq!(edges.keys().collect::<Vec<_>>(), map.keys().collect::<Vec<_>>());
    for (name, sees) in &edges {
        let strange: Vec<_> = sees.difference(&map[name]).collect();
        assert!(strange.is_empty(), "{name} sees {strange:?}, which the map does not list");
    }
}

/// The rules may not wait, do IO, know the time or draw lots: no dependency that could bring that in.
#[test]
fn the_rules_depend_on_what_cannot_touch_the_world() {
    let manifest = fs::read_to_string(root().join("crates/domain/Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let names: Vec<&str> =
        section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["blake3", "thiserror", "time"]);
}

#[test]
fn each_borrowed_type_stays_behind_one_module() {
    let mut found = Vec::new();
    for path in crate::tidy::tracked(&["rs"]) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (word, places) in ONLY_HERE {
            let allowed = places.iter().any(|place| path.starts_with(place)) || !path.starts_with("crates/");
            let names = text.lines().any(|line| !line.trim_start().starts_with("//") && names_path(line, word));
            if names && !allowed {
                found.push(format!("{path} names {word}"));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Whether a line names a crate's path, and not a module of ours with the same last name.
fn names_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        // `::sled::` is the crate; `engine::sled::` is our module.
        let path = line[..at].strip_suffix("::").unwrap_or(&line[..at]);
        let within = path.chars().next_back();
        within.is_none_or(|within| !(within.is_alphanumeric() || within == '_'))
    })
}
