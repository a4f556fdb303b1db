//! Bytes that others hold: what is written today must be what was written before.
//!
//! `PLIMSOLL_GOLDEN=write cargo test -p plimsoll-tests golden` (or `cargo tidy-up`) writes what is missing or has
//! changed. A new file is a new version; a changed one breaks somebody.

use std::env;
use std::fs;
use std::path::PathBuf;

use plimsoll_domain::id::{ArtifactId, NodeId, Status, TenantId, TransitionId};
use plimsoll_domain::projection::{
    Body, Fact, FactHash, FactKey, Fingerprint, Projection, RefDraft, RefKey, RefState, RefsDigest, Resolution,
    Transition, Winner,
};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_node::config::SETTINGS;
use plimsoll_tests::root;
use plimsoll_wire::problem::Kind;
use plimsoll_wire::record::{v1, v2};

/// Compares with a file of the tree, or writes it.
fn expect(path: &str, actual: &str) {
    let path: PathBuf = root().join(path);
    if env::var("PLIMSOLL_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(expected == actual, "{} differs from what is written now:\n{actual}", path.display());
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
    let watermark = v1::StoredWatermark { incarnation: 7, sequence: 70_000 };
    let bytes = v1::encode_watermark(watermark);
    expect_record("watermark", &watermark, &bytes, |bytes| v1::decode_watermark(bytes).unwrap());
    expect_record("number", &70_000, &v1::encode_number(70_000), |bytes| v1::decode_number(bytes).unwrap());
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
