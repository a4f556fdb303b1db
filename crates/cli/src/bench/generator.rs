//! A run: threads, connections, and the moment they all begin.
//!
//! Each thread has a runtime of its own and its share of the connections; nothing is shared between threads until they
//! end. All connections are made before the clock starts. One thread is the default: in a closed loop it takes 4 to 5 µs a
//! request, so that on two cores the server beside it is the bottleneck; a second thread costs a third more a request
//! and the server answers a tenth less.

use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::connection::{Connection, Failure};
use super::drive::Driver;
use super::schedule::{Load, Schedule, Window};
use super::tally::Tally;
use super::target::Target;
use super::timer::Timer;
use super::workload::{Plan, Workload};
use crate::failure::Unreachable;

/// A run to be made.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The server.
    pub(crate) target: Arc<Target>,
    /// The requests.
    pub(crate) plan: Arc<Plan>,
    /// How they are offered.
    pub(crate) load: Load,
    /// Connections, at least as many as threads.
    pub(crate) connections: u32,
    /// Threads of the generator.
    pub(crate) threads: u32,
    /// The part at the beginning that is not recorded.
    pub(crate) warmup: Duration,
    /// The recorded part.
    pub(crate) recorded: Duration,
    /// What one request may take.
    pub(crate) timeout: Duration,
    /// Decides the choices.
    pub(crate) seed: u64,
}

/// What a run has measured.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// The counts.
    pub(crate) tally: Tally,
    /// From the first recorded request's due time to the end of the window or the last answer, whichever is later.
    pub(crate) elapsed: Duration,
    /// Processor time of the generator over the same span; `None` where the system does not tell.
    pub(crate) processor: Option<Duration>,
}

impl Run {
    /// Makes the run; blocks until it ends.
    pub(crate) fn measure(&self) -> Result<Measurement> {
        // The threads and this one, which watches the processor time.
        let all_connected = Barrier::new(self.threads as usize + 1);
        let window = OnceLock::new();
        thread::scope(|scope| {
            let spawn = |thread| {
                scope.spawn({
                    let (all_connected, window) = (&all_connected, &window);
                    move || self.run_thread(thread, all_connected, window)
                })
            };
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            all_connected.wait();
            let window = self.window(&window);
            thread::sleep(window.recorded_from.saturating_duration_since(Instant::now()));
            let processor = processor_time();
            let mut tally = Tally::new()?;
            for thread in threads {
                let part = thread.join().map_err(|_| anyhow!("a generator thread panicked"))??;
                tally.add(&part)?;
            }
            let processor = processor_time().zip(processor).map(|(end, start)| end.saturating_sub(start));
            let end = window.end.max(tally.last_answer.unwrap_or(window.end));
            Ok(Measurement { tally, elapsed: end - window.recorded_from, processor })
        })
    }

    fn window(&self, window: &OnceLock<Window>) -> Window {
        let grace = self.timeout;
        *window.get_or_init(|| Window::beginning(Instant::now(), self.warmup, self.recorded, grace))
    }

    fn run_thread(&self, thread: u32, all_connected: &Barrier, window: &OnceLock<Window>) -> Result<Tally> {
        // Whatever fails here must not fail before the barrier, where the others would wait for ever.
        let connected = self.connect(thread);
        all_connected.wait();
        let (runtime, connections) = connected?;
        let window = self.window(window);
        let tally = Arc::new(Mutex::new(Tally::new()?));
        runtime.block_on(async {
            let drivers: Vec<_> = connections
                .into_iter()
                .map(|Connected { number, connection, timer }| {
                    let workload = Workload::new(Arc::clone(&self.plan), self.seed, number, self.connections);
                    let schedule = Schedule::new(self.load, window.start, number as usize, self.connections as usize);
                    let tally = Arc::clone(&tally);
                    tokio::spawn(Driver { connection, workload, schedule, timer, window, tally }.run())
                })
                .collect();
            for driver in drivers {
                driver.await.context("a connection's task panicked")??;
            }
            anyhow::Ok(())
        })?;
        drop(runtime);
        let tally = Arc::into_inner(tally).context("a connection's task outlived its runtime")?;
        tally.into_inner().map_err(|_| anyhow!("a connection's task panicked"))
    }

    fn connect(&self, thread: u32) -> Result<(Runtime, Vec<Connected>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut connections = Vec::new();
            for number in (thread..self.connections).step_by(self.threads as usize) {
                let opened = Connection::open(Arc::clone(&self.target), self.timeout).await;
                let connection = opened.map_err(|failure| cannot_begin(&self.target, failure))?;
                connections.push(Connected { number, connection, timer: Timer::new()? });
            }
            anyhow::Ok(connections)
        })?;
        Ok((runtime, connections))
    }
}

/// A connection that is ready to be driven.
struct Connected {
    number: u32,
    connection: Connection,
    timer: Timer,
}

/// The error of a run that never began. An answer that cannot be read is not one that may come later.
pub(crate) fn cannot_begin(target: &Target, failure: Failure) -> anyhow::Error {
    let detail = format!("{}: {}", target.url, failure.describe());
    match failure {
        Failure::Malformed(_) => anyhow!(detail),
        _ => Unreachable { detail }.into(),
    }
}

/// The processor time of this process.
fn processor_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()
}
