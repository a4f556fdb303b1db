//! A wrong clock decides nothing elsewhere: a node whose own clock is right shows no stamp from further ahead than the bound of the
//! drift, and one whose clock is far off takes no writes (`replication.md`, *Fenced*).

use std::time::Duration;

use super::Run;
use crate::history::Outcome;

/// A node sees within this that its clock is off: some signs of life of its peers (`pulse_ms`).
const NOTICED: Duration = Duration::from_secs(15);

/// Clocks go on in steps: a stamp may be so much further ahead.
const GRAIN: Duration = Duration::from_millis(5);

/// Nodes with right clocks that showed what is from too far ahead.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let of_right_clocks = run.seen.ahead.iter().filter(|(node, _)| run.right_clocks.contains(node));
    let too_far = of_right_clocks.filter(|(_, ahead)| **ahead > run.drift_max + GRAIN);
    let mut broken: Vec<String> =
        too_far.map(|(node, ahead)| format!("n{node}, whose clock is right, showed a stamp {ahead:?} ahead")).collect();
    for (node, from, until) in &run.far_off {
        for (id, posted) in &run.seen.posted {
            let taken = posted
                .tries
                .iter()
                .filter(|one| one.store.0 == *node && one.outcome == Outcome::Stands && one.stamp.is_some());
            let late = taken.filter(|one| one.asked >= *from + NOTICED && one.told <= *until);
            broken.extend(late.map(|one| format!("n{node}, whose clock is far off, took {id} at {:?}", one.told)));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn a_stamp_from_too_far_ahead_is_found_where_the_clock_is_right() {
        let mut run = sound();
        run.seen.ahead.insert(1, Duration::from_secs(3));
        assert_eq!(broken(&run), [""; 0], "its own clock was wrong");
        run.right_clocks.insert(1);
        assert_eq!(broken(&run), ["n1, whose clock is right, showed a stamp 3s ahead"]);
        run.seen.ahead.insert(1, Duration::from_millis(500));
        assert_eq!(broken(&run), [""; 0]);
    }

    #[test]
    fn a_write_at_a_clock_that_is_far_off_is_found() {
        let mut run = sound();
        let one = &mut run.seen.posted.get_mut("t-1").unwrap().tries[0];
        (one.asked, one.told, one.stamp) = (Duration::from_secs(21), Duration::from_secs(22), Some("1/1".into()));
        run.far_off = vec![(1, Duration::from_secs(10), Duration::from_secs(30))];
        assert_eq!(broken(&run), [""; 0], "it has not had the time to notice");
        run.far_off = vec![(1, Duration::from_secs(5), Duration::from_secs(30))];
        assert_eq!(broken(&run), ["n1, whose clock is far off, took t-1 at 22s"]);
    }
}
