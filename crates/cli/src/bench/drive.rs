//! The loop of one connection: wait until a request is due, send it, take the answer's time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::batch_answer;
use super::connection::{Answer, Exchange, Failure};
use super::schedule::{Schedule, Window};
use super::tally::Tally;
use super::timer::Timer;
use super::workload::{Operation, Settled, Workload};

/// How long a connection rests after it could not connect, so that a server that is down is not asked in a busy loop.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// One connection, and all it needs to be driven.
#[derive(Debug)]
pub(crate) struct Driver<E> {
    /// Where requests go.
    pub(crate) connection: E,
    /// What they are.
    pub(crate) workload: Workload,
    /// When they are due.
    pub(crate) schedule: Schedule,
    /// How to wait for that.
    pub(crate) timer: Timer,
    /// When it begins and ends.
    pub(crate) window: Window,
    /// Where it is counted; shared with the other connections of this thread.
    pub(crate) tally: Arc<Mutex<Tally>>,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    operation: Operation,
    items: u64,
    bytes: usize,
    due: Instant,
}

impl<E: Exchange> Driver<E> {
    /// Drives the connection through its window.
    ///
    /// A request is recorded where it was due within the recorded part, and its latency counts from when it was due: the
    /// scheduled time in an open loop, the time it was sent in a closed one. Requests that were due before the end are
    /// sent even after it, for to leave them out would leave out the slowest; what still queues when the window is
    /// abandoned counts as unsent, with the time it has waited.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            let due = self.schedule.next_due(Instant::now().max(self.window.start));
            if due >= self.window.end {
                return Ok(());
            }
            self.timer.wait_until(self.schedule.wake_for(due)).await?;
            let operation = self.workload.prepare();
            if Instant::now() >= self.window.abandon_at {
                self.abandon(operation, due);
                return Ok(());
            }
            let request = self.workload.request();
            let sent = Sent { operation, items: self.workload.items(), bytes: request.len(), due };
            let answer = self.connection.exchange(request).await;
            let recorded = (due >= self.window.recorded_from).then_some(&*self.tally);
            let settled = settle(sent, &answer, recorded);
            let unreachable = matches!(answer, Err(Failure::Connect(_)));
            self.workload.settle(settled);
            if unreachable {
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    /// Counts the request that is due, and all that would have been due after it, as waiting until now.
    fn abandon(&mut self, operation: Operation, due: Instant) {
        let now = Instant::now();
        let mut tally = lock(&self.tally);
        let lane = tally.lane_mut(operation);
        let mut due = due;
        while due < self.window.end {
            if due >= self.window.recorded_from {
                lane.unsent += 1;
                lane.took(now - due);
            }
            due = self.schedule.next_due(now);
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what became of a request, where it is to be recorded, and tells what the next ones may build on.
fn settle(sent: Sent, answer: &Result<Answer<'_>, Failure>, recorded: Option<&Mutex<Tally>>) -> Settled {
    let done = Instant::now();
    let Some(tally) = recorded else {
        return match answer {
            Ok(answer) if accepted_items(sent, answer) == sent.items => Settled::Accepted,
            _ => Settled::Unclear,
        };
    };
    let mut tally = lock(tally);
    let lane = tally.lane_mut(sent.operation);
    match answer {
        Ok(answer) => {
            lane.sent_bytes += sent.bytes as u64;
            lane.received_bytes += answer.received as u64;
            let accepted = accepted_items(sent, answer);
            lane.items += accepted;
            if is_success(answer.status) {
                lane.answered += 1;
                lane.took(done - sent.due);
            } else {
                lane.refuse(answer.status, answer.body);
            }
            if is_success(answer.status) && accepted < sent.items {
                count_refused_lines(sent, answer, lane);
            }
            tally.last_answer = tally.last_answer.max(Some(done));
            if accepted == sent.items { Settled::Accepted } else { Settled::Unclear }
        }
        Err(failure) => {
            lane.fail(failure.describe());
            if *failure == Failure::Timeout {
                lane.took(done - sent.due);
            }
            Settled::Unclear
        }
    }
}

fn accepted_items(sent: Sent, answer: &Answer<'_>) -> u64 {
    match sent.operation {
        _ if !is_success(answer.status) => 0,
        Operation::Cursor | Operation::Post => 1,
        Operation::Batch => {
            let accepted = |line: &&[u8]| batch_answer::status(line).is_some_and(is_success);
            (batch_answer::lines(answer.body).filter(accepted).count() as u64).min(sent.items)
        }
    }
}

fn count_refused_lines(sent: Sent, answer: &Answer<'_>, lane: &mut super::tally::Lane) {
    let mut lines = 0;
    for line in batch_answer::lines(answer.body) {
        lines += 1;
        match batch_answer::status(line) {
            Some(status) if is_success(status) => {}
            Some(status) => lane.refuse(status, line),
            None => lane.fail("unreadable line in a batch's answer".to_owned()),
        }
    }
    for _ in lines..sent.items {
        lane.fail("line of a batch without an answer".to_owned());
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::super::schedule::Load;
    use super::super::target::Target;
    use super::super::template::Names;
    use super::super::workload::{Mix, Plan};
    use super::*;

    /// A server that answers in a millisecond, but for one request, which stalls it.
    struct Stalling {
        asked: u32,
        stalls_at: u32,
        stall: Duration,
        status: u16,
    }

    impl Exchange for Stalling {
        async fn exchange(&mut self, _request: &[u8]) -> Result<Answer<'_>, Failure> {
            self.asked += 1;
            let stalls = self.asked == self.stalls_at;
            tokio::time::sleep(if stalls { self.stall } else { Duration::from_millis(1) }).await;
            Ok(Answer { status: self.status, body: b"", received: 10 })
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Ten seconds against a server that stalls once; a warm-up of one second before.
    async fn run(load: Load, stalls_at: u32, stall: Duration, status: u16) -> Tally {
        let tally = Arc::new(Mutex::new(Tally::new().unwrap()));
        let target = Target::parse("http://h", None).unwrap();
        let plan = Arc::new(Plan::new(Mix::Post, 10, &target, &Names::new("n", 10, 0, 0)));
        let start = Instant::now();
        Driver {
            connection: Stalling { asked: 0, stalls_at, stall, status },
            workload: Workload::new(plan, 1, 0, 1),
            schedule: Schedule::new(load, start, 0, 1),
            timer: Timer::Coarse,
            window: Window::beginning(start, SECOND, 10 * SECOND, 30 * SECOND),
            tally: Arc::clone(&tally),
        }
        .run()
        .await
        .unwrap();
        Arc::into_inner(tally).unwrap().into_inner().unwrap()
    }

    fn open(rate: u64) -> Load {
        Load::Open(NonZeroU64::new(rate).unwrap())
    }

    fn millis(tally: &Tally, quantile: f64) -> u64 {
        (tally.lane(Operation::Post).latency.value_at_quantile(quantile) + 500_000) / 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_open_loop_all_who_queue_behind_a_stall_have_waited() {
        let tally = run(open(100), 500, 2 * SECOND, 201).await;
        let lane = tally.lane(Operation::Post);
        assert_eq!((lane.answered, lane.latency.len(), lane.unsent), (1_000, 1_000, 0));
        // 100 requests a second for two seconds were due during the stall: a fifth of all, with waits from 2 s down to
        // nothing, and a few more until the queue is worked off.
        assert!((2_000..=2_002).contains(&millis(&tally, 1.0)), "{}", millis(&tally, 1.0));
        assert!((1_000..1_200).contains(&millis(&tally, 0.9)), "{}", millis(&tally, 0.9));
        assert!(millis(&tally, 0.75) <= 2, "{}", millis(&tally, 0.75));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_closed_loop_one_request_has_waited() {
        let tally = run(Load::Closed, 5_000, 2 * SECOND, 201).await;
        let lane = tally.lane(Operation::Post);
        // The same stall, but nobody was to come while it lasted: one slow request in thousands.
        assert!((7_900..=8_100).contains(&lane.answered), "{}", lane.answered);
        assert!((2_000..=2_002).contains(&millis(&tally, 1.0)), "{}", millis(&tally, 1.0));
        assert!(millis(&tally, 0.999) <= 2, "{}", millis(&tally, 0.999));
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_queues_at_the_end_is_counted_as_waiting() {
        let tally = run(open(100), 500, 100 * SECOND, 201).await;
        let lane = tally.lane(Operation::Post);
        // 399 requests after the warm-up went well, the 500th was answered far too late, 600 never got their turn.
        assert_eq!((lane.answered, lane.unsent, lane.latency.len()), (400, 600, 1_000));
        assert_eq!(millis(&tally, 1.0) / 100, 1_000);
        assert!(millis(&tally, 0.5) > 90_000, "{}", millis(&tally, 0.5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_among_the_latencies() {
        let tally = run(open(100), 500, SECOND, 503).await;
        let lane = tally.lane(Operation::Post);
        assert_eq!((lane.answered, lane.latency.len(), lane.refused[&503].count), (0, 0, 1_000));
    }

    #[test]
    fn each_line_of_a_batch_counts() {
        let tally = Mutex::new(Tally::new().unwrap());
        let sent = Sent { operation: Operation::Batch, items: 4, bytes: 100, due: Instant::now() };
        let body = b"{\"status\":201,\"body\":{}}\n{\"status\":409,\"body\":{}}\nnonsense\n";
        let answer = Ok(Answer { status: 200, body, received: 200 });
        assert_eq!(settle(sent, &answer, Some(&tally)), Settled::Unclear);
        let tally = tally.into_inner().unwrap();
        let lane = tally.lane(Operation::Batch);
        assert_eq!((lane.answered, lane.items, lane.refused[&409].count), (1, 1, 1));
        assert_eq!(lane.failed.values().sum::<u64>(), 2);
    }
}
