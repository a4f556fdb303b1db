//! A run as moments: what passed between hosts, what went wrong, what clients asked and were told, what nodes logged.
//!
//! It is made of tracing events. Which, and of which fields:
//!
//! | event | fields | becomes |
//! |---|---|---|
//! | turmoil's `New` | `nodename`, `addr` | a [`Host`] |
//! | `host`, of the world | `name`, `address`, `region` | the region of a [`Host`] |
//! | turmoil's `Send`, `Delivered`, `Drop`, `Hold` | `src`, `dst`, `protocol` | a [`Message`] |
//! | `fault`, of the world | `fault` | a [`Happening`] |
//! | any other of this crate, at info or above | `id`, `node` or `host`, `outcome`, `transition`, `artifact`, and more | a [`Word`] |
//! | any of another crate of the product, at info or above | all | a [`Line`] |
//!
//! A host's events are within turmoil's span `node`. All is bounded: where there is more of a kind than its bound, the
//! oldest are left out and counted, as runs break at their end. What a message carries is looked at for ids that clients have
//! named before, and not kept; ids in compressed frames are not seen.

mod layer;
mod messages;
mod tape;

use std::cell::RefCell;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

use tape::Tape;

pub(crate) use layer::recorder;

/// Messages that are kept; those of one connection that were sent in one tick, and arrived in one, are one.
pub const MESSAGES_MAX: usize = 50_000;

/// Messages under way that are known of at a time; what is sent while there are so many is left out.
pub const FLYING_MAX: usize = 50_000;

/// Faults that are kept.
pub const FAULTS_MAX: usize = 10_000;

/// What clients said that is kept.
pub const WORDS_MAX: usize = 20_000;

/// Log lines that are kept.
pub const LINES_MAX: usize = 10_000;

/// Ids that are known.
pub const IDS_MAX: usize = 50_000;

/// Ids that are kept of one message, or of one line.
pub const CONCERNS_MAX: usize = 16;

/// Bytes that are kept of a text.
pub const TEXT_BYTES_MAX: usize = 400;

/// The place of a host in [`Recording::hosts`].
pub type HostIndex = usize;

/// The place of an id in [`Recording::ids`].
pub type IdIndex = usize;

/// See the module. All times are simulated, from the beginning of the run.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// In the order in which they were named first.
    pub hosts: Vec<Host>,
    /// Ids of transitions and artifacts that clients have named, in that order.
    pub ids: Vec<String>,
    /// In the order in which they were sent.
    pub messages: Vec<Message>,
    /// What went wrong or was mended, in order of time.
    pub faults: Vec<Happening>,
    /// What clients said, in order of time.
    pub words: Vec<Word>,
    /// What nodes logged, in order of time.
    pub lines: Vec<Line>,
    /// How much there was beyond the bounds.
    pub left_out: LeftOut,
}

/// A host of the simulation: a node's, or a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name: `n` and a number for a node.
    pub name: String,
    /// Where it is, if that was said.
    pub region: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrived.
    Delivered,
    /// It was dropped when it was sent.
    Lost,
    /// It had not arrived when the run ended: it was lost on the way, or whom it was for was down or had ended.
    Open,
    /// It stood still on the way. It may have arrived later.
    Held,
}

/// What passed from one host to another on one connection, in one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was sent.
    pub sent: Duration,
    /// When it arrived, if it did.
    pub arrived: Option<Duration>,
    /// Who sent it.
    pub from: HostIndex,
    /// To whom.
    pub to: HostIndex,
    /// The ports of the two.
    pub ports: (u16, u16),
    /// What became of it.
    pub fate: Fate,
    /// What it is: the first line of a request or an answer, or `SYN`, `FIN`, `RST`; empty for anything else.
    pub text: String,
    /// Bytes it carries.
    pub bytes: u64,
    /// How many segments it was, from 1.
    pub segments: u32,
    /// The ids it names, at most [`CONCERNS_MAX`].
    pub concerns: Vec<IdIndex>,
}

/// Something that went wrong, or was mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: Duration,
    /// What, as the fault is displayed.
    pub text: String,
}

/// What a client did, or was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// When.
    pub at: Duration,
    /// Which host it is on.
    pub host: Option<HostIndex>,
    /// Its name: `posts`, `was told`, and whatever else clients say.
    pub name: String,
    /// The transition it is about.
    pub id: Option<IdIndex>,
    /// The artifact it is about.
    pub artifact: Option<IdIndex>,
    /// The node that was asked.
    pub node: Option<HostIndex>,
    /// What came of it.
    pub outcome: Option<String>,
    /// All that was said.
    pub text: String,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// To know.
    Info,
    /// To look at.
    Warning,
    /// To act on.
    Error,
}

/// A log line of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Duration,
    /// Which host it is of.
    pub host: Option<HostIndex>,
    /// How much it matters.
    pub weight: Weight,
    /// Where in the product it was written, and what it says.
    pub text: String,
    /// The ids it names, at most [`CONCERNS_MAX`].
    pub concerns: Vec<IdIndex>,
}

/// How much there was beyond the bounds, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Messages.
    pub messages: u64,
    /// Faults.
    pub faults: u64,
    /// What clients said.
    pub words: u64,
    /// Log lines.
    pub lines: u64,
    /// Ids that were named when too many were known: what concerns them is not found by them.
    pub ids: u64,
}

thread_local! {
    static TAPE: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// What may be an id, or the name of a host, in a text.
pub(crate) fn words_of(text: &str) -> impl Iterator<Item = &str> {
    messages::words(text.as_bytes())
}

/// Runs something on this thread, and returns with it what it was. Within [`traced`](crate::trace::traced) or around it,
/// both see all; within itself, only the inner one does.
pub fn recorded<T>(run: impl FnOnce() -> T) -> (T, Recording) {
    let outer = TAPE.replace(Some(Tape::default()));
    let outcome = if layer::is_listening() {
        run()
    } else {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(recorder()), run)
    };
    let tape = TAPE.replace(outer).unwrap_or_default();
    (outcome, tape.ended())
}

#[cfg(test)]
mod tests;
