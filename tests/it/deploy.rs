//! What `deploy/` hands to a platform team agrees with the binary and with the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use plimsoll_node::config::{Config, Sources};
use plimsoll_tests::cli::{finish, text};
use plimsoll_tests::cluster::until;
use plimsoll_tests::node::{Node, Start, binary};
use plimsoll_tests::root;
use serde_json::Value;

const REGIONS: [&str; 3] = ["eu", "us", "ap"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// An example as a node reads it, with tokens from a variable as the unit gives them.
fn example(region: &str) -> Config {
    let path = root().join(format!("deploy/example/{region}.toml"));
    let text = fs::read_to_string(&path).unwrap();
    let variables = vec![("PLIMSOLL_TOKENS".to_owned(), format!("acme:{}:read", "s".repeat(64)))];
    Config::load(&Sources { file: Some((path, text)), variables, flags: Vec::new() }).unwrap()
}

#[test]
fn the_examples_are_one_cluster() {
    let seed = REGIONS.map(|region| format!("{region}.plimsoll.example:7172"));
    let first = example(REGIONS[0]);
    for region in REGIONS {
        let config = example(region);
        assert_eq!(config.region.as_str(), region);
        assert_eq!(config.advertise, Some(format!("{region}.plimsoll.example:7172")));
        assert_eq!(config.advertise_http, Some(format!("{region}.plimsoll.example:7171")));
        assert_eq!(config.seed, seed);
        assert!(config.peer_listen.is_some() && config.tls.is_some());
        let (advertise, advertise_http) = (first.advertise.clone(), first.advertise_http.clone());
        let rest = Config { region: first.region.clone(), advertise, advertise_http, ..config };
        assert_eq!(rest, first, "{region}: a node differs from the others in its region and its names alone");
    }
}

#[test]
fn the_unit_and_the_container_fit_what_they_run() {
    let config = example("eu");
    let unit = read("deploy/systemd/plimsoll.service");
    let of_unit = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
    assert!(of_unit("TimeoutStopSec").parse::<u64>().unwrap() > config.shutdown_grace.as_secs());
    assert!(of_unit("LimitNOFILE").parse::<usize>().unwrap() > 2 * config.connections_max);
    assert_eq!(config.data_dir.to_str(), Some(format!("/var/lib/{}", of_unit("StateDirectory")).as_str()));
    let start = of_unit("ExecStart").strip_prefix("/usr/local/bin/plimsoll serve --config ").unwrap();
    assert_eq!(start, "/etc/plimsoll/plimsoll.toml");
    assert_eq!(config.tls.unwrap().to_str(), Some("/etc/plimsoll/tls"));

    let mut misconfigured = Command::new(binary());
    misconfigured.args(["serve", "--config", "/nowhere/plimsoll.toml"]);
    assert_eq!(finish(misconfigured, "").code.to_string(), of_unit("RestartPreventExitStatus"));

    let toolchain = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ")).map(str::to_owned);
    let from = format!("FROM rust:{}-", toolchain.unwrap().trim_matches('"'));
    assert!(read("deploy/container/Containerfile").contains(&from), "it builds with the toolchain of the workspace");
}

/// A rule of `alerts.yml`.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    /// Its other fields by their names, those of its labels and annotations among them.
    fields: BTreeMap<String, String>,
}

impl Alert {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    /// The metrics of its expression, in their order.
    fn metrics(&self) -> Vec<&str> {
        metrics(self.field("expr"))
    }
}

/// The labels an expression asks for, as a node writes them: each of several values by itself.
fn labels(expr: &str) -> Vec<String> {
    let mut parts = expr.split('"');
    let mut labels = Vec::new();
    while let (Some(before), Some(values)) = (parts.next(), parts.next()) {
        let name = before.trim_end_matches(['=', '~']).rsplit(['{', ',', ' ']).next().expect("a name");
        labels.extend(values.split('|').map(|value| format!("{name}=\"{value}\"")));
    }
    labels
}

/// The names of metrics in a text. That of a histogram is without what its series add to it.
fn metrics(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("plimsoll_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

/// The rules of `alerts.yml`. It is read as what it is made of, and not as any YAML: a line for each field, and those of
/// a long text beneath.
fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut last = String::new();
    for line in read("deploy/prometheus/alerts.yml").lines() {
        let line = line.trim_start();
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
            continue;
        }
        let Some(alert) = alerts.last_mut() else { continue };
        let is_key = |key: &str| key.bytes().all(|letter| letter.is_ascii_lowercase());
        match line.split_once(':').filter(|(key, _)| is_key(key)) {
            Some((key, value)) => {
                key.clone_into(&mut last);
                alert.fields.insert(last.clone(), value.trim().trim_start_matches(">-").to_owned());
            }
            None if line.is_empty() || line.starts_with('#') || line.starts_with("- name: ") => {}
            None => {
                let text = alert.fields.get_mut(&last).expect("a field before its text");
                text.push_str(&format!(" {line}"));
            }
        }
    }
    alerts
}

/// The headings of the operator's manual, as a link names them.
fn sections() -> BTreeSet<String> {
    let manual = read("docs/operations.md");
    let headings = manual.lines().filter(|line| line.starts_with("##"));
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || *letter == ' ' || *letter == '-';
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(is_kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_alert_says_how_long_how_bad_and_where_to_read_on() {
    let (alerts, sections) = (alerts(), sections());
    let names: BTreeSet<_> = alerts.iter().map(|alert| &alert.name).collect();
    assert_eq!(names.len(), alerts.len(), "each has a name of its own");
    for alert in &alerts {
        assert!(alert.field("for").ends_with(['m', 'h', 'd']), "{alert:?}");
        assert!(["warning", "critical"].contains(&alert.field("severity")), "{alert:?}");
        assert!(!alert.field("summary").is_empty(), "{alert:?}");
        let section = alert.field("section").strip_prefix("docs/operations.md#").expect("a section of the manual");
        assert!(sections.contains(section), "{}: the manual has no section {section}", alert.name);
    }
}

#[test]
fn the_manual_and_the_alerts_name_the_same_metrics() {
    let manual = read("docs/operations.md");
    let (_, chapter) = manual.split_once("\n## Metrics\n").unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    let rows = chapter.lines().filter_map(|line| line.strip_prefix("| `plimsoll_"));
    let documented: BTreeSet<String> = rows
        .filter_map(|row| {
            let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
            assert!(matches!(cells.len(), 2 | 3), "{row}");
            cells.get(2).filter(|cell| !cell.trim().is_empty())?;
            Some(metrics(&format!("plimsoll_{}", cells[0])).into_iter().map(str::to_owned).collect::<Vec<_>>())
        })
        .flatten()
        .collect();
    // What an alert is about stands first in it.
    let alerted: BTreeSet<String> = alerts().iter().map(|alert| alert.metrics()[0].to_owned()).collect();
    assert_eq!(alerted, documented);
}

#[test]
fn numbers_of_the_alerts_are_those_of_the_examples() {
    let config = example("eu");
    let mib = |bytes: u64| format!("{} * 1048576", bytes / 1_048_576);
    let expected = [
        ("PlimsollConnectionsNearBound", format!("0.8 * {}", config.connections_max)),
        ("PlimsollTenantTransitionsNearQuota", format!("0.8 * {}", config.tenant_transitions_max)),
        ("PlimsollTenantBytesNearQuota", format!("0.8 * {}", mib(config.tenant_bytes_max))),
        ("PlimsollDiskNearlyFull", mib(config.reserve_bytes)),
        ("PlimsollMemberClockOff", format!("0.5 * {}", config.drift_max.as_secs_f64())),
    ];
    let alerts = alerts();
    for (name, number) in expected {
        let alert = alerts.iter().find(|alert| alert.name == name).expect(name);
        let expr = alert.field("expr");
        assert!(format!("{expr} ").contains(&format!(" {number} ")), "{name}: {expr} has no {number}");
    }
}

/// A member made of an example, with its addresses and paths on this machine.
fn member(region: &str, host: Ipv4Addr, seed: &str, folder: &Path) -> Node {
    let config = root().join(format!("deploy/example/{region}.toml"));
    let tls = folder.join(region).join("tls");
    let peer = format!("{host}:{}", port(host));
    let mut certify = Command::new(binary());
    certify.args(["tls", "node", "--ca", text(&folder.join("ca")), "--out", text(&tls), "--host", &host.to_string()]);
    let run = finish(certify, "");
    assert_eq!(run.code, 0, "{run:?}");
    let seed = if seed.is_empty() { &peer } else { seed };
    let arguments = ["--config", text(&config), "--tls", text(&tls)];
    let addresses = ["--peer-listen", &peer, "--advertise", &peer, "--seed", seed, "--pulse-ms", "400"];
    let start = Start::on(&folder.join(region).join("data")).at(&format!("{host}:0"));
    start.arguments(&arguments).arguments(&addresses).start().unwrap()
}

/// A port that is free at an address nobody else takes ports of.
fn port(host: Ipv4Addr) -> u16 {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn nodes_of_the_examples_are_ready_and_expose_what_the_alerts_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut ca = Command::new(binary());
    ca.args(["tls", "ca", "--out", text(&folder.path().join("ca"))]);
    assert_eq!(finish(ca, "").code, 0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let mut seed = String::new();
    let mut nodes = Vec::new();
    for (number, region) in (1..).zip(REGIONS) {
        let node = member(region, Ipv4Addr::new(127, high | 64, low, number), &seed, folder.path());
        node.get("/cluster").json()["peer"].as_str().unwrap().clone_into(&mut seed);
        nodes.push(node);
    }
    for node in &nodes {
        until("the cluster is ready", || {
            let status = node.get("/cluster").json();
            let members = status["members"].as_array().unwrap();
            let is_there = |member: &Value| member["state"] == "alive" && member["connected"] == true;
            status["state"] == "ready" && members.len() == 2 && members.iter().all(is_there)
        });
        // A histogram is not there before something was measured.
        assert_eq!(node.get("/projections/none/cursor").status, 404);
        let text = node.get("/metrics").text;
        let exposed: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).flat_map(metrics).collect();
        for alert in alerts() {
            let missing: Vec<_> = alert.metrics().into_iter().filter(|metric| !exposed.contains(metric)).collect();
            assert!(missing.is_empty(), "{}: no node exposes {missing:?}", alert.name);
            let missing: Vec<_> =
                labels(alert.field("expr")).into_iter().filter(|label| !text.contains(label)).collect();
            assert!(missing.is_empty(), "{}: nothing has the labels {missing:?}", alert.name);
        }
    }
    assert!(nodes.into_iter().all(|node| node.stop().success()));
}
