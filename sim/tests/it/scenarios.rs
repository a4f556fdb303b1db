//! Scenario files, and what is told of runs of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use plimsoll_sim::assertions;
use plimsoll_sim::scenario::file::read;
use plimsoll_sim::scenario::ready::READY;
use tempfile::TempDir;

use super::{simulate, simulator, text};

const REGIONS: &str = "[[region]]\nname = \"eu\"\nnodes = 2\n[[region]]\nname = \"us\"\n[[region]]\nname = \"ap\"\n";

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    std::fs::read_to_string(path).expect("the page is there")
}

fn written(folder: &TempDir, text: &str) -> (PathBuf, String) {
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, text).expect("the folder can be written to");
    let name = path.to_str().expect("the folder's name is a text").to_owned();
    (path, name)
}

/// The blocks of a document in one language.
fn blocks<'a>(document: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    let fence = document.split("\n```");
    fence.filter_map(move |part| part.strip_prefix(language)?.strip_prefix('\n'))
}

/// An example that is a part of a file is read as one: what stands at the top of a file before its regions, all else after them.
#[test]
fn every_example_of_the_page_is_a_scenario() {
    let document = document();
    let mut examples = 0;
    for example in blocks(&document, "toml") {
        let file = match example {
            whole if whole.starts_with("name = ") => whole.to_owned(),
            table if table.starts_with('[') || table.starts_with('#') => {
                format!("name = \"x\"\nlasting = \"1m\"\n{REGIONS}{table}")
            }
            top => format!("name = \"x\"\n{top}\n{REGIONS}"),
        };
        read("docs/scenarios.md", &file).unwrap_or_else(|problems| panic!("{problems}\n\nof:\n{file}"));
        examples += 1;
    }
    assert!(examples >= 6, "{examples}");
    for line in blocks(&document, "text").flat_map(str::lines).filter(|line| !line.is_empty()) {
        assert!(assertions::parse(line).is_ok(), "{line}");
    }
}

#[test]
fn every_ready_scenario_is_listed_shown_and_sound() {
    let (list, document) = (text(&simulate(&["scenarios"])), document());
    for ready in READY {
        assert!(list.contains(&format!("{:<16} {}", ready.name, ready.meaning())), "{list}");
        assert!(document.contains(&format!("| `{}` |", ready.name)), "{} is not in the page", ready.name);
        assert_eq!(text(&simulate(&["show", ready.name])), ready.text);
        let checked = simulate(&["check", ready.name]);
        assert!(checked.status.success() && text(&checked).starts_with(ready.name), "{}", text(&checked));
    }
}

#[test]
fn a_wrong_file_is_told_and_not_run() {
    let folder = TempDir::new().unwrap();
    let (_, name) = written(&folder, &format!("name = \"x\"\nlastin = \"5s\"\n{REGIONS}"));
    for command in ["run", "check"] {
        let output = simulate(&[command, &name]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("mine.toml:2:1: lastin: is no key here; perhaps `lasting`"),
            "{}",
            text(&output)
        );
    }
    for arguments in [["check", "three-region"], ["show", "mine"], ["run", "no/such.toml"]] {
        assert_eq!(simulate(&arguments).status.code(), Some(2));
    }
    assert_eq!(simulate(&["run", "three-regions", "--nodes", "3"]).status.code(), Some(2));
}

/// No answer is there in less than a millisecond.
#[test]
fn an_assertion_that_does_not_hold_is_told_with_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let head = "name = \"hasty\"\nlasting = \"2s\"\nassert = [\"post_latency p100 below 1ms\"]\n";
    let (_, name) = written(&folder, &format!("{head}{REGIONS}"));
    let junit = folder.path().join("junit.xml");
    let output = simulate(&["run", &name, "--seeds", "3", "--jobs", "2", "--junit", junit.to_str().unwrap()]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let headlines: Vec<&str> = told.lines().filter(|line| line.starts_with("seed ")).collect();
    assert_eq!(headlines.len(), 3, "{told}");
    for (seed, line) in (1..).zip(headlines) {
        assert!(line.starts_with(&format!("seed {seed}: BROKEN; ")), "{told}");
        assert!(told.contains(&format!("  again: plimsoll-sim run {name} --seed {seed}\n")), "{told}");
    }
    assert_eq!(told.matches("assertion: post_latency p100 below 1ms: ").count(), 3, "{told}");
    assert!(told.contains("0 sound, 3 broken, 0 failed"), "{told}");
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(junit.contains("<testsuite name=\"hasty\" tests=\"3\" failures=\"3\" errors=\"0\""), "{junit}");
    assert_eq!((junit.matches("<testcase ").count(), junit.matches("</failure>").count()), (3, 3), "{junit}");
}

#[test]
fn a_drawn_seed_is_told() {
    let output = simulate(&["run", "--seed", "random", "--seconds", "1"]);
    let told = text(&output);
    let seed = told.lines().next().and_then(|line| line.strip_prefix("the first seed is ")).unwrap();
    assert!(told.contains(&format!("seed {seed}: ")), "{told}");
}

#[test]
fn a_run_ends_with_whoever_asked_for_it() {
    let mut child = simulator(&["child"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let source = "{\"Standard\":{\"nodes\":9,\"seconds\":3600}}";
    writeln!(input, "{{\"source\":{source},\"seed\":669,\"is_twice\":false,\"trace\":null,\"bug\":null}}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output));
}

#[test]
fn a_deployment_is_modelled() {
    let example = |region: &str| format!("{}/../deploy/example/{region}.toml", env!("CARGO_MANIFEST_DIR"));
    let [eu, us, ap] = ["eu", "us", "ap"].map(example);
    let output = simulate(&["model", "--node", &eu, "--node", &us, "--node", &ap]);
    assert!(output.status.success(), "{}", text(&output));
    let scenario = read("model", &text(&output)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(scenario.region_of_each(), ["eu", "us", "ap"]);
}

#[test]
fn what_a_seed_draws_is_a_scenario() {
    let output = simulate(&["plan", "three-regions", "--seed", "7"]);
    let scenario = read("plan", &text(&output)).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(scenario.swarm.is_none() && !scenario.schedule.is_empty(), "{}", text(&output));
}
