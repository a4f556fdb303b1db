//! Nothing that a node keeps for others grows without bound (`replication.md`, *Backpressure*; `docs/api.md`, *Bounds*).

use super::Run;
use crate::workload::BOUNDED;

/// Gauges that were beyond their bounds.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for ((node, name), value) in &run.seen.gauges {
        if BOUNDED.iter().any(|(bounded, most)| bounded == name && value > most) {
            broken.push(format!("n{node} had {name} at {value}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn a_queue_that_is_too_long_is_found() {
        let mut run = sound();
        run.seen.gauges.insert((1, "plimsoll_waiters".into()), 10_000);
        assert_eq!(broken(&run), [""; 0]);
        run.seen.gauges.insert((1, "plimsoll_waiters".into()), 10_001);
        assert_eq!(broken(&run), ["n1 had plimsoll_waiters at 10001"]);
    }
}
