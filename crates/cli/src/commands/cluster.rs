//! `plimsoll status`, `members`, `leave` and `forget`.

use std::time::Duration;

use plimsoll_client::Client;
use plimsoll_client::wire::http::v1::{ClusterMember, ClusterStatus};
use serde_json::json;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::printer::Printer;

/// How often a status that is watched is asked for.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What a cell says of which nothing is known, or nothing is to be said.
const NOTHING: &str = "-";

pub(super) async fn status(client: &Client, is_watched: bool, printer: &mut Printer) -> Result<(), Failure> {
    loop {
        match client.cluster().await {
            Ok(status) => show(&status, is_watched, printer)?,
            Err(error) if is_watched && error.is_transient() => {
                printer.remark(&format!("plimsoll: the node cannot be asked now ({error}); still trying"));
            }
            Err(error) => return Err(Failure::request("look at the cluster")(error)),
        }
        if !is_watched {
            return Ok(());
        }
        sleep(WATCH_INTERVAL).await;
    }
}

fn show(status: &ClusterStatus, is_watched: bool, printer: &mut Printer) -> Result<(), Failure> {
    if is_watched {
        printer.begin_screen()?;
    }
    printer.answer(status, || format!("{}\n\n{}", status_table(status), summary(status)))?;
    // Whoever watches wants it now.
    printer.flush()
}

pub(super) async fn members(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let status = client.cluster().await.map_err(Failure::request("look at the members"))?;
    printer.answer(&status, || members_table(&status))
}

/// Which of several nodes is the nearest is no way to choose one that leaves for good.
pub(super) async fn leave(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    let mut urls = client.urls();
    let (Some(url), None) = (urls.next(), urls.next()) else {
        return Err(Failure::Config { detail: "one node leaves: give its URL alone, with --url".to_owned() });
    };
    client.leave().await.map_err(Failure::request("leave the cluster"))?;
    printer.answer(&json!({"url": url, "left": true}), || {
        format!(
            "{url} has left the cluster for good: stop it; it may come back as a new node, with an empty data directory"
        )
    })
}

pub(super) async fn forget(client: &Client, node_id: &str, printer: &mut Printer) -> Result<(), Failure> {
    client.forget(node_id).await.map_err(Failure::request(format!("forget {node_id:?}")))?;
    printer.answer(&json!({"node_id": node_id, "forgotten": true}), || format!("forgot {node_id}"))
}

fn members_table(status: &ClusterStatus) -> String {
    let peer = status.peer.clone().unwrap_or_else(|| NOTHING.to_owned());
    let here = [status.node_id.clone(), status.region.clone(), peer, "this node".to_owned(), status.state.clone()];
    let member = |member: &ClusterMember| {
        let ClusterMember { node_id, region, peer, http, state, .. } = member.clone();
        [node_id, region, peer, http, state]
    };
    let header = ["node", "region", "peer", "http", "state"].map(str::to_owned);
    table([header, here].into_iter().chain(status.members.iter().map(member)))
}

fn status_table(status: &ClusterStatus) -> String {
    let header = ["node", "region", "state", "http", "version", "behind", "clock", "last seen", "data"];
    let here = [
        status.node_id.clone(),
        status.region.clone(),
        status.state.clone(),
        "this node".to_owned(),
        status.version.clone(),
        NOTHING.to_owned(),
        NOTHING.to_owned(),
        NOTHING.to_owned(),
        format!("{} facts", status.facts),
    ];
    let members = status.members.iter().map(|member| status_row(member, &status.digest));
    table([header.map(str::to_owned), here].into_iter().chain(members))
}

fn status_row(member: &ClusterMember, digest: &str) -> [String; 9] {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    [
        member.node_id.clone(),
        member.region.clone(),
        member.state.clone(),
        member.http.clone(),
        member.version.clone(),
        behind(member),
        or_nothing(member.clock_offset_ms.map(clock)),
        or_nothing(member.last_seen.as_deref().map(to_the_second)),
        data(member, digest).to_owned(),
    ]
}

/// How much of a member is not here yet, and how long ago all of it was.
fn behind(member: &ClusterMember) -> String {
    let facts = member.lag_facts.map(|facts| format!("{facts} facts"));
    let age = member.lag_ms.map(age);
    let parts: Vec<String> = [facts, age].into_iter().flatten().collect();
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join(", ") }
}

fn age(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}

/// How far a clock is ahead.
fn clock(millis: i64) -> String {
    if millis == 0 { "0 ms".to_owned() } else { format!("{millis:+} ms") }
}

/// A time without the part of a second, which says nothing about a node that was heard of at some time.
fn to_the_second(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |whole| format!("{whole}Z"))
}

fn data(member: &ClusterMember, digest: &str) -> &'static str {
    match &member.digest {
        _ if is_gone(member) => NOTHING,
        None => "unknown",
        Some(told) if told == digest => "equal",
        Some(_) => "differs",
    }
}

fn is_gone(member: &ClusterMember) -> bool {
    member.state == "gone"
}

/// Whether all is well, in a line; what is not, in a line each.
fn summary(status: &ClusterStatus) -> String {
    let present: Vec<&ClusterMember> = status.members.iter().filter(|member| !is_gone(member)).collect();
    let here = (status.state != "ready").then(|| format!("this node is {}", status.state));
    let others = present.iter().filter_map(|member| what_is_wrong(member, &status.digest));
    let wrong: Vec<String> = here.into_iter().chain(others).collect();
    let size = match (present.len() + 1, &status.cluster) {
        (_, None) => "a node alone, started without --peer-listen".to_owned(),
        (1, Some(cluster)) => format!("1 member of the cluster {cluster}"),
        (size, Some(_)) => format!("{size} members"),
    };
    match (wrong.as_slice(), present.len()) {
        ([], 0) => size,
        ([], _) => format!("{size}, all equal"),
        (wrong, _) => format!("{size}, and something is wrong:\n  {}", wrong.join("\n  ")),
    }
}

/// What is wrong with a member, by name; `None` for nothing.
fn what_is_wrong(member: &ClusterMember, digest: &str) -> Option<String> {
    let presence = match member.state.as_str() {
        "alive" if member.connected => None,
        "alive" => Some("is not connected".to_owned()),
        state => Some(format!("is {state}")),
    };
    let data = match data(member, digest) {
        "unknown" => Some("has not told yet what it has".to_owned()),
        "differs" => Some("has other data".to_owned()),
        _ => None,
    };
    let found: Vec<String> = [presence, data, member.trouble.clone()].into_iter().flatten().collect();
    (!found.is_empty()).then(|| format!("{} in {} {}", member.node_id, member.region, found.join("; ")))
}

/// Rows as lines of text, with each column as wide as its widest cell.
fn table<const COLUMNS: usize>(rows: impl IntoIterator<Item = [String; COLUMNS]>) -> String {
    let rows: Vec<[String; COLUMNS]> = rows.into_iter().collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node_id: &str) -> ClusterMember {
        ClusterMember {
            node_id: node_id.to_owned(),
            region: "us".to_owned(),
            state: "alive".to_owned(),
            http: "us.example:7171".to_owned(),
            peer: "us.example:7172".to_owned(),
            version: "0.1.0".to_owned(),
            connected: true,
            lag_facts: Some(0),
            lag_ms: Some(120),
            clock_offset_ms: Some(-3),
            last_seen: Some("2026-04-22T18:04:11.123456789+00:00".to_owned()),
            facts: Some(7),
            digest: Some("d".to_owned()),
            trouble: None,
        }
    }

    fn status(members: Vec<ClusterMember>) -> ClusterStatus {
        ClusterStatus {
            node_id: "n-1".to_owned(),
            region: "eu".to_owned(),
            state: "ready".to_owned(),
            facts: 7,
            digest: "d".to_owned(),
            cluster: Some("c".to_owned()),
            peer: Some("eu.example:7172".to_owned()),
            version: "0.1.0".to_owned(),
            members,
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "größe", ""], ["long", "b", "c"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(rows), "a     größe\nlong  b      c");
    }

    #[test]
    fn this_node_is_the_first_line_and_each_member_has_its_own() {
        let unheard = ClusterMember {
            state: "down".to_owned(),
            connected: false,
            lag_facts: None,
            lag_ms: None,
            clock_offset_ms: None,
            last_seen: None,
            digest: None,
            ..member("n-3")
        };
        let expected = "\
node  region  state  http             version  behind           clock  last seen             data
n-1   eu      ready  this node        0.1.0    -                -      -                     7 facts
n-2   us      alive  us.example:7171  0.1.0    0 facts, 120 ms  -3 ms  2026-04-22T18:04:11Z  equal
n-3   us      down   us.example:7171  0.1.0    -                -      -                     unknown";
        assert_eq!(status_table(&status(vec![member("n-2"), unheard])), expected);
    }

    #[test]
    fn the_members_are_told_with_their_addresses() {
        let expected = "\
node  region  peer             http             state
n-1   eu      eu.example:7172  this node        ready
n-2   us      us.example:7172  us.example:7171  alive";
        assert_eq!(members_table(&status(vec![member("n-2")])), expected);
    }

    #[test]
    fn the_summary_says_whether_all_is_well() {
        let gone = ClusterMember { state: "gone".to_owned(), connected: false, digest: None, ..member("n-4") };
        assert_eq!(summary(&status(vec![member("n-2"), member("n-3"), gone])), "3 members, all equal");
        assert_eq!(summary(&status(Vec::new())), "1 member of the cluster c");
        let alone = ClusterStatus { cluster: None, peer: None, ..status(Vec::new()) };
        assert_eq!(summary(&alone), "a node alone, started without --peer-listen");
    }

    #[test]
    fn the_summary_says_what_is_wrong() {
        let wrong = |member: ClusterMember| summary(&status(vec![member])).lines().nth(1).unwrap().trim().to_owned();
        let trouble = Some("no answer".to_owned());
        let down = ClusterMember { state: "down".to_owned(), connected: false, trouble, ..member("n-2") };
        assert_eq!(wrong(down), "n-2 in us is down; no answer");
        assert_eq!(wrong(ClusterMember { connected: false, ..member("n-2") }), "n-2 in us is not connected");
        let behind = ClusterMember { digest: Some("e".to_owned()), ..member("n-2") };
        assert_eq!(wrong(behind), "n-2 in us has other data");
        assert_eq!(wrong(ClusterMember { digest: None, ..member("n-2") }), "n-2 in us has not told yet what it has");
        let fenced = ClusterStatus { state: "clock_fenced".to_owned(), ..status(Vec::new()) };
        assert!(summary(&fenced).ends_with("something is wrong:\n  this node is clock_fenced"));
    }

    #[test]
    fn a_clock_is_ahead_behind_or_neither() {
        assert_eq!([3, 0, -3].map(clock), ["+3 ms", "0 ms", "-3 ms"]);
    }

    #[test]
    fn an_age_is_told_in_the_unit_that_fits() {
        assert_eq!(
            [999, 1_000, 59_999, 60_000, 3_599_999, 7_200_000].map(age),
            ["999 ms", "1.0 s", "59.9 s", "1 min", "59 min", "2 h"]
        );
    }
}
