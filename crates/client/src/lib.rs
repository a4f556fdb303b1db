//! A typed HTTP client of plimsoll.
//!
//! It rests on one idea: *whether a request may be sent again depends on what is known about the first one*. Each
//! attempt ends in an [`Outcome`]; what is repeated, and how an answer to a repeated request is read, follows from it:
//!
//! - **Reads** are repeated after anything that may pass.
//! - **Posts of transitions** are repeated likewise: a transition is named by its `transition_id`, and a node recognises
//!   a repetition before it looks at a [`Precondition`]. Only `under-replicated` is not repeated: the transition stands,
//!   and what it waits for is not brought nearer by asking.
//! - **Deletes** are repeated only when the earlier attempt certainly did nothing, or under a token: a delete that is
//!   applied twice would retire work that came in between.
//!
//! With the URLs of several nodes of a store, it talks to the nearest one, as measured, and what may be repeated is
//! repeated at the next nearest where that one fails: the same body, and the same `transition_id`. It goes back once the
//! nearest is ready again; [`Builder::on_switch`] tells of either. What is repeated under a token or another
//! precondition goes to another node only as long as it certainly was not applied.
//!
//! Another node may be behind. A client can demand to [read its own writes](Builder::read_your_writes); reads are not
//! otherwise held to what an earlier read has shown. Positions of the change feed are one node's, so a follower stays
//! with its node: see [`Changes`].
//!
//! What an operator asks a node about its cluster, or tells it to do there, is for the one node that the client talks to:
//! see [`Client::cluster`].
//!
//! Time is tokio's, randomness comes from a seed, and connections from a [`Connect`], so a simulation owns all three.
//!
//! What it does not do: TLS (an `https` URL is refused), redirects, cookies, and finding nodes that it was not told of.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use plimsoll_client::{Client, CursorQuery, CursorState};
//!
//! let client = Client::builder("http://127.0.0.1:7171").token("secret").build()?;
//! match client.cursor("spec-login-flow", &CursorQuery::default()).await? {
//!     CursorState::Current(cursor) => println!("{}", cursor.committed_version),
//!     CursorState::Unchanged => {}
//! }
//! # Ok(())
//! # }
//! ```

mod batch;
mod builder;
mod call;
mod changes;
mod cluster;
mod connect;
mod endpoint;
mod error;
mod fleet;
mod history;
mod lines;
mod memory;
mod post;
mod projections;
mod retry;
mod roster;
pub mod sse;
#[cfg(test)]
mod tests;
mod tour;
mod transport;

pub use batch::{BATCH_LINES_MAX, BatchFailure};
pub use builder::{Builder, ConfigError};
pub use call::Client;
pub use changes::{ChangeEvent, Changes};
pub use connect::{Connect, Connecting, Connection, Tcp};
pub use error::{Cause, Error, Outcome, TransportError};
pub use fleet::{Switch, SwitchReason};
pub use memory::Written;
pub use plimsoll_wire as wire;
pub use post::{PostOptions, Posted, Precondition};
pub use projections::{CursorQuery, CursorState, PageQuery};
pub use retry::RetryPolicy;
pub use roster::ENDPOINTS_MAX;
