//! The page of a run in a real browser, without its window. Where no Chromium is on the path, this is left out, and says so.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_sim::plan::Plan;
use plimsoll_sim::record::{Fate, Happening, Host, Line, MESSAGES_MAX, Message, Recording, Weight, Word};
use plimsoll_sim::scenario::Scenario;
use plimsoll_sim::timeline::{Caption, page};
use plimsoll_sim::verdict::{Broken, Verdict};
use serde_json::Value;

/// A status that a client might post.
const NASTY: &str = "</script><script>document.title = 'out'</script><img src=x onerror=\"document.title = 'out'\">";

/// Uses the page as somebody would, and leaves what was seen in an attribute of the body.
const DRIVER: &str = r#"
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const text = (id) => document.getElementById(id).textContent;
const frame = () => new Promise((done) => setTimeout(done, 50));
(async () => {
  const seen = { title: document.title, scripts: document.scripts.length, images: document.images.length };
  await frame();
  seen.whole = text("note");
  press("b");
  seen.broken = text("details");
  seen.search = document.getElementById("search").value;
  seen.found = text("found");
  press("p");
  seen.before = text("details");
  press("Escape");
  seen.cleared = text("found") + text("details");
  for (let turn = 0; turn < 30; turn += 1) press("+");
  await frame();
  seen.near = text("note");
  press("0");
  document.querySelector("input[type=checkbox]").click();
  seen.lessKinds = page.view.kinds.size;
  seen.kinds = Object.keys(KINDS).length;
  document.body.dataset.seen = JSON.stringify(seen);
})();
"#;

fn recording() -> Recording {
    let millis = |at: usize| Duration::from_millis(at as u64);
    let is_lost = |at: usize| at.is_multiple_of(50);
    let message = |at: usize| Message {
        sent: millis(at),
        arrived: (!is_lost(at)).then(|| millis(at + 40)),
        from: at % 3,
        to: (at + 1) % 3,
        ports: (7172, 49_152),
        fate: if is_lost(at) { Fate::Lost } else { Fate::Delivered },
        text: String::new(),
        bytes: 100,
        segments: 1,
        concerns: if at == 7 { vec![0] } else { Vec::new() },
    };
    let word = |at, name: &str, outcome: Option<&str>| Word {
        at: millis(at),
        host: Some(3),
        name: name.to_owned(),
        id: Some(0),
        artifact: Some(1),
        node: outcome.map(|_| 0),
        outcome: outcome.map(ToOwned::to_owned),
        text: NASTY.to_owned(),
    };
    let line =
        Line { at: millis(4), host: Some(0), weight: Weight::Warning, text: NASTY.to_owned(), concerns: vec![0] };
    Recording {
        hosts: ["n1", "n2", "n3", "emitter1"].map(|name| Host { name: name.to_owned(), region: None }).into(),
        ids: vec!["e1-1".to_owned(), "a-1".to_owned()],
        messages: (0..MESSAGES_MAX).map(message).collect(),
        faults: vec![Happening { at: millis(9), text: "cut n1 n2".to_owned() }],
        words: vec![word(3, "posts", None), word(5, "was told", Some("Stands"))],
        lines: vec![line],
        ..Recording::default()
    }
}

/// What the driver saw; `None` if there is no browser.
fn seen(page: &str) -> Option<Value> {
    let nonce = &page.split_once("script-src 'nonce-").expect("a page has a policy").1[..32];
    let driven = page.replace("</body>", &format!("<script nonce=\"{nonce}\">{DRIVER}</script></body>"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline.html");
    std::fs::write(&file, driven).expect("a file can be written");
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline-profile");
    let options =
        ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,900", "--virtual-time-budget=20000"];
    let output = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|browser| {
        let mut command = Command::new(browser);
        command.args(options).arg(format!("--user-data-dir={}", profile.display())).arg("--dump-dom");
        command.arg(format!("file://{}", file.display())).output().ok()
    })?;
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, after) = document.split_once("data-seen=\"").unwrap_or_else(|| panic!("the page did not work: {output:?}"));
    let seen = after.split_once('"').expect("an attribute ends").0;
    let seen = seen.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Some(serde_json::from_str(&seen).expect("the driver leaves JSON"))
}

/// Says that a test did not run, where `cargo verify` reads it.
fn is_left_out(what: &str) {
    let written = match std::env::var_os("PLIMSOLL_TESTS_NOT_RUN") {
        None => writeln!(std::io::stderr(), "NOT RUN {what}"),
        Some(report) => {
            let file = OpenOptions::new().create(true).append(true).open(report);
            file.and_then(|mut file| writeln!(file, "{what}"))
        }
    };
    written.expect("the report can be written");
}

#[test]
fn a_browser_shows_a_run_of_many_moments() {
    let plan = Plan::drawn(1, &Arc::new(Scenario::standard(3, Duration::from_secs(60))));
    let broken = vec![Broken { promise: "keep", what: format!("n2 does not show e1-1, {NASTY}") }];
    let verdict = Verdict { broken, lasted: Duration::from_secs(51), ..Verdict::default() };
    let caption = Caption { build: "0.1.0".to_owned(), replay: NASTY.to_owned() };
    let Some(seen) = seen(&page(&caption, &plan, &verdict, &recording())) else {
        return is_left_out("the timeline in a browser: there is no Chromium");
    };
    let text = |field: &str| seen[field].as_str().unwrap();
    assert_eq!(text("title"), "standard, seed 1", "nothing of the run acts in the page");
    assert_eq!((seen["scripts"].as_u64(), seen["images"].as_u64()), (Some(3), Some(0)));
    assert!(text("whole").contains("is drawn; zoom in for more"), "{seen}");
    assert!(text("broken").contains("keep: n2 does not show e1-1") && text("broken").contains(NASTY), "{seen}");
    // The promise, the post, the message and the log line.
    assert_eq!((text("search"), text("found")), ("e1-1", "4 of 50004"));
    assert!(text("before").starts_with("n2 → n3 · delivered"), "{seen}");
    assert_eq!(text("cleared"), "");
    assert!(!text("near").contains("zoom in for more"), "{seen}");
    assert_eq!(seen["lessKinds"].as_u64().unwrap() + 2, seen["kinds"].as_u64().unwrap());
}
