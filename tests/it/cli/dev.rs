//! `plimsoll dev`.

use plimsoll_tests::cli::{Background, run};
use plimsoll_tests::node::binary;
use serde_json::{Value, json};

use super::NOWHERE;

/// Starts it; gives what it has printed once it waits.
fn start(format: &str) -> (Background, String) {
    let mut command = std::process::Command::new(binary());
    command.args(["dev", "--listen", "127.0.0.1:0", "--output", format]);
    let mut dev = Background::start(command);
    let mut printed = String::new();
    while !printed.contains("/projections/changes") {
        printed.push_str(&dev.line().unwrap_or_else(|| panic!("it ended after: {printed}")));
    }
    (dev, printed)
}

/// Does what a line with `curl` asks for; gives the status.
fn follow(line: &str) -> u16 {
    let (_, bearer) = line.split_once("Bearer ").expect("it has a token");
    let bearer = bearer.split('\'').next().unwrap_or_default();
    let url = line.split_whitespace().last().expect("it ends with the URL").trim_matches('\'');
    // The body is not read: that of the changes has no end.
    let answer = ureq::get(url).header("authorization", format!("Bearer {bearer}")).call();
    answer.expect("it is answered").status().as_u16()
}

#[test]
fn it_shows_the_main_job_and_what_it_prints_can_be_done() {
    let (mut dev, printed) = start("text");
    let answers: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("  ")?.parse::<u16>().ok()).collect();
    assert_eq!(answers, [201, 200, 409, 200], "{printed}");
    assert!(printed.contains("848 transitions accepted") && printed.contains("unknown-pending-ref"), "{printed}");
    let after = |name: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {printed}")).trim()
    };
    let (url, token) = (after("url "), after("token "));
    let curls: Vec<_> = printed.lines().filter(|line| line.trim().starts_with("curl ")).collect();
    assert_eq!(curls.len(), 3, "{printed}");
    for curl in curls {
        assert!(curl.contains(url) && curl.contains(token), "{curl}");
        assert_eq!(follow(curl), 200, "{curl}");
    }
    dev.signal("INT");
    assert_eq!(dev.wait().code(), Some(0));
}

#[test]
fn a_program_reads_the_show_line_by_line() {
    let (mut dev, printed) = start("json");
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["url"], lines.last().unwrap()["url"]);
    assert_eq!(lines[1]["imported"], json!({"accepted": 848, "repeated": 0}));
    let answers: Vec<_> = lines.iter().filter_map(|line| line["status"].as_u64()).collect();
    assert_eq!(answers, [201, 200, 409, 200]);
    dev.signal("TERM");
    assert_eq!(dev.wait().code(), Some(0));
}

#[test]
fn it_does_not_serve_other_machines_with_a_token_that_everybody_knows() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(NOWHERE, &["dev", "--listen", address]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.remarks.contains("plimsoll serve"), "{refused:?}");
    }
}
