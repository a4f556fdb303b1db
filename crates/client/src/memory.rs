//! What a client remembers of its own writes.
//!
//! Of each artifact it posted to of late it keeps the last transition, which a read on another node can demand to see,
//! and the greatest token, after which a post to another node asks to be stamped. And it remembers which node took its
//! last write and when, for the one case that tokens do not cover: see [`Memory::pause_before`].
//!
//! Bounded, and in memory only: what is pushed out was written long before and has spread since.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_wire::http::v1::Accepted;
use tokio::time::Instant;

use crate::roster::EndpointIndex;

/// The artifacts remembered: those written last. Some 600 KB at most.
pub(crate) const REMEMBERED_MAX: usize = 1_024;

/// How far the stamp of one node may lie ahead of another one's clock that is not fenced: each is at most `max_drift`
/// from the rest, and a stamp as much ahead of its node's clock. That is three times 500 ms, the default; rounded up.
pub(crate) const DRIFT_MAX: Duration = Duration::from_secs(2);

/// The last write to an artifact by this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The transition that was accepted last.
    pub transition_id: String,
    /// The greatest token that the answers to this client's posts gave for the artifact.
    pub committed_version: String,
}

/// The client's own writes of late.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    by_artifact: BTreeMap<String, (u64, Written)>,
    /// The artifacts by the turn in which each was written last.
    by_turn: BTreeMap<u64, String>,
    turn: u64,
    last: Option<(EndpointIndex, Instant)>,
}

impl Memory {
    /// A transition was accepted now.
    pub(crate) fn accepted(&mut self, answer: &Accepted) {
        let before = self.forget(&answer.artifact_id).map(|written| written.committed_version);
        let committed_version = before.max(Some(answer.committed_version.clone())).unwrap_or_default();
        self.keep(answer, Written { transition_id: answer.transition_id.clone(), committed_version });
    }

    /// A transition had been accepted before. It may be older than the one remembered, which then stays.
    pub(crate) fn repeated(&mut self, answer: &Accepted) {
        match self.forget(&answer.artifact_id) {
            None => self.accepted(answer),
            Some(mut written) => {
                if written.committed_version < answer.committed_version {
                    written.committed_version.clone_from(&answer.committed_version);
                }
                self.keep(answer, written);
            }
        }
    }

    fn keep(&mut self, answer: &Accepted, written: Written) {
        self.turn += 1;
        self.by_turn.insert(self.turn, answer.artifact_id.clone());
        self.by_artifact.insert(answer.artifact_id.clone(), (self.turn, written));
        while self.by_turn.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.by_artifact.remove(&oldest);
        }
        debug_assert_eq!(self.by_turn.len(), self.by_artifact.len(), "each artifact has one turn");
    }

    /// The artifact was retired: its transitions need not be seen.
    pub(crate) fn forget(&mut self, artifact_id: &str) -> Option<Written> {
        let (turn, written) = self.by_artifact.remove(artifact_id)?;
        self.by_turn.remove(&turn);
        Some(written)
    }

    pub(crate) fn written(&self, artifact_id: &str) -> Option<&Written> {
        self.by_artifact.get(artifact_id).map(|(_, written)| written)
    }

    /// Takes note of the node that took a write.
    pub(crate) fn note_place(&mut self, at: EndpointIndex, now: Instant) {
        self.last = Some((at, now));
    }

    /// How long to wait before lines that depend on each other's order go to a node. Where another node took the lines
    /// before them, this one's clock may be behind that one's stamps, and a later line would be stamped as the earlier.
    /// A single post carries a token against that; lines are posted as they are, so a batch waits until no clock that
    /// is not fenced can be behind.
    pub(crate) fn pause_before(&self, at: EndpointIndex, now: Instant) -> Duration {
        match self.last {
            Some((before, when)) if before != at => DRIFT_MAX.saturating_sub(now.saturating_duration_since(when)),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(artifact_id: &str, transition_id: &str, committed_version: &str) -> Accepted {
        let [artifact_id, transition_id, committed_version] =
            [artifact_id, transition_id, committed_version].map(str::to_owned);
        Accepted { artifact_id, transition_id, committed_version, updated_at: String::new() }
    }

    fn check(memory: &Memory, artifact_id: &str, expected: Option<(&str, &str)>) {
        let written = memory.written(artifact_id);
        let written = written.map(|written| (written.transition_id.as_str(), written.committed_version.as_str()));
        assert_eq!(written, expected);
    }

    #[test]
    fn the_last_accepted_transition_and_the_greatest_token_are_remembered() {
        let mut memory = Memory::default();
        memory.accepted(&answer("a", "t-1", "2"));
        memory.accepted(&answer("b", "t-2", "3"));
        memory.accepted(&answer("a", "t-3", "1"));
        check(&memory, "a", Some(("t-3", "2")));
        check(&memory, "b", Some(("t-2", "3")));
        check(&memory, "c", None);
    }

    #[test]
    fn a_late_retry_does_not_hide_what_was_written_since() {
        let mut memory = Memory::default();
        memory.repeated(&answer("a", "t-1", "1"));
        check(&memory, "a", Some(("t-1", "1")));
        memory.accepted(&answer("a", "t-2", "2"));
        memory.repeated(&answer("a", "t-1", "3"));
        check(&memory, "a", Some(("t-2", "3")));
    }

    #[test]
    fn a_retired_artifact_is_forgotten() {
        let mut memory = Memory::default();
        memory.accepted(&answer("a", "t-1", "1"));
        assert!(memory.forget("a").is_some());
        check(&memory, "a", None);
    }

    #[test]
    fn the_artifacts_written_last_are_kept_up_to_the_bound() {
        let mut memory = Memory::default();
        for number in 0..REMEMBERED_MAX {
            memory.accepted(&answer(&number.to_string(), "t", "1"));
        }
        memory.repeated(&answer("0", "t", "1"));
        memory.accepted(&answer("new", "t", "1"));
        check(&memory, "0", Some(("t", "1")));
        check(&memory, "1", None);
        assert_eq!((memory.by_artifact.len(), memory.by_turn.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }

    #[test]
    fn lines_wait_out_the_drift_only_after_another_node_took_some() {
        let (a, b, now) = (EndpointIndex::new(0), EndpointIndex::new(1), Instant::now());
        let mut memory = Memory::default();
        assert_eq!(memory.pause_before(a, now), Duration::ZERO);
        memory.note_place(a, now);
        assert_eq!(memory.pause_before(a, now), Duration::ZERO);
        assert_eq!(memory.pause_before(b, now), DRIFT_MAX);
        assert_eq!(memory.pause_before(b, now + Duration::from_millis(500)), DRIFT_MAX - Duration::from_millis(500));
        assert_eq!(memory.pause_before(b, now + DRIFT_MAX), Duration::ZERO);
    }
}
