use std::net::Ipv4Addr;

use super::*;
use crate::trace::{set_now, traced};

const ONE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 168, 0, 1), 49_152);
const OTHER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 168, 0, 2), 7_172);

fn segment(what: &'static str, millis: u64, protocol: &str) {
    set_now(Duration::from_millis(millis));
    let (src, dst) = (std::net::SocketAddr::from(ONE), std::net::SocketAddr::from(OTHER));
    match what {
        "Send" => tracing::trace!(target: "turmoil", ?src, ?dst, %protocol, "Send"),
        "Hold" => tracing::trace!(target: "turmoil", ?src, ?dst, %protocol, "Hold"),
        "Drop" => tracing::trace!(target: "turmoil", ?src, ?dst, %protocol, "Drop"),
        "Recv" => tracing::trace!(target: "turmoil", ?src, ?dst, %protocol, "Recv"),
        _ => tracing::trace!(target: "turmoil", ?src, ?dst, %protocol, "Delivered"),
    }
}

fn hosts() {
    for (nodename, address) in [("n1", ONE.0), ("n2", OTHER.0)] {
        let addr = std::net::IpAddr::from(address);
        tracing::info!(target: "turmoil", nodename, ?addr, "New");
    }
    tracing::info!(name = "n1", address = %ONE.0, region = "eu", "host");
}

fn hex(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:#2X}")).collect();
    format!("TCP [{}]", bytes.join(", "))
}

#[test]
fn what_became_of_messages_is_told() {
    let ((), recording) = recorded(|| {
        hosts();
        segment("Send", 1, "TCP SYN");
        segment("Delivered", 2, "TCP SYN");
        segment("Recv", 2, "TCP SYN");
        segment("Send", 2, "TCP SYN-ACK");
        segment("Send", 3, &hex("gone"));
        segment("Drop", 3, &hex("gone"));
        segment("Send", 4, &hex("late"));
        segment("Hold", 4, &hex("late"));
        segment("Send", 5, &hex("HTTP/1.1 200 OK\r\n"));
        segment("Delivered", 6, &hex("HTTP/1.1 200 OK\r\n"));
        segment("Delivered", 9, &hex("late"));
        segment("Send", 10, "TCP FIN");
    });
    let told: Vec<_> = recording
        .messages
        .iter()
        .map(|message| (message.text.as_str(), message.fate, message.arrived.map(|at| at.as_millis()), message.bytes))
        .collect();
    let expected = [
        ("SYN", Fate::Delivered, Some(2), 0),
        ("", Fate::Lost, None, 4),
        ("", Fate::Held, Some(9), 4),
        ("200 OK", Fate::Delivered, Some(6), 17),
        ("FIN", Fate::Open, None, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(recording.hosts[0], Host { name: "n1".into(), region: Some("eu".into()) });
    assert_eq!((recording.messages[0].from, recording.messages[0].to), (0, 1));
}

#[test]
fn what_one_connection_sends_in_one_tick_is_one_message() {
    let ((), recording) = recorded(|| {
        hosts();
        for text in ["a", "b", "c"] {
            segment("Send", 1, &hex(text));
        }
        for text in ["a", "b"] {
            segment("Delivered", 2, &hex(text));
        }
        segment("Delivered", 3, &hex("c"));
    });
    let sizes: Vec<_> = recording.messages.iter().map(|message| (message.segments, message.bytes)).collect();
    assert_eq!(sizes, [(2, 2), (1, 1)]);
}

#[test]
fn clients_nodes_and_faults_are_heard_and_ids_are_found_in_messages() {
    let ((), recording) = recorded(|| {
        hosts();
        tracing::info_span!("node", name = "emitter1").in_scope(|| {
            tracing::info!(id = "e1-1", transition = r#"{"artifact_id":"a-7","transition_id":"e1-1"}"#, "posts");
        });
        segment("Send", 1, &hex("\u{5}e1-1\u{0}a-7xe1-12"));
        tracing::info_span!("node", name = "n1").in_scope(|| {
            tracing::warn!(target: "plimsoll_node::writer", id = "e1-1", "slow");
        });
        tracing::info!(fault = %"cut n1 n2", "fault");
        tracing::info!(id = "e1-1", node = 2_u8, outcome = "Stands", "was told");
        tracing::info!(host = 1_u8, status = 204_u16, "was let leave");
        tracing::debug!(id = "e1-1", "not heard");
    });
    let named = |ids: &[IdIndex]| ids.iter().map(|id| recording.ids[*id].clone()).collect::<Vec<_>>();
    assert_eq!(named(&recording.messages[0].concerns), ["e1-1"]);
    assert_eq!(named(&recording.lines[0].concerns), ["e1-1"]);
    assert_eq!((recording.lines[0].host, recording.lines[0].weight), (Some(0), Weight::Warning));
    assert_eq!(recording.lines[0].text, "node::writer: slow id=e1-1");
    assert_eq!(recording.faults[0].text, "cut n1 n2");
    let [posts, told, leave] = &recording.words[..] else { panic!("{:?}", recording.words) };
    assert_eq!((posts.name.as_str(), posts.artifact), ("posts", Some(1)));
    assert_eq!(posts.host.map(|host| recording.hosts[host].name.as_str()), Some("emitter1"));
    assert_eq!((told.node, told.outcome.as_deref()), (Some(1), Some("Stands")));
    assert_eq!((leave.node, leave.name.as_str()), (Some(0), "was let leave"));
}

#[test]
fn beyond_the_bound_the_oldest_are_left_out_and_counted() {
    let ((), recording) = recorded(|| {
        for number in 0..LINES_MAX + 3 {
            tracing::info!(target: "plimsoll_node", number, "said");
        }
        tracing::info!(target: "plimsoll_node", "{}", "ä".repeat(TEXT_BYTES_MAX));
    });
    assert_eq!((recording.lines.len(), recording.left_out.lines), (LINES_MAX, 4));
    assert!(recording.lines[0].text.ends_with("number=4"), "{}", recording.lines[0].text);
    assert!(recording.lines[LINES_MAX - 1].text.len() < TEXT_BYTES_MAX + 40);
}

#[test]
fn a_run_can_be_traced_and_recorded_either_way_round() {
    let say = || tracing::info!(target: "plimsoll_node", "said");
    let (((), lines), recording) = recorded(|| traced(say));
    assert_eq!((recording.lines.len(), lines.ends_with(b"said\n")), (1, true));
    let (((), recording), lines) = traced(|| recorded(say));
    assert_eq!((recording.lines.len(), lines.ends_with(b"said\n")), (1, true));
    let ((), lines) = traced(say);
    assert!(lines.ends_with(b"said\n"));
}
