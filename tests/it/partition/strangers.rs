//! Who is no peer: certificates of somebody else, and bytes that are no conversation.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::History;
use plimsoll_tests::hosts::Authority;

use super::load::under_load;
use super::{cluster, comes_to_rest};

/// How often a node has logged something.
fn times(cluster: &Cluster, number: u8, text: &str) -> usize {
    cluster.log(number).matches(text).count()
}

/// Starts the third node with certificates that do not make it a peer: both sides say so, and it gets nothing.
#[track_caller]
fn is_turned_away(cluster: &Cluster, tls: &Path) {
    const TOLD: [(u8, &str); 3] = [
        (1, "caller of the peer port was turned away"),
        (2, "caller of the peer port was turned away"),
        (3, "no connection to a peer"),
    ];
    let before = TOLD.map(|(number, text)| times(cluster, number, text));
    cluster.start_with(3, tls);
    until("all log it", || {
        TOLD.iter().zip(before).all(|((number, text), before)| times(cluster, *number, text) > before)
    });
    for (number, members) in [(1, 1), (2, 1), (3, 0)] {
        let status = cluster.status(number);
        assert_eq!(status["members"].as_array().unwrap().len(), members, "{status}");
        assert_eq!(status["facts"] == 0, number == 3, "{status}");
    }
    cluster.stop(3);
}

#[test]
fn who_has_a_certificate_of_another_authority_is_turned_away() {
    let Some(cluster) = cluster("certificates of another authority", &["eu", "us", "ap"], &[]) else { return };
    let history = History::default();
    cluster.start(1);
    cluster.start(2);
    until("they are connected", || cluster.sees(1, 2) && cluster.sees(2, 1));
    under_load(&cluster, &history, "before", |load| load.more([1, 2], 5));
    let authority = Authority::new();
    let foreign = authority.certify(cluster.network.host(3));
    // It does not believe them, nor they it.
    is_turned_away(&cluster, &foreign);
    // It believes them, and they do not believe it.
    let believed = [&foreign, cluster.certificates(3)].map(|folder| fs::read_to_string(folder.join("ca.pem")).unwrap());
    fs::write(foreign.join("ca.pem"), believed.concat()).unwrap();
    is_turned_away(&cluster, &foreign);
    // With a certificate of theirs it is one of them.
    cluster.start(3);
    cluster.met();
    under_load(&cluster, &history, "after", |load| load.more([1, 2, 3], 10));
    comes_to_rest(&cluster, &history);
}

/// Bytes that look random, and are the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Says something to a peer port, and waits until that hangs up. It may do so before all is said.
fn say(address: &str, words: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    let _ = stream.write_all(words);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "it hangs on");
    }
}

#[test]
fn who_speaks_no_tls_does_no_harm() {
    let Some(cluster) = cluster("garbage at the peer port", &["eu", "us"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    let address = cluster.peer_address(1);
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2], 5);
        cluster.network.as_client(|| {
            // Such a one says nothing, and stays.
            let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
            say(&address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            say(&address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            say(&address, &noise(1 << 20));
            // The head of a record of TLS, of the greatest length there is, and of a hello that is longer.
            let record = [&[22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff][..], &noise(70_000)].concat();
            say(&address, &record);
            load.more([1, 2], 20);
            drop(silent);
        });
        assert!(cluster.sees(1, 2) && cluster.sees(2, 1));
    });
    comes_to_rest(&cluster, &history);
}

/// The flag of a frame of HTTP/2 that ends the head of a question.
const HEAD_ENDS: u8 = 4;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// The first words of a conversation of HTTP/2, and the head of a question, which may go on.
fn question(path: &str, flags: u8) -> Vec<u8> {
    let literal = |name: u8, text: &str| [&[name, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // POST, http, and what has an index for its name only.
    let head = [&[0x83, 0x86][..], &literal(0x04, path), &literal(0x01, "peer")].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, flags, 1, &head)].concat()
}

/// Without certificates a peer port listens on this machine only, and takes anybody for a peer until it says hello.
#[test]
fn who_speaks_nonsense_in_frames_does_no_harm() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let start = plimsoll_tests::node::Start::on(&data.path().join("data"));
    let start = start.log_to(&log).arguments(&["--peer-listen", "127.0.0.1:0"]);
    let node = start.start().unwrap();
    let peer = node.get("/cluster").json()["peer"].as_str().unwrap().to_owned();
    let length = |bytes: u32| bytes.to_be_bytes().to_vec();
    let piece = frame(0, 0, 1, &noise(16_384));
    let bodies = [
        // A frame of the conversation that says it has four GiB, and goes on.
        [frame(0, 0, 1, &length(u32::MAX)), piece.repeat(200)].concat(),
        // One of a length that is allowed, and of nonsense.
        [frame(0, 0, 1, &length(16_384)), frame(0, 1, 1, &noise(16_384))].concat(),
        // One that is empty, one that ends early, and nothing at all.
        frame(0, 1, 1, &length(0)),
        frame(0, 1, 1, &[0, 0]),
        frame(0, 1, 1, &[]),
        // A frame of HTTP/2 that is longer than any may be.
        frame(0, 0, 1, &noise(1 << 20)),
        // The rest of a head that had ended.
        frame(9, 0, 1, &noise(16_000)).repeat(50),
    ];
    for path in ["/peer/hello", "/peer/feed", "/peer/refs", "/peer/nothing", "/"] {
        for body in &bodies {
            say(&peer, &[question(path, HEAD_ENDS), body.clone()].concat());
        }
        // A head without end, of lines that are well-formed.
        let line = [&[0x00, 1, b'x', 127][..], &[b'y'; 127]].concat();
        say(&peer, &[question(path, 0), frame(9, 0, 1, &line.repeat(100)).repeat(100)].concat());
    }
    assert!(node.post(&plimsoll_tests::trace::transition("spec", "t-1", "a", &[])).status == 201);
    assert_eq!(node.get("/cluster").json()["members"].as_array().unwrap().len(), 0);
    assert!(node.stop().success());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("cannot be understood"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
