//! The fuzz targets, over their corpora and many mutations of them: the same ones each time.

use std::fs;

use plimsoll_tests::root;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzzer's programs too")]
mod targets;

/// Mutations of each file of a corpus.
const MUTATIONS: u64 = 5_000;

/// Steele and others' SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let from = random.below(other.len());
                let to = (from + random.below(16)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

fn run(name: &str, target: fn(&[u8])) {
    let folder = root().join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{name} has a corpus");
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut random = Random(7);
    for seed in &seeds {
        target(seed);
        for _ in 0..MUTATIONS {
            let other = &seeds[random.below(seeds.len())];
            target(&mutate(&mut random, seed, other));
        }
    }
}

#[test]
fn no_json_body_breaks_the_parser() {
    run("json", targets::json);
}

#[test]
fn no_text_breaks_the_token() {
    run("token", targets::token);
}

#[test]
fn no_stored_bytes_break_the_reader() {
    run("record", targets::record);
}

#[test]
fn no_bytes_of_a_peer_break_the_reader_of_frames() {
    run("frame", targets::frame);
}

/// What a frame claims to decompress to is believed up to the bound of a frame, and no further.
#[test]
fn a_compressed_page_cannot_claim_more_than_a_frame() {
    use plimsoll_wire::peer::v1::{Downstream, Page, Recent, decode_downstream, encode_downstream};
    use plimsoll_wire::peer::{FRAME_BYTES_MAX, FrameError, Frames};

    let facts = vec![(1, vec![7; 1_000])];
    let page = Downstream::Page(Page { after: 0, up_to: 1, clock: 0, awaited: true, facts });
    let frame = encode_downstream(2, &mut Recent::default(), &page);
    // Length, format, schema, variant, after, up_to, clock and the length of what is compressed come before the claim.
    let place = 4 + 2 + 1 + 1 + 1 + 1 + 1;
    let claimed = |claim: u32| {
        let mut frame = frame.clone();
        frame[place..place + 4].copy_from_slice(&claim.to_le_bytes());
        decode_downstream(&mut Recent::default(), Frames::only(&frame).unwrap())
    };
    let bound = u32::try_from(FRAME_BYTES_MAX).unwrap();
    let actual = u32::from_le_bytes(frame[place..place + 4].try_into().unwrap());
    assert_eq!(claimed(actual).unwrap(), page);
    assert!(matches!(claimed(bound + 1), Err(FrameError::TooLong { .. })));
    assert!(matches!(claimed(u32::MAX), Err(FrameError::TooLong { .. })));
    assert!(matches!(claimed(actual - 1), Err(FrameError::Compressed(_))));
    // The claim says how much room is made, not how much there is: no harm is done.
    assert_eq!(claimed(bound).unwrap(), page);
}

/// The same of a page that is compressed against those before it.
#[test]
fn a_page_that_goes_on_cannot_claim_more_than_a_frame() {
    use plimsoll_wire::peer::v1::{Downstream, Page, Recent, decode_downstream, encode_downstream};
    use plimsoll_wire::peer::{FRAME_BYTES_MAX, FrameError};

    let facts = vec![(1, vec![7; 60])];
    let page = Downstream::Page(Page { after: 0, up_to: 1, clock: 0, awaited: true, facts });
    let frame = encode_downstream(4, &mut Recent::default(), &page);
    // As above, with what is awaited; the claim is one byte here, and five for a number of 32 bits.
    let place = 4 + 2 + 1 + 1 + 1 + 1 + 1;
    let claimed = |claim: u32| {
        let mut body = frame[4..place].to_vec();
        body.push(252);
        body.extend(claim.to_le_bytes());
        body.extend(&frame[place + 1..]);
        decode_downstream(&mut Recent::default(), &body)
    };
    let (bound, actual) = (u32::try_from(FRAME_BYTES_MAX).unwrap(), u32::from(frame[place]));
    assert_eq!(claimed(actual).unwrap(), page);
    assert!(matches!(claimed(bound + 1), Err(FrameError::TooLong { .. })));
    assert!(matches!(claimed(u32::MAX), Err(FrameError::TooLong { .. })));
    assert!(matches!(claimed(actual - 1), Err(FrameError::Compressed(_))));
    assert!(matches!(claimed(bound), Err(FrameError::Compressed(_))));
}
