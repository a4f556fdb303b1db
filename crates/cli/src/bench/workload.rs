//! What one connection asks for, request by request.
//!
//! Transitions come as in life: one opens a ref, the next on the same artifact resolves it. A server refuses a resolved
//! ref whose pending form it never saw, so an artifact is posted to by one connection only, in order, and after an
//! unclear answer its next transition opens a new ref. Reads go to all artifacts. Choices are uniform and follow the
//! seed; names are new in every run, for a transition posted twice is a retry and costs a server less.

use std::sync::Arc;

use super::target::Target;
use super::template::{Names, Numbers, Template};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mix {
    /// Cursors.
    Cursor,
    /// Single transitions.
    Post,
    /// Cursors and single transitions; the share of cursors, from 0 to 1.
    Mixed(f64),
    /// Batches of so many transitions.
    Batch(u32),
}

/// A kind of request, reported apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `GET /projections/{artifact_id}/cursor`.
    Cursor,
    /// `POST /projections/transitions`.
    Post,
    /// `POST /projections/transitions/batch`.
    Batch,
}

impl Operation {
    /// Every operation.
    pub(crate) const ALL: [Self; 3] = [Self::Cursor, Self::Post, Self::Batch];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Post => "post",
            Self::Batch => "batch",
        }
    }
}

/// What the connections of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    mix: Mix,
    artifacts: u32,
    cursor: Template,
    pending: Template,
    resolved: Template,
    post_pending_head: Vec<u8>,
    post_resolved_head: Vec<u8>,
    batch_head: String,
}

impl Plan {
    /// The requests of a run against a target.
    pub(crate) fn new(mix: Mix, artifacts: u32, target: &Target, names: &Names) -> Self {
        let (pending, resolved) = (Template::pending(names), Template::resolved(names));
        let (prefix, lines) = (&target.prefix, &target.header_lines);
        let post_head = |len: usize| {
            let typed = format!("{lines}Content-Type: application/json\r\nContent-Length: {len}\r\n");
            format!("POST {prefix}/projections/transitions HTTP/1.1\r\n{typed}\r\n").into_bytes()
        };
        Self {
            mix,
            artifacts,
            cursor: Template::cursor(prefix, names, lines),
            post_pending_head: post_head(pending.len()),
            post_resolved_head: post_head(resolved.len()),
            batch_head: batch_head(target),
            pending,
            resolved,
        }
    }
}

/// The head of a batch, up to the value of its `Content-Length`.
pub(crate) fn batch_head(target: &Target) -> String {
    let (prefix, lines) = (&target.prefix, &target.header_lines);
    let typed = format!("{lines}Content-Type: application/x-ndjson\r\nContent-Length: ");
    format!("POST {prefix}/projections/transitions/batch HTTP/1.1\r\n{typed}")
}

/// What became of a request, as far as the next ones depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Everything in it was accepted.
    Accepted,
    /// Some of it was not, or may not have been.
    Unclear,
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Workload {
    plan: Arc<Plan>,
    random: SplitMix,
    connection: u32,
    connections: u32,
    /// For each artifact of this connection, the key that its last transition opened; 0 where none is open.
    open_keys: Vec<u64>,
    touched: Vec<usize>,
    posted: u64,
    request: Vec<u8>,
    lines: Vec<u8>,
}

impl Workload {
    /// The share of connection number `connection` of `connections`; there are at least as many artifacts.
    pub(crate) fn new(plan: Arc<Plan>, seed: u64, connection: u32, connections: u32) -> Self {
        assert!(connections <= plan.artifacts, "{connections} connections for {} artifacts", plan.artifacts);
        let own = (plan.artifacts - connection).div_ceil(connections) as usize;
        let open_keys = if plan.mix == Mix::Cursor { Vec::new() } else { vec![0; own] };
        let random = SplitMix(seed ^ (u64::from(connection) + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let (request, lines, touched) = (Vec::new(), Vec::new(), Vec::new());
        Self { plan, random, connection, connections, open_keys, touched, posted: 0, request, lines }
    }

    /// Prepares the next request; [`Self::request`] has its bytes.
    pub(crate) fn prepare(&mut self) -> Operation {
        self.request.clear();
        self.touched.clear();
        match self.plan.mix {
            Mix::Cursor => self.prepare_cursor(),
            Mix::Post => self.prepare_post(),
            Mix::Mixed(reads) if self.random.fraction() < reads => self.prepare_cursor(),
            Mix::Mixed(_) => self.prepare_post(),
            Mix::Batch(lines) => self.prepare_batch(lines),
        }
    }

    /// The bytes of the request prepared last.
    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The transitions in the request prepared last; 1 for a read.
    pub(crate) fn items(&self) -> u64 {
        self.touched.len().max(1) as u64
    }

    /// Takes note of what became of the request prepared last.
    pub(crate) fn settle(&mut self, settled: Settled) {
        if settled == Settled::Unclear {
            for own in &self.touched {
                self.open_keys[*own] = 0;
            }
        }
    }

    fn prepare_cursor(&mut self) -> Operation {
        let artifact = self.random.below(self.plan.artifacts);
        self.plan.cursor.render(Numbers { artifact, transition: 0, key: 0 }, &mut self.request);
        Operation::Cursor
    }

    fn prepare_post(&mut self) -> Operation {
        let plan = Arc::clone(&self.plan);
        match self.next_transition() {
            Step::Open(numbers) => {
                self.request.extend_from_slice(&plan.post_pending_head);
                plan.pending.render(numbers, &mut self.request);
            }
            Step::Resolve(numbers) => {
                self.request.extend_from_slice(&plan.post_resolved_head);
                plan.resolved.render(numbers, &mut self.request);
            }
        }
        Operation::Post
    }

    fn prepare_batch(&mut self, lines: u32) -> Operation {
        let plan = Arc::clone(&self.plan);
        self.lines.clear();
        for _ in 0..lines {
            match self.next_transition() {
                Step::Open(numbers) => plan.pending.render(numbers, &mut self.lines),
                Step::Resolve(numbers) => plan.resolved.render(numbers, &mut self.lines),
            }
            self.lines.push(b'\n');
        }
        let len = self.lines.len();
        self.request.extend_from_slice(format!("{}{len}\r\n\r\n", plan.batch_head).as_bytes());
        self.request.extend_from_slice(&self.lines);
        Operation::Batch
    }

    fn next_transition(&mut self) -> Step {
        let own = self.random.below(u32::try_from(self.open_keys.len()).unwrap_or(u32::MAX));
        let artifact = self.connection + own * self.connections;
        let own = own as usize;
        self.posted += 1;
        assert!(self.posted >> 32 == 0, "a connection posts less than 2^32 transitions a run");
        let transition = u64::from(self.connection) << 32 | self.posted;
        self.touched.push(own);
        match std::mem::take(&mut self.open_keys[own]) {
            0 => {
                self.open_keys[own] = transition;
                Step::Open(Numbers { artifact, transition, key: transition })
            }
            key => Step::Resolve(Numbers { artifact, transition, key }),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Open(Numbers),
    Resolve(Numbers),
}

/// Sebastiano Vigna's `SplitMix64`: seeded, a few instructions a number, and good enough to choose artifacts by.
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `bound`, but for a bias of at most `bound` in 2^32.
    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::wire::{PostTransition, ProducedRef};
    use super::*;

    fn workloads(mix: Mix, artifacts: u32, connections: u32, seed: u64) -> Vec<Workload> {
        let target = Target::parse("http://h", None).unwrap();
        let plan = Arc::new(Plan::new(mix, artifacts, &target, &Names::new("n", artifacts, 7, 9)));
        (0..connections).map(|connection| Workload::new(Arc::clone(&plan), seed, connection, connections)).collect()
    }

    fn body(request: &[u8]) -> &str {
        let request = str::from_utf8(request).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let length = head.split_once("Content-Length: ").unwrap().1.lines().next().unwrap();
        assert_eq!(length, body.len().to_string());
        body
    }

    /// A server's view: which keys are open on which artifact, which transition ids it has seen.
    #[derive(Default)]
    struct Contract {
        ids: BTreeSet<String>,
        keys: BTreeMap<(String, String), Option<u64>>,
        owners: BTreeMap<String, u32>,
    }

    impl Contract {
        fn accept(&mut self, connection: u32, line: &str) {
            let post: PostTransition = serde_json::from_str(line).unwrap();
            assert!(self.ids.insert(post.transition_id.clone()), "{} twice", post.transition_id);
            assert_eq!(*self.owners.entry(post.artifact_id.clone()).or_insert(connection), connection);
            for produced in post.produced_refs {
                match produced {
                    ProducedRef::Pending { idempotency_key, .. } => {
                        assert_eq!(self.keys.insert((post.artifact_id.clone(), idempotency_key), None), None);
                    }
                    ProducedRef::Resolved { idempotency_key, number, .. } => {
                        let key = self.keys.get_mut(&(post.artifact_id.clone(), idempotency_key)).expect("is open");
                        assert_eq!(*key.get_or_insert(number), number, "resolved to another number");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_transition_keeps_the_contract(
            seed in any::<u64>(),
            artifacts in 3_u32..40,
            lines in prop_oneof![Just(0_u32), 1_u32..20],
            outcomes in proptest::collection::vec((0_usize..3, 0_u8..3), 1..200),
        ) {
            let mix = if lines == 0 { Mix::Post } else { Mix::Batch(lines) };
            let mut workloads = workloads(mix, artifacts, 3, seed);
            let mut contract = Contract::default();
            for (connection, outcome) in outcomes {
                let workload = &mut workloads[connection];
                workload.prepare();
                // 0: accepted; 1: accepted, but the answer was lost; 2: lost on its way.
                if outcome < 2 {
                    body(workload.request()).lines().for_each(|line| contract.accept(connection as u32, line));
                }
                workload.settle(if outcome == 0 { Settled::Accepted } else { Settled::Unclear });
            }
        }
    }

    #[test]
    fn every_artifact_is_owned_and_half_the_transitions_resolve() {
        let mut contract = Contract::default();
        let mut resolved = 0;
        for (connection, workload) in workloads(Mix::Post, 10, 4, 1).iter_mut().enumerate() {
            for _ in 0..400 {
                assert_eq!(workload.prepare(), Operation::Post);
                let line = body(workload.request());
                resolved += u32::from(line.contains("resolved"));
                contract.accept(connection as u32, line);
                workload.settle(Settled::Accepted);
            }
        }
        assert_eq!(contract.owners.len(), 10);
        assert!((790..=800).contains(&resolved), "{resolved} of 1600");
    }

    #[test]
    fn a_mix_has_its_share_of_reads() {
        let workload = &mut workloads(Mix::Mixed(0.9), 100, 1, 3)[0];
        let reads = (0..10_000).filter(|_| workload.prepare() == Operation::Cursor).count();
        assert!((8_900..9_100).contains(&reads), "{reads}");
    }

    #[test]
    fn the_seed_decides_the_choices() {
        let requests = |seed| {
            let mut workload = workloads(Mix::Cursor, 1_000, 1, seed).remove(0);
            (0..50).map(|_| (workload.prepare(), workload.request().to_vec()).1).collect::<Vec<_>>()
        };
        assert_eq!(requests(5), requests(5));
        assert_ne!(requests(5), requests(6));
    }
}
