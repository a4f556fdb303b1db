use std::sync::Arc;
use std::time::Duration;

use super::spans::Span;
use super::*;
use crate::faults::{Event, Fault};
use crate::record::{Happening, Host, Line, Weight, Word};
use crate::scenario::Scenario;
use crate::verdict::Broken;

fn plan() -> Plan {
    let mut plan = Plan::drawn(u64::MAX, &Arc::new(Scenario::standard(3, Duration::from_secs(10))));
    plan.faults =
        [Fault::Cut(1, 2), Fault::Crash { host: 3, kept: 2 }, Fault::Drift { host: 1, ppm: 9 }, Fault::Leave(2)]
            .into_iter()
            .map(|fault| Event { at: Duration::from_secs(1), fault })
            .collect();
    plan
}

fn caption() -> Caption {
    Caption { build: "0.1.0".into(), replay: "plimsoll-sim run --seed 1".into() }
}

const NASTY: &str = "</script><script>alert(1)</script><!--\u{2028}]]>&lt;@@script@@";

fn nasty() -> (Verdict, Recording) {
    let broken = vec![Broken { promise: "keep", what: format!("n2 does not show e1-1 {NASTY}") }];
    let verdict = Verdict { broken, lasted: Duration::from_secs(12), ..Verdict::default() };
    let host = |name: &str| Host { name: name.into(), region: None };
    let word = Word {
        at: Duration::from_secs(1),
        host: Some(2),
        name: "posts".into(),
        id: Some(0),
        artifact: Some(1),
        node: None,
        outcome: None,
        text: NASTY.into(),
    };
    let line = Line {
        at: Duration::from_secs(2),
        host: Some(0),
        weight: Weight::Error,
        text: NASTY.into(),
        concerns: vec![0],
    };
    let recording = Recording {
        hosts: vec![host("n1"), host("n2"), host("emitter1")],
        ids: vec!["e1-1".into(), NASTY.into()],
        words: vec![word],
        lines: vec![line],
        ..Recording::default()
    };
    (verdict, recording)
}

/// The elements of scripts in a page, as a browser cuts them: a script ends at the first end tag, whatever is around it.
fn scripts(page: &str) -> Vec<&str> {
    page.split("<script").skip(1).map(|rest| rest.split_once("</script").unwrap().0).collect()
}

#[test]
fn nothing_in_a_run_gets_out_of_its_element() {
    let (verdict, recording) = nasty();
    let mut plan = plan();
    Arc::make_mut(&mut plan.scenario).name = NASTY.into();
    let page = page(&Caption { replay: NASTY.into(), build: NASTY.into() }, &plan, &verdict, &recording);
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert!(!page.contains("<!--"), "nothing begins a comment, in which a script would not end");
    let data = scripts(&page)[0].split_once('>').unwrap().1;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["lines"][0][3], NASTY);
    assert_eq!(data["caption"]["replay"], NASTY);
    assert_eq!(data["broken"][0]["ids"], serde_json::json!([0]));
    assert_eq!(data["broken"][0]["hosts"], serde_json::json!([1]));
}

#[test]
fn a_page_needs_nothing_else_and_lets_nothing_else_act() {
    let (verdict, recording) = nasty();
    let page = page(&caption(), &plan(), &verdict, &recording);
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for unsafe_in_script in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
    {
        assert!(!page.contains(unsafe_in_script), "{unsafe_in_script}");
    }
    let policy = page.split_once("script-src 'nonce-").unwrap().1;
    let nonce = &policy[..32];
    assert!(
        page.contains(&format!("<script nonce=\"{nonce}\">")) && page.contains(&format!("<style nonce=\"{nonce}\">"))
    );
    assert_eq!(page, super::page(&caption(), &plan(), &verdict, &recording), "one run, one page");
}

#[test]
fn a_seed_is_shown_to_its_last_digit() {
    let page = page(&caption(), &plan(), &Verdict::default(), &Recording::default());
    assert!(page.contains("<title>standard, seed 18446744073709551615</title>"));
    let data: Value = serde_json::from_str(scripts(&page)[0].split_once('>').unwrap().1).unwrap();
    assert_eq!(data["caption"]["seed"], u64::MAX.to_string());
}

fn spans(said: &[(u64, &str)]) -> Vec<(u64, u64, &'static str, Vec<u8>)> {
    let happenings: Vec<Happening> =
        said.iter().map(|(at, text)| Happening { at: Duration::from_secs(*at), text: (*text).to_owned() }).collect();
    let told = |span: Span| (span.from.as_secs(), span.until.as_secs(), span.kind, span.hosts);
    spans::of(&plan(), &happenings, Duration::from_secs(14)).into_iter().map(told).collect()
}

#[test]
fn faults_last_until_they_are_mended() {
    assert_eq!(spans(&[(1, "cut n1 n2"), (3, "mend n2 n1")]), [(1, 3, "cut", vec![1, 2])]);
    assert_eq!(
        spans(&[(1, "crash n3, 2 unsynced writes kept"), (2, "clock of n1 gains 9 ppm"), (4, "restart n3")]),
        [(1, 4, "down", vec![3]), (2, 10, "clock", vec![1])],
        "what nobody mended was mended when the clients had ended"
    );
    assert_eq!(spans(&[(1, "n2 leaves")]), [(1, 14, "left", vec![2])]);
}

#[test]
fn what_is_said_again_begins_again_and_what_is_not_known_is_a_point() {
    assert_eq!(
        spans(&[(1, "cut n1 n2"), (2, "cut n1 n2"), (3, "the moon fell")]),
        [(1, 2, "cut", vec![1, 2]), (2, 10, "cut", vec![1, 2]), (3, 3, "point", vec![])]
    );
    assert_eq!(spans(&[(1, "mend n1 n2")]), [], "nothing was cut");
}
