//! What goes wrong by chance: `[swarm]`.

use std::collections::BTreeSet;

use super::reader::{Item, Reader};
use crate::faults::{Kind, Swarm};

/// What kinds of faults are called in a file.
pub(super) const KINDS: [(&str, Kind); 20] = [
    ("cut", Kind::Cut),
    ("cut_one_way", Kind::CutOneWay),
    ("hold", Kind::Hold),
    ("region_cut", Kind::RegionCut),
    ("flap", Kind::Flap),
    ("link", Kind::Link),
    ("crash", Kind::Crash),
    ("stop", Kind::Stop),
    ("rolling", Kind::Rolling),
    ("wipe", Kind::Wipe),
    ("restore", Kind::Restore),
    ("disk_full", Kind::DiskFull),
    ("sync_fails", Kind::SyncFails),
    ("slow_disk", Kind::SlowDisk),
    ("clock", Kind::Clock),
    ("stall", Kind::Stall),
    ("version", Kind::Version),
    ("join", Kind::Join),
    ("leave", Kind::Leave),
    ("replace", Kind::Replace),
];

/// Reads `[swarm]`.
pub(super) fn read(mut table: Reader<'_>) -> Swarm {
    let mut swarm = Swarm::default();
    if let Some(at_most) = table.item("at_most").and_then(|item| item.whole(1..=1_000)) {
        swarm.at_most = u32::try_from(at_most).unwrap_or(swarm.at_most);
    }
    let (kinds, without) = (table.item("kinds"), table.item("without"));
    if let (Some(_), Some(without)) = (&kinds, &without) {
        without
            .wrong("`kinds` says which kinds there are, `without` which there are not: only one of them can be said");
    }
    if let Some(kinds) = &kinds {
        swarm.kinds = named(kinds);
    }
    if let Some(without) = &without {
        let without = named(without);
        swarm.kinds.retain(|kind| !without.contains(kind));
    }
    if swarm.kinds.is_empty() {
        table.wrong("no kind of fault is left; leave out [swarm] for none");
    }
    table.finish();
    swarm
}

fn named(item: &Item<'_>) -> BTreeSet<Kind> {
    let list = item.list().unwrap_or_default();
    list.iter().filter_map(|item| item.one_of(&KINDS)).collect()
}
