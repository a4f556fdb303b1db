//! A run, line by line: what nodes log, what passes between hosts, what clients are told. Two runs of one seed are the same
//! run if and only if these lines are the same.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::record::recorder;

/// The lines of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Takes out what was written up to now.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Says how late it is in the simulation. A host's own clock stands at the machine's time while it is started again.
pub(crate) fn set_now(now: Duration) {
    NOW.set(now);
}

/// How late it is in the simulation, from the beginning of the run.
pub(crate) fn now() -> Duration {
    NOW.get()
}

/// The time of the simulation.
struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:>9.3}", NOW.get().as_secs_f64())
    }
}

/// What is traced: what the product and the clients say, and each message between hosts.
const TRACED: &str = "plimsoll_node=debug,plimsoll_cluster=debug,plimsoll_store=debug,plimsoll_sim=debug,turmoil=trace";

/// Runs something, and returns with it the lines it wrote. Within [`recorded`](crate::record::recorded) or around it, both see
/// all.
pub fn traced<T>(run: impl FnOnce() -> T) -> (T, Vec<u8>) {
    let lines = Lines::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(SimulatedTime)
        .with_writer(lines.clone())
        .with_filter(EnvFilter::new(TRACED));
    let subscriber = tracing_subscriber::registry().with(layer).with(recorder());
    let outcome = tracing::subscriber::with_default(subscriber, run);
    (outcome, lines.take())
}
