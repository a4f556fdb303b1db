//! What a node tells of its peers, in Prometheus' text format.
//!
//! Members come and go, so these series are written anew each time and not kept in a registry.

use plimsoll_cluster::cluster::Cluster;
use plimsoll_cluster::status::{MemberStatus, NodeState};

use super::series::{Series, counter, gauge, head};
use super::write_line;

/// Writes all of it.
pub(super) fn render(cluster: &Cluster, text: &mut String) {
    let counts = cluster.counts();
    for (series, value) in [
        (
            counter("plimsoll_peer_sent_bytes_total", "Bytes of feeds sent to peers, before encryption."),
            counts.bytes_sent,
        ),
        (counter("plimsoll_peer_received_bytes_total", "Bytes of feeds taken from peers."), counts.bytes_received),
        (counter("plimsoll_peer_sent_facts_total", "Facts sent to peers."), counts.facts_sent),
        (counter("plimsoll_peer_received_facts_total", "Facts that came from peers."), counts.facts_received),
        (
            counter("plimsoll_peer_received_far_facts_total", "Facts that came from peers of other regions."),
            counts.facts_from_afar,
        ),
        (
            counter("plimsoll_peer_refused_facts_total", "Facts of peers that could not be taken over when they came."),
            counts.facts_refused,
        ),
        (counter("plimsoll_peer_connections_made_total", "Connections made to peers."), counts.links_made),
        (
            counter("plimsoll_peer_connections_failed_total", "Connections to peers that failed or could not be made."),
            counts.links_failed,
        ),
        (
            counter("plimsoll_peer_callers_refused_total", "Callers of the peer port that were turned away."),
            counts.callers_refused,
        ),
        (
            counter("plimsoll_repair_questions_total", "Questions asked to find out where a peer differs."),
            counts.repair_questions,
        ),
        (
            counter("plimsoll_repair_facts_total", "Facts that came in answer, and that no feed had brought."),
            counts.repair_facts,
        ),
        (counter("plimsoll_refs_asked_total", "Times all members were asked for a ref."), counts.refs_asked),
        (counter("plimsoll_refs_repaired_total", "Times one of them knew it."), counts.refs_repaired),
        (
            counter("plimsoll_forgetting_disagreed_total", "Times the members did not agree on what to forget."),
            counts.rounds_failed,
        ),
    ] {
        head(text, &series);
        write_line(text, format_args!("{} {value}", series.name));
    }
    node(cluster, text);
    members(&cluster.members(), text);
}

fn node(cluster: &Cluster, text: &mut String) {
    let state = cluster.state();
    for (series, is_so) in [
        (
            gauge("plimsoll_ready", "1 while the node has what its peers had when it came, and takes writes."),
            state == NodeState::Ready,
        ),
        (
            gauge("plimsoll_clock_fenced", "1 while the node takes no writes because its clock is off."),
            state == NodeState::ClockFenced,
        ),
    ] {
        head(text, &series);
        write_line(text, format_args!("{} {}", series.name, u8::from(is_so)));
    }
    let freshness = cluster.freshness();
    let series = gauge(
        "plimsoll_staleness_seconds",
        "How old what is read here may be; NaN where some member was never heard of.",
    );
    head(text, &series);
    let seconds = freshness.staleness.map_or(f64::NAN, |staleness| staleness.as_secs_f64());
    write_line(text, format_args!("{} {seconds}", series.name));
    let series = gauge("plimsoll_regions_missing", "Regions from which nothing has come lately.");
    head(text, &series);
    write_line(text, format_args!("{} {}", series.name, freshness.regions_missing.len()));
    if let Some(end) = cluster.certificates_end() {
        let series = gauge("plimsoll_certificate_end_timestamp_seconds", "When the first certificate runs out.");
        head(text, &series);
        write_line(text, format_args!("{} {}", series.name, end.get() / 1_000_000_000));
    }
}

fn members(members: &[MemberStatus], text: &mut String) {
    let present: Vec<_> = members.iter().filter(|member| !member.is_gone).collect();
    let mut each = |series: &Series, value: &dyn Fn(&MemberStatus) -> String| {
        head(text, series);
        for member in &present {
            let (node, region) = (member.member.node, &member.member.region);
            write_line(
                text,
                format_args!("{}{{member=\"{node}\",region=\"{region}\"}} {}", series.name, value(member)),
            );
        }
    };
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN).to_string();
    each(&gauge("plimsoll_member_connected", "1 while this node is connected to the member."), &|member| {
        u8::from(member.is_connected).to_string()
    });
    each(&gauge("plimsoll_member_lag_changes", "Changes of the member that are not here yet."), &|member| {
        member.lag_facts.map_or_else(|| "NaN".to_owned(), |lag| lag.to_string())
    });
    each(&gauge("plimsoll_member_lag_seconds", "Everything the member had so long ago is here."), &|member| {
        or_nan(member.lag.map(|lag| lag.as_secs_f64()))
    });
    each(&gauge("plimsoll_member_clock_offset_seconds", "How far the member's clock is ahead."), &|member| {
        #[expect(clippy::cast_precision_loss, reason = "the text format has floats only")]
        let seconds = |nanos: i64| nanos as f64 / 1e9;
        or_nan(member.clock_offset_nanos.map(seconds))
    });
}
