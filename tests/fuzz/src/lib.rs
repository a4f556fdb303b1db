//! What the fuzz targets do with their bytes: parse them, and where they parse, hold the value to its laws.
//!
//! `cargo verify` runs each over its corpus and mutations of it; `cargo fuzz run <target>` in `tests/fuzz` goes on from
//! there with coverage.

use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::projection::{Body, Fact, Submission, Token};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_wire::record::{v1, v2};

/// The JSON body of a post: what is accepted is stored, read back, and told in the form it was posted in.
pub fn json(data: &[u8]) {
    let Ok(post) = serde_json::from_slice::<PostTransition>(data) else { return };
    let Ok(submission) = Submission::parse(post.clone().into()) else { return };
    let transition = submission.transition;
    assert_eq!(transition.refs().len(), post.produced_refs.len());
    let tenant = TenantId::parse("fuzz").expect("a tenant's name");
    let stamp = Timestamp { time: UnixNanos::new(1), node: NodeId::new(2) };
    let fact = Fact::new(Body::Transition(transition.clone()), stamp);
    let stored = v1::decode_fact(&v1::encode_fact(&tenant, &fact)).expect("what was written can be read");
    assert_eq!(stored.fact, fact);
    let told = PostTransition {
        produced_refs: transition
            .refs()
            .iter()
            .map(|produced| ProducedRef::from_parts(&produced.key, produced.resolution.as_ref()))
            .collect(),
        ..post
    };
    let again = Submission::parse(told.into()).expect("what was told can be posted");
    assert_eq!(again.transition, transition);
}

/// A token: what parses is the one text of its value, and texts sort as stamps.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(token) = Token::parse(text) else { return };
    assert_eq!(token.to_text(), text);
    assert_eq!(token.updated_at().to_text(), text[..35]);
    let next = Token {
        stamp: Timestamp { time: UnixNanos::new(token.stamp.time.get().saturating_add(1)), ..token.stamp },
        ..token
    };
    assert_eq!(next.cmp(&token), next.to_text().as_str().cmp(text));
}

/// A stored record of any type: what can be read is written back to a record that reads the same.
pub fn record(data: &[u8]) {
    if let Ok(stored) = v1::decode_fact(data) {
        assert_eq!(v1::decode_fact(&v1::encode_fact(&stored.tenant, &stored.fact)).ok(), Some(stored));
    }
    if let Ok(head) = v1::decode_head(data) {
        assert_eq!(v1::decode_head(&v1::encode_head(&head.projection, head.sequence)).ok(), Some(head));
    }
    if let Ok(head) = v2::decode_head(data) {
        assert_eq!(v2::decode_head(&v2::encode_head(&head)).ok(), Some(head));
    }
    if let Ok(place) = v2::decode_place(data) {
        assert!(place.pack() <= place.sequence);
        assert_eq!(v2::decode_place(&v2::encode_place(place)).ok(), Some(place));
    }
    if let Ok(pack) = v2::decode_pack(data) {
        let facts: Vec<&[u8]> = pack.iter().map(|fact| fact.unwrap_or_default()).collect();
        assert_eq!(v2::decode_pack(&v2::encode_pack(&facts)).ok(), Some(pack));
    }
    if let Ok((key, state)) = v1::decode_ref(data) {
        assert_eq!(v1::decode_ref(&v1::encode_ref(&key, &state)).ok(), Some((key, state)));
    }
    if let Ok(identity) = v1::decode_identity(data) {
        assert_eq!(v1::decode_identity(&v1::encode_identity(identity)).ok(), Some(identity));
    }
    if let Ok(usage) = v1::decode_usage(data) {
        assert_eq!(v1::decode_usage(&v1::encode_usage(usage)).ok(), Some(usage));
    }
    if let Ok(fingerprint) = v1::decode_fingerprint(data) {
        assert_eq!(v1::decode_fingerprint(&v1::encode_fingerprint(fingerprint)).ok(), Some(fingerprint));
    }
    if let Ok(watermark) = v1::decode_watermark(data) {
        assert_eq!(v1::decode_watermark(&v1::encode_watermark(watermark)).ok(), Some(watermark));
    }
    if let Ok(number) = v1::decode_number(data) {
        assert_eq!(v1::decode_number(&v1::encode_number(number)).ok(), Some(number));
    }
}
