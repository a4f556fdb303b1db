//! A wrong clock decides nothing elsewhere: a node whose own clock is right shows no stamp from further ahead than the bound of the
//! drift (`replication.md`, *Fenced*).

use std::time::Duration;

use super::Run;

/// Clocks go on in steps: a stamp may be so much further ahead.
const GRAIN: Duration = Duration::from_millis(5);

/// Nodes with right clocks that showed what is from too far ahead.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let of_right_clocks = run.seen.ahead.iter().filter(|(node, _)| run.right_clocks.contains(node));
    let too_far = of_right_clocks.filter(|(_, ahead)| **ahead > run.drift_max + GRAIN);
    too_far.map(|(node, ahead)| format!("n{node}, whose clock is right, showed a stamp {ahead:?} ahead")).collect()
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
}
