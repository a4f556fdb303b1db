//! Planted bugs: in the product for the simulation to find, and in no release.

use std::fs;

use plimsoll_domain::planted::Bug;
use plimsoll_tests::machine::command;
use plimsoll_tests::root;
use serde_json::Value;

const FEATURE: &str = "planted";

/// The crates that hand the feature on to those they depend on.
const FORWARDS: &[&str] = &["plimsoll-domain", "plimsoll-store", "plimsoll-cluster", "plimsoll-node"];

/// The one crate that may turn it on, in the product it runs.
const MAY_PLANT: &str = "plimsoll-sim";

/// The page that tells what each of them is, and what a run needs to show it.
const PAGE: &str = "docs/simulation-bugs.md";

fn packages() -> Vec<Value> {
    let output = command("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"]).unwrap();
    let metadata: Value = serde_json::from_str(&output).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Whether a feature, named as manifests do, is that of planted bugs, of this crate or of another.
fn plants(feature: &str) -> bool {
    feature.rsplit('/').next() == Some(FEATURE)
}

#[test]
fn only_the_simulation_turns_planted_bugs_on() {
    let mut found = Vec::new();
    for package in packages() {
        let name = text(&package["name"]);
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_on = dependency["features"].as_array().unwrap().iter().any(|feature| plants(text(feature)));
            if is_on && name != MAY_PLANT {
                found.push(format!("{name} turns it on in {}", dependency["name"]));
            }
        }
        for (feature, turns_on) in package["features"].as_object().unwrap() {
            let is_on = turns_on.as_array().unwrap().iter().any(|feature| plants(text(feature)));
            let may = feature == FEATURE && (FORWARDS.contains(&name) || name == MAY_PLANT);
            if is_on && !may {
                found.push(format!("the feature {feature} of {name} turns it on"));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn each_planted_bug_is_in_the_product_and_told_of() {
    let mut product = String::new();
    for path in crate::tidy::tracked(&["rs"]) {
        if path.starts_with("crates/") && path != "crates/domain/src/planted.rs" {
            product.push_str(&fs::read_to_string(root().join(&path)).unwrap());
        }
    }
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let mut missing = Vec::new();
    for bug in Bug::ALL {
        if !product.contains(&format!("planted::has(Bug::{bug:?})")) {
            missing.push(format!("{bug} is planted nowhere"));
        }
        if !page.contains(&format!("| `{bug}` |")) {
            missing.push(format!("{PAGE} does not tell of {bug}"));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
