//! What was retired does not come back by itself, whoever tries an old transition again (`replication.md`, *Tombstones*).

use super::{Loss, Run};
use crate::history::Retired;

/// Retired artifacts that a node shows.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, _) in run.seen.retired.iter().filter(|(_, retired)| is_to_stay_away(run, retired)) {
        for copy in run.copies.iter().filter(|copy| copy.artifacts.contains_key(id)) {
            broken.push(format!("{id} was retired, and n{} shows it", copy.node));
        }
    }
    broken
}

/// Nothing can have been on its way, and the disk that had the retirement is there: a node that starts afresh exports it.
fn is_to_stay_away(run: &Run, retired: &Retired) -> bool {
    let is_lost = |loss: &Loss| loss.store == retired.store;
    retired.is_certain && !run.losses.iter().any(is_lost) && !run.parted.contains(&retired.store)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{lost, sound};
    use super::*;

    #[test]
    fn what_comes_back_is_found() {
        let mut run = sound();
        let retired = Retired { store: (1, 0), told: Duration::from_secs(3), is_certain: true };
        run.seen.retired.insert("a".into(), retired);
        assert_eq!(broken(&run), ["a was retired, and n1 shows it", "a was retired, and n2 shows it"]);
        run.losses.push(lost(1, 1));
        assert_eq!(broken(&run), [""; 0], "the retirement may have gone with the disk");
        run.losses.clear();
        run.parted.insert((1, 0));
        assert_eq!(broken(&run), [""; 0], "it was exported");
        run.parted.clear();
        run.seen.retired.get_mut("a").unwrap().is_certain = false;
        assert_eq!(broken(&run), [""; 0], "a post may have come after it");
    }
}
