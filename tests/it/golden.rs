//! Bytes that others hold: what is written today must be what was written before.
//!
//! `PLIMSOLL_GOLDEN=write cargo test -p plimsoll-tests golden` (or `cargo tidy-up`) writes what is missing or has
//! changed. A new file is a new version; a changed one breaks somebody.

use std::env;
use std::fs;
use std::path::PathBuf;

use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, ClusterName, NodeId, Region, Status, TenantId, TransitionId};
use plimsoll_domain::projection::reconcile::{Answer, Question, Range};
use plimsoll_domain::projection::{
    Body, Fact, FactHash, FactKey, Fingerprint, Horizon, Projection, RefDraft, RefKey, RefState, RefsDigest,
    Resolution, Token, Transition, Winner,
};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_node::config::SETTINGS;
use plimsoll_tests::root;
use plimsoll_wire::peer::v1::{self as peer, Downstream, Kept, Member, Recent, RosterEntry, Versions, Wanted, Welcome};
use plimsoll_wire::peer::{FrameError, Frames};
use plimsoll_wire::problem::Kind;
use plimsoll_wire::record::{v1, v2};

/// Compares with a file of the tree, or writes it.
fn expect(path: &str, actual: &str) {
    let expected = String::from_utf8(kept(path, actual.as_bytes())).unwrap();
    assert!(expected == actual, "{path} differs from what is written now:\n{actual}");
}

/// What a file of the tree holds, or, where it is to be written, holds now.
fn kept(path: &str, actual: &[u8]) -> Vec<u8> {
    let path: PathBuf = root().join(path);
    if env::var("PLIMSOLL_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The records of version 1 are read for ever, those of version 2 are what is written.
fn expect_record<Value: PartialEq + std::fmt::Debug>(
    name: &str,
    value: &Value,
    encoded: &[u8],
    decode: impl Fn(&[u8]) -> Value,
) {
    let version = encoded[1];
    expect(&format!("tests/golden/record/v{version}/{name}.hex"), &hex(encoded));
    assert_eq!(decode(encoded), *value);
}

/// A frame as it is written in a conversation of `version`, and read from the file. It is a seed of the fuzzer too.
fn expect_frame<Frame: PartialEq + std::fmt::Debug>(
    version: u16,
    name: &str,
    frame: &Frame,
    encoded: &[u8],
    decode: impl Fn(&[u8]) -> Result<Frame, FrameError>,
) {
    let path = format!("tests/golden/peer/v{version}/{name}.hex");
    expect(&path, &hex(encoded));
    let read = unhex(&fs::read_to_string(root().join(&path)).unwrap());
    assert_eq!(decode(Frames::only(&read).unwrap()).unwrap(), *frame, "{path}");
    let seed = format!("tests/fuzz/corpus/frame/v{version}-{name}");
    assert!(kept(&seed, encoded) == encoded, "{seed} is not the golden frame");
}

fn stamp(time: u64) -> Timestamp {
    Timestamp { time: UnixNanos::new(1_776_881_051_000_000_000 + time), node: NodeId::new(0x00c0_ffee_00c0_ffee) }
}

fn resolution() -> Resolution {
    Resolution {
        number: 96,
        url: "https://forge.example/acme/api/pull/96".into(),
        created_at: "2026-04-22T18:04:11Z".into(),
    }
}

#[test]
fn golden_facts() {
    let refs = vec![
        RefDraft { target_repo: "acme/web".into(), idempotency_key: "k-1".into(), resolution: None },
        RefDraft {
            target_repo: "acme/api".into(),
            idempotency_key: "k-0".into(),
            resolution: Some((96, resolution().url.into(), resolution().created_at.into())),
        },
    ];
    let transition = Transition::parse("spec-login-flow".into(), "t-1".into(), "in_review".into(), refs).unwrap();
    let tombstone = Body::Tombstone(ArtifactId::parse("spec-login-flow").unwrap());
    for (name, body) in [("transition", Body::Transition(transition)), ("tombstone", tombstone)] {
        let tenant = TenantId::parse("acme").unwrap();
        let fact = Fact { body, first: stamp(1), last: stamp(2) };
        let stored = v1::StoredFact { tenant, fact };
        let bytes = v1::encode_fact(&stored.tenant, &stored.fact);
        expect_record(name, &stored, &bytes, |bytes| v1::decode_fact(bytes).unwrap());
    }
}

#[test]
fn golden_heads_and_refs() {
    let winner = Winner {
        stamp: stamp(1),
        transition: TransitionId::parse("t-1").unwrap(),
        status: Status::parse("in_review").unwrap(),
    };
    let projection = Projection {
        seen: Some(stamp(2)),
        tombstone: Some(stamp(0)),
        winner: Some(winner),
        refs: RefsDigest { sum: u128::MAX / 3, count: 2 },
    };
    let head = v1::StoredHead { projection, sequence: 70_000 };
    let bytes = v1::encode_head(&head.projection, head.sequence);
    expect_record("head", &head, &bytes, |bytes| v1::decode_head(bytes).unwrap());
    let resolved = RefState::Resolved { resolution: resolution(), stamp: stamp(1) };
    for (name, state) in [("ref-pending", RefState::Pending), ("ref-resolved", resolved)] {
        let key = RefKey { target_repo: "acme/api".into(), idempotency_key: "k-0".into() };
        let bytes = v1::encode_ref(&key, &state);
        expect_record(name, &(key, state), &bytes, |bytes| v1::decode_ref(bytes).unwrap());
    }
}

#[test]
fn golden_heads_places_and_packs() {
    let bytes = fs::read_to_string(root().join("tests/golden/record/v1/head.hex")).unwrap();
    let old = v2::decode_head(&unhex(&bytes)).unwrap();
    assert_eq!(old.refs, v2::StoredRefs::Apart);
    let place = v2::Place { sequence: 70_000, offset: 3 };
    expect_record("place", &place, &v2::encode_place(place), |bytes| v2::decode_place(bytes).unwrap());
    let history = v2::StoredHistory { apart: Some(stamp(0)), recent: vec![(stamp(1), place)] };
    let key = |key: &str| RefKey { target_repo: "acme/api".into(), idempotency_key: key.into() };
    let resolved = RefState::Resolved { resolution: resolution(), stamp: stamp(1) };
    let here = v2::StoredRefs::Here(vec![(key("k-0"), resolved), (key("k-1"), RefState::Pending)]);
    for (name, refs) in [("head", here), ("head-refs-apart", v2::StoredRefs::Apart)] {
        let head = v2::StoredHead { refs, history: history.clone(), ..old.clone() };
        expect_record(name, &head, &v2::encode_head(&head), |bytes| v2::decode_head(bytes).unwrap());
    }
    let tombstone = Fact::new(Body::Tombstone(ArtifactId::parse("spec").unwrap()), stamp(1));
    let fact = v1::encode_fact(&TenantId::parse("acme").unwrap(), &tombstone);
    let pack = v2::encode_pack(&[fact.as_slice(), &[], &fact]);
    expect_record("pack", &vec![Some(fact.clone()), None, Some(fact)], &pack, |bytes| {
        v2::decode_pack(bytes).unwrap().into_iter().map(|fact| fact.map(<[u8]>::to_vec)).collect()
    });
}

#[test]
fn golden_labels() {
    let identity = v1::StoredIdentity { node: NodeId::new(0x00c0_ffee_00c0_ffee), incarnation: 7 };
    let bytes = v1::encode_identity(identity);
    expect_record("identity", &identity, &bytes, |bytes| v1::decode_identity(bytes).unwrap());
    let usage = v1::StoredUsage { facts: 848, bytes: 257_862 };
    expect_record("usage", &usage, &v1::encode_usage(usage), |bytes| v1::decode_usage(bytes).unwrap());
    let fingerprint = Fingerprint { sum: u128::MAX / 3, count: 848 };
    let bytes = v1::encode_fingerprint(fingerprint);
    expect_record("fingerprint", &fingerprint, &bytes, |bytes| v1::decode_fingerprint(bytes).unwrap());
    let leaves = vec![(0, fingerprint), (255, Fingerprint { sum: 7, count: 1 })];
    expect_record("leaves", &leaves, &v1::encode_leaves(&leaves), |bytes| v1::decode_leaves(bytes).unwrap());
    let (key, hash) = (FactKey::new(*b"sixteen bytes 16"), FactHash::new(u128::MAX / 3));
    let removal = v1::StoredRemoval { key, hash };
    expect_record("removal", &removal, &v1::encode_removal(removal), |bytes| v1::decode_removal(bytes).unwrap());
    let horizon = Horizon { until: stamp(5).time, facts: Fingerprint { sum: u128::MAX / 3, count: 7 } };
    let stored = v1::StoredHorizon { reached: horizon, is_forgetting: true, promised: Some(Horizon::default()) };
    expect_record("horizon", &stored, &v1::encode_horizon(stored), |bytes| v1::decode_horizon(bytes).unwrap());
    expect_record("stamp", &stamp(5), &v1::encode_stamp(stamp(5)), |bytes| v1::decode_stamp(bytes).unwrap());
    let watermark = v1::StoredWatermark { incarnation: 7, sequence: 70_000 };
    let bytes = v1::encode_watermark(watermark);
    expect_record("watermark", &watermark, &bytes, |bytes| v1::decode_watermark(bytes).unwrap());
    expect_record("number", &70_000, &v1::encode_number(70_000), |bytes| v1::decode_number(bytes).unwrap());
}

fn member(node: u64) -> Member {
    Member {
        node: NodeId::new(node),
        incarnation: 7,
        generation: 3,
        region: Region::parse("eu-west").unwrap(),
        peer: format!("node-{node}.example:7172"),
        http: format!("node-{node}.example:7171"),
        software: "0.1.0".to_owned(),
        versions: Versions { oldest: 1, newest: 2 },
    }
}

fn roster() -> Vec<RosterEntry> {
    [(2, false), (3, true)].map(|(node, gone)| RosterEntry { member: member(node), gone }).into()
}

#[test]
fn golden_frames_of_the_first_exchange() {
    let cluster = ClusterName::parse("plimsoll").unwrap();
    let hello = peer::Hello { cluster: cluster.clone(), instance: 70_000, member: member(1), roster: roster() };
    expect_frame(1, "hello", &hello, &peer::encode_hello(&hello), peer::decode_hello);
    let welcome = Welcome::Welcome { version: 2, hello: Box::new(hello) };
    expect_frame(1, "welcome", &welcome, &peer::encode_welcome(&welcome), peer::decode_welcome);
    for (name, refusal) in [
        ("refused-other-cluster", peer::Refusal::OtherCluster { cluster: "other".to_owned() }),
        ("refused-no-common-version", peer::Refusal::NoCommonVersion { oldest: 3, newest: 4 }),
        ("refused-yourself", peer::Refusal::Yourself),
        ("refused-same-node", peer::Refusal::SameNode),
        ("refused-gone", peer::Refusal::Gone),
    ] {
        let refused = Welcome::Refused(refusal);
        expect_frame(1, name, &refused, &peer::encode_welcome(&refused), peer::decode_welcome);
    }
    expect_frame(1, "roster", &roster(), &peer::encode_roster(&roster()), peer::decode_roster);
    let kept = Kept { cluster, generation: 3, joined: true, has_left: false, roster: roster() };
    expect_frame(1, "kept", &kept, &peer::encode_kept(&kept), peer::decode_kept);
}

/// Two facts of a feed, as they are stored.
fn records() -> Vec<Vec<u8>> {
    let tenant = TenantId::parse("acme").unwrap();
    let tombstone = Fact::new(Body::Tombstone(ArtifactId::parse("spec-login-flow").unwrap()), stamp(3));
    [transition(), tombstone].iter().map(|fact| v1::encode_fact(&tenant, fact)).collect()
}

fn transition() -> Fact {
    let refs = vec![RefDraft { target_repo: "acme/web".into(), idempotency_key: "k-1".into(), resolution: None }];
    let transition = Transition::parse("spec-login-flow".into(), "t-1".into(), "in_review".into(), refs).unwrap();
    Fact { body: Body::Transition(transition), first: stamp(1), last: stamp(2) }
}

#[test]
fn golden_frames_of_a_feed() {
    for (name, wanted) in
        [("follow-own", Wanted::Own), ("follow-all-but", Wanted::AllBut(vec![NodeId::new(2), NodeId::new(u64::MAX)]))]
    {
        let follow = peer::Follow { incarnation: 7, after: 70_000, wanted };
        expect_frame(1, name, &follow, &peer::encode_follow(&follow), peer::decode_follow);
    }
    let expect_downstream = |version, name: &str, frame: &Downstream| {
        expect_frame(version, name, frame, &peer::encode_downstream(version, &mut Recent::default(), frame), |frame| {
            peer::decode_downstream(&mut Recent::default(), frame)
        });
    };
    expect_downstream(1, "begins", &Downstream::Begins { incarnation: 7, after: 70_000 });
    let facts = [records(), records()].concat();
    let facts: Vec<_> = [70_001, 70_002, 70_100, 70_356].into_iter().zip(facts).collect();
    let page =
        Downstream::Page(peer::Page { after: 70_000, up_to: 70_400, clock: stamp(4).time.get(), awaited: true, facts });
    expect_downstream(1, "page", &page);
    // LZ4 leaves its writer a choice: where another one chooses otherwise these bytes stay, as what is read, and new ones
    // stand beside them.
    expect_downstream(2, "page", &page);
    let facts = vec![(1, (0..=255).collect())];
    let incompressible = Downstream::Page(peer::Page { after: 0, up_to: 1, clock: 0, awaited: true, facts });
    expect_downstream(1, "page-incompressible", &incompressible);
    let [plain, compressed] =
        [1, 2].map(|version| peer::encode_downstream(version, &mut Recent::default(), &incompressible));
    assert_eq!(compressed, plain, "what compression would make longer is sent plain");
    expect_downstream(4, "page-first", &page);
    let mut told = Recent::default();
    drop(peer::encode_downstream(4, &mut told, &page));
    let heard = told.clone();
    let facts = vec![(70_401, records()[0].clone()), (70_402, records()[1].clone())];
    let next = peer::Page { after: 70_400, up_to: 70_402, clock: stamp(5).time.get(), awaited: false, facts };
    let next = Downstream::Page(next);
    let written = peer::encode_downstream(4, &mut told, &next);
    assert!(written.len() < 60, "{} bytes", written.len());
    expect_frame(4, "page-after-it", &next, &written, |frame| peer::decode_downstream(&mut heard.clone(), frame));
    let pulse = peer::Pulse {
        told: 70_000,
        durable: 70_003,
        clock: stamp(4).time.get(),
        echo: Some(peer::Echo { sent: stamp(2).time.get(), received: stamp(3).time.get() }),
        facts: Some((848, u128::MAX / 3)),
        ready: true,
        relayed: vec![peer::Relayed {
            node: NodeId::new(2),
            incarnation: 7,
            sequence: 300,
            clock: stamp(1).time.get(),
        }],
    };
    let idle = peer::Pulse { durable: 70_000, echo: None, facts: None, ready: false, relayed: Vec::new(), ..pulse };
    expect_downstream(1, "pulse", &Downstream::Pulse(pulse));
    expect_downstream(1, "pulse-idle", &Downstream::Pulse(idle));
    let upstream = peer::Upstream { sequence: 70_000, clock: stamp(4).time.get() };
    expect_frame(1, "upstream", &upstream, &peer::encode_upstream(&upstream), peer::decode_upstream);
}

#[test]
fn golden_frames_of_questions() {
    let (tenant, artifact) = (TenantId::parse("acme").unwrap(), ArtifactId::parse("spec-login-flow").unwrap());
    let refs = vec![("acme/web".to_owned(), "k-1".to_owned()), ("acme/api".to_owned(), "k-0".to_owned())];
    let ask = peer::AskRefs { tenant: tenant.clone(), artifact: artifact.clone(), refs };
    expect_frame(1, "ask-refs", &ask, &peer::encode_ask_refs(&ask), peer::decode_ask_refs);
    expect_frame(1, "facts", &records(), &peer::encode_facts(&records()), peer::decode_facts);
    let encoded = peer::encode_ask_token(&tenant, &artifact);
    expect_frame(1, "ask-token", &(tenant.clone(), artifact), &encoded, peer::decode_ask_token);
    let text = "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
    for (name, text) in [("token", Some(text)), ("token-none", None)] {
        let token = text.map(|text| Token::parse(text).unwrap());
        expect_frame(1, name, &token, &peer::encode_token(text), peer::decode_token);
    }
    let datagrams = vec![b"one".to_vec(), Vec::new()];
    expect_frame(1, "datagrams", &datagrams, &peer::encode_datagrams(&datagrams), peer::decode_datagrams);
    let compare = Question::Compare(vec![Range::WHOLE, Range::new(1, 15).unwrap()]);
    let after = Some(FactKey::new(*b"sixteen bytes 16"));
    let leaf = Range::new(Range::DEPTH_MAX, u16::MAX).unwrap();
    let facts = Question::Facts { ranges: vec![Range::new(2, 7).unwrap(), leaf], after, have: vec![1, u64::MAX] };
    for (name, question) in [("question-compare", compare), ("question-facts", facts)] {
        expect_frame(1, name, &question, &peer::encode_question(&question), peer::decode_question);
    }
    let fingerprint = |count| Fingerprint { sum: u128::MAX / 3 * u128::from(count & 1), count };
    let children = Answer::Children(vec![std::array::from_fn(|child| fingerprint(child as u64))]);
    let facts = Answer::Facts { facts: vec![(tenant, transition())], next: after };
    for (name, answer) in [("answer-children", children), ("answer-facts", facts)] {
        expect_frame(1, name, &answer, &peer::encode_answer(&answer), peer::decode_answer);
    }
}

#[test]
fn golden_frames_of_forgetting() {
    let horizon = Horizon { until: stamp(5).time, facts: Fingerprint { sum: u128::MAX / 3, count: 7 } };
    let standing = peer::Standing { horizon: Some(horizon), taken: Some((7, 70_000)) };
    let forgetting = peer::Standing { horizon: None, taken: None };
    for (name, standing) in [("standing", standing), ("standing-forgetting", forgetting)] {
        expect_frame(3, name, &standing, &peer::encode_standing(standing), peer::decode_standing);
    }
    let until = stamp(5).time;
    expect_frame(3, "ask-promise", &until, &peer::encode_ask_promise(until), peer::decode_ask_promise);
    let absences = vec![(NodeId::new(2), Duration::from_secs(70)), (NodeId::new(3), Duration::ZERO)];
    expect_frame(3, "absences", &absences, &peer::encode_absences(&absences), peer::decode_absences);
    for (name, promise) in [("promise", Some(horizon)), ("promise-none", None)] {
        expect_frame(3, name, &promise, &peer::encode_promise(promise), peer::decode_promise);
    }
    let keys = vec![FactKey::new([7; FactKey::BYTES]), FactKey::new([0xff; FactKey::BYTES])];
    expect_frame(3, "ask-held", &keys, &peer::encode_ask_held(&keys), peer::decode_ask_held);
    let held = vec![true, false];
    expect_frame(3, "held", &held, &peer::encode_held(&held), peer::decode_held);
}

/// The reference of the configuration is written from the settings themselves.
#[test]
fn golden_configuration_reference() {
    let mut page = String::from(
        "# Configuration\n\nWritten from the source by `cargo tidy-up`. Every setting has a key in the file that `--config` names (TOML), a\n\
         variable, and, but for secrets, a flag of `plimsoll serve`. A flag goes before a variable, a variable before the\n\
         file, the file before the default. Unknown keys are refused.\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let flag = if setting.has_flag { format!("`--{}`", setting.flag()) } else { "no flag".to_owned() };
        page.push_str(&format!(
            "\n## `{}`\n\n`{}`, {flag}; default: `{default}`\n\n{}\n",
            setting.key,
            setting.variable(),
            setting.meaning
        ));
    }
    expect("docs/configuration.md", &page);
}

/// The reference of the problems is written from the kinds themselves.
#[test]
fn golden_problem_reference() {
    let mut page = String::from(
        "# Problems\n\nWritten from the source by `cargo tidy-up`. Every error of the HTTP API is a problem document (RFC 9457) whose `type`\n\
         is `urn:plimsoll:problem:` and one of these names. A name is never given another meaning.\n\n\
         | name | status | title |\n|---|---|---|\n",
    );
    for kind in Kind::ALL {
        page.push_str(&format!("| `{}` | {} | {} |\n", kind.name(), kind.status(), kind.title()));
    }
    expect("docs/problems.md", &page);
}

#[test]
fn golden_openapi_document() {
    expect("docs/openapi.json", &plimsoll_node::openapi::openapi_json());
}
