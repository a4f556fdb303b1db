//! What the fuzz targets do with their bytes: parse them, and where they parse, hold the value to its laws.
//!
//! `cargo verify` runs each over its corpus and mutations of it; `cargo fuzz run <target>` in `tests/fuzz` goes on from
//! there with coverage.

use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::projection::{Body, Fact, Submission, Token};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_wire::peer::v1::{self as peer, Downstream, Page, Recent};
use plimsoll_wire::peer::{FRAME_BYTES_MAX, FrameError, Frames};
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
    if let Ok(horizon) = v1::decode_horizon(data) {
        assert_eq!(v1::decode_horizon(&v1::encode_horizon(horizon)).ok(), Some(horizon));
    }
    if let Ok(stamp) = v1::decode_stamp(data) {
        assert_eq!(v1::decode_stamp(&v1::encode_stamp(stamp)).ok(), Some(stamp));
    }
    if let Ok(number) = v1::decode_number(data) {
        assert_eq!(v1::decode_number(&v1::encode_number(number)).ok(), Some(number));
    }
}

/// A stream of a peer: wherever it is cut there are the same frames; what of them can be read is no larger than a frame,
/// and is written back to a frame that reads the same.
pub fn frame(data: &[u8]) {
    let frames = cut(data, data.len());
    for piece in [1, 1 + data.len() / 3] {
        assert_eq!(cut(data, piece), frames, "in pieces of {piece}");
    }
    for frame in frames.iter().flatten() {
        read_frame(frame);
    }
    if let Ok(only) = Frames::only(data) {
        assert_eq!(frames, [Some(only.to_vec())]);
    }
    // Whatever the length says.
    read_frame(data.get(4..).unwrap_or_default());
}

/// The frames of a stream that comes in pieces; `None` at the end where one is refused.
fn cut(data: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut cutter = Frames::default();
    let mut frames = Vec::new();
    for bytes in data.chunks(piece.max(1)) {
        cutter.push(bytes);
        loop {
            match cutter.next() {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= FRAME_BYTES_MAX);
                    frames.push(Some(frame.to_vec()));
                }
                Ok(None) => break,
                Err(_) => {
                    frames.push(None);
                    return frames;
                }
            }
        }
    }
    frames
}

/// Reads a frame as each of those there are.
fn read_frame(frame: &[u8]) {
    reads_back(frame, peer::decode_hello, peer::encode_hello);
    reads_back(frame, peer::decode_welcome, peer::encode_welcome);
    reads_back(frame, peer::decode_roster, |entries| peer::encode_roster(entries));
    reads_back(frame, peer::decode_kept, peer::encode_kept);
    reads_back(frame, peer::decode_follow, peer::encode_follow);
    [1, 2, 4].into_iter().for_each(|version| downstream_reads_back(frame, version));
    reads_back(frame, peer::decode_upstream, peer::encode_upstream);
    reads_back(frame, peer::decode_ask_refs, peer::encode_ask_refs);
    reads_back(frame, peer::decode_facts, peer::encode_facts);
    reads_back(frame, peer::decode_ask_token, |(tenant, artifact)| peer::encode_ask_token(tenant, artifact));
    reads_back(frame, peer::decode_token, |token| peer::encode_token(token.map(|token| token.to_text()).as_deref()));
    reads_back(frame, peer::decode_datagrams, peer::encode_datagrams);
    reads_back(frame, peer::decode_standing, |standing| peer::encode_standing(*standing));
    reads_back(frame, peer::decode_ask_promise, |until| peer::encode_ask_promise(*until));
    reads_back(frame, peer::decode_promise, |promise| peer::encode_promise(*promise));
    reads_back(frame, peer::decode_ask_held, |keys| peer::encode_ask_held(keys));
    reads_back(frame, peer::decode_held, |held| peer::encode_held(held));
    reads_back(frame, peer::decode_absences, peer::encode_absences);
    reads_back(frame, peer::decode_question, peer::encode_question);
    reads_back(frame, peer::decode_answer, peer::encode_answer);
    if let Ok(Downstream::Page(page)) = peer::decode_downstream(&mut after_a_page(), frame) {
        fits(page.facts.iter().map(|(_, fact)| fact.len()));
        assert!(page.facts.iter().all(|(sequence, _)| (page.after + 1..=page.up_to).contains(sequence)));
        assert!(page.facts.is_sorted_by(|(one, _), (next, _)| one < next));
    }
    for texts in [peer::decode_facts(frame), peer::decode_datagrams(frame)].into_iter().flatten() {
        fits(texts.iter().map(Vec::len));
    }
}

/// What a conversation has said before: a page that others may be compressed against.
fn after_a_page() -> Recent {
    let mut recent = Recent::default();
    let facts = vec![(1, b"0123456789abcdefghijklmnopqrstuvwxyz".to_vec())];
    let page = Page { after: 0, up_to: 1, clock: 0, awaited: false, facts };
    drop(peer::encode_downstream(4, &mut recent, &Downstream::Page(page)));
    recent
}

/// A frame of a feed, in the middle of a conversation.
fn downstream_reads_back(frame: &[u8], version: u16) {
    let without_what_is_new = |mut frame: Downstream| {
        if let Downstream::Page(page) = &mut frame
            && version < 4
        {
            page.awaited = true;
        }
        frame
    };
    let decode = |frame: &[u8]| peer::decode_downstream(&mut after_a_page(), frame).map(without_what_is_new);
    reads_back(frame, decode, |frame| peer::encode_downstream(version, &mut after_a_page(), frame));
}

/// What a frame is read to takes no more room than a frame may: each text with its own, and its length with eight bytes.
fn fits(lengths: impl Iterator<Item = usize>) {
    let room: usize = lengths.map(|length| length + 8).sum();
    assert!(room <= FRAME_BYTES_MAX, "{room} bytes of one frame");
}

fn reads_back<Frame: PartialEq + std::fmt::Debug>(
    frame: &[u8],
    decode: impl Fn(&[u8]) -> Result<Frame, FrameError>,
    encode: impl Fn(&Frame) -> Vec<u8>,
) {
    let Ok(read) = decode(frame) else { return };
    let written = encode(&read);
    // What was compressed may be too long for a frame without.
    if written.len() <= FRAME_BYTES_MAX / 2 {
        let written = Frames::only(&written).expect("what is written is one frame");
        assert_eq!(decode(written).ok(), Some(read));
    }
}
