//! What is written is what is read, whatever it is.

use plimsoll_domain::id::{NodeId, Region};
use proptest::prelude::*;

use super::v1::{
    Downstream, Echo, Member, Page, Pulse, ROSTER_MAX, Relayed, RosterEntry, Versions, decode_downstream,
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
    (0..u64::MAX / 2, facts, 0..1_000_u64, any::<u64>()).prop_map(|(after, facts, left_out, clock)| {
        let mut sequence = after;
        let facts: Vec<_> = facts
            .into_iter()
            .map(|(difference, fact)| {
                sequence += difference;
                (sequence, fact)
            })
            .collect();
        Page { after, up_to: sequence + left_out, clock, facts }
    })
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

fn read(frame: &[u8]) -> Downstream {
    assert!(frame.len() <= FRAME_BYTES_MAX);
    decode_downstream(Frames::only(frame).unwrap()).unwrap()
}

proptest! {
    /// In either version.
    #[test]
    fn a_page_is_read_as_it_was_written(page in page()) {
        let page = Downstream::Page(page);
        let [plain, compressed] = [1, 2].map(|version| encode_downstream(version, &page));
        prop_assert_eq!(&read(&plain), &page);
        prop_assert_eq!(read(&compressed), page);
        prop_assert!(compressed.len() <= plain.len() + 4, "what compresses badly is sent as it is");
    }

    #[test]
    fn a_pulse_is_read_as_it_was_written_in_either_version(pulse in pulse()) {
        let pulse = Downstream::Pulse(pulse);
        let frame = encode_downstream(1, &pulse);
        prop_assert_eq!(&encode_downstream(2, &pulse), &frame);
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
