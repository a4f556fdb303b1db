//! What is written is what is read, whatever it is.

use plimsoll_domain::id::{NodeId, Region};
use proptest::prelude::*;

use super::v1::{
    Downstream, Echo, Member, Page, Pulse, ROSTER_MAX, Recent, Relayed, RosterEntry, Versions, decode_downstream,
    decode_roster, encode_downstream, encode_roster,
};
use super::{FRAME_BYTES_MAX, Frames};

/// Facts that compress, and facts that do not.
fn fact() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0..2_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn page() -> impl Strategy<Value = Page> {
    let facts = prop::collection::vec((1..u64::from(u32::MAX), fact()), 0..40);
    (0..u64::MAX / 2, facts, 0..1_000_u64, any::<(u64, bool)>()).prop_map(
        |(after, facts, left_out, (clock, awaited))| {
            let mut sequence = after;
            let facts: Vec<_> = facts
                .into_iter()
                .map(|(difference, fact)| {
                    sequence += difference;
                    (sequence, fact)
                })
                .collect();
            Page { after, up_to: sequence + left_out, clock, awaited, facts }
        },
    )
}

fn relayed() -> impl Strategy<Value = Relayed> {
    any::<(u64, u64, u64, u64)>().prop_map(|(node, incarnation, sequence, clock)| Relayed {
        node: NodeId::new(node),
        incarnation,
        sequence,
        clock,
    })
}

fn pulse() -> impl Strategy<Value = Pulse> {
    let echo = prop::option::of(any::<(u64, u64)>().prop_map(|(sent, received)| Echo { sent, received }));
    let rest = (echo, any::<Option<(u64, u128)>>(), any::<bool>(), prop::collection::vec(relayed(), 0..20));
    (any::<(u64, u64)>(), any::<u64>(), rest).prop_map(|((one, other), clock, (echo, facts, ready, relayed))| Pulse {
        told: one.min(other),
        durable: one.max(other),
        clock,
        echo,
        facts,
        ready,
        relayed,
    })
}

fn entry() -> impl Strategy<Value = RosterEntry> {
    let texts = ("[a-z0-9._-]{1,32}", "[a-z0-9.-]{1,253}:[0-9]{1,5}", "[a-z0-9.-]{1,253}:[0-9]{1,5}", "[ -~]{0,64}");
    (any::<[u64; 3]>(), texts, any::<(u16, u16)>(), any::<bool>()).prop_map(
        |([node, incarnation, generation], (region, peer, http, software), (oldest, newest), gone)| {
            let region = Region::parse(region).expect("it is of these letters");
            let (node, versions) = (NodeId::new(node), Versions { oldest, newest });
            RosterEntry {
                member: Member { node, incarnation, generation, region, peer, http, software, versions },
                gone,
            }
        },
    )
}

/// Writes the first frame of a conversation.
fn write(version: u16, frame: &Downstream) -> Vec<u8> {
    encode_downstream(version, &mut Recent::default(), frame)
}

fn read(frame: &[u8]) -> Downstream {
    read_after(&mut Recent::default(), frame)
}

fn read_after(recent: &mut Recent, frame: &[u8]) -> Downstream {
    assert!(frame.len() <= FRAME_BYTES_MAX);
    decode_downstream(recent, Frames::only(frame).unwrap()).unwrap()
}

/// What facts that follow each other have in common is told once, though each is a page by itself.
#[test]
fn a_page_is_shorter_after_one_that_is_like_it() {
    let fact =
        |number: u8| (u64::from(number), [b"acme/artifact-of-a-team/in_review/".as_slice(), &[number; 16]].concat());
    let mut told = Recent::default();
    let mut write = |number: u8| {
        let page = Page {
            after: u64::from(number) - 1,
            up_to: number.into(),
            clock: 0,
            awaited: false,
            facts: vec![fact(number)],
        };
        encode_downstream(4, &mut told, &Downstream::Page(page)).len()
    };
    let first = write(1);
    let longest = (2..=100).map(&mut write).max();
    assert!(longest.is_some_and(|other| other + 30 <= first), "{longest:?} after {first}");
}

/// A page can be read only after those that were told before it.
#[test]
fn a_page_that_is_missing_is_noticed() {
    let facts = |first: u8| vec![(1, (first..first + 100).collect::<Vec<u8>>())];
    let page = |after, first| {
        Downstream::Page(Page { after, up_to: after + 1, clock: 0, awaited: false, facts: facts(first) })
    };
    let mut told = Recent::default();
    drop(encode_downstream(4, &mut told, &page(0, 0)));
    let second = encode_downstream(4, &mut told, &page(0, 0));
    assert!(decode_downstream(&mut Recent::default(), Frames::only(&second).unwrap()).is_err());
}

proptest! {
    /// In the versions before 4, in which each page is told for itself, and all are taken to be waited for.
    #[test]
    fn a_page_is_read_as_it_was_written(page in page()) {
        let page = Downstream::Page(Page { awaited: true, ..page });
        let [plain, compressed] = [1, 2].map(|version| write(version, &page));
        prop_assert_eq!(&read(&plain), &page);
        prop_assert_eq!(read(&compressed), page);
        prop_assert!(compressed.len() <= plain.len() + 4, "what compresses badly is sent as it is");
    }

    /// In one conversation, between other frames.
    #[test]
    fn pages_are_read_as_they_were_written(pages in prop::collection::vec(page(), 1..6), pulse in pulse()) {
        let [mut told, mut heard] = [Recent::default(), Recent::default()];
        for page in pages {
            for frame in [Downstream::Page(page), Downstream::Pulse(pulse.clone())] {
                let written = encode_downstream(4, &mut told, &frame);
                prop_assert_eq!(read_after(&mut heard, &written), frame.clone());
            }
        }
    }

    #[test]
    fn a_pulse_is_read_as_it_was_written_in_any_version(pulse in pulse()) {
        let pulse = Downstream::Pulse(pulse);
        let frame = write(1, &pulse);
        for version in [2, 3, 4] {
            prop_assert_eq!(&write(version, &pulse), &frame);
        }
        prop_assert_eq!(read(&frame), pulse);
    }

    #[test]
    fn a_roster_is_read_as_it_was_written(entries in prop::collection::vec(entry(), 0..30)) {
        prop_assert_eq!(decode_roster(Frames::only(&encode_roster(&entries)).unwrap()).unwrap(), entries);
    }

    /// However long its texts are, a roster of as many members as there may be is one frame.
    #[test]
    fn the_longest_roster_fits_a_frame(entry in entry()) {
        let longest = vec![entry; ROSTER_MAX];
        let frame = encode_roster(&longest);
        prop_assert!(frame.len() <= FRAME_BYTES_MAX);
        prop_assert_eq!(decode_roster(Frames::only(&frame).unwrap()).unwrap(), longest);
    }
}
