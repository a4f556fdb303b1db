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
//! Time is tokio's, randomness comes from a seed, and connections from a [`Connect`], so a simulation owns all three.
//!
//! What it does not do: TLS (an `https` URL is refused), redirects, cookies, and more than one node.
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
mod connect;
mod endpoint;
mod error;
mod lines;
mod post;
mod projections;
mod retry;
pub mod sse;
#[cfg(test)]
mod tests;
mod transport;

pub use batch::{BATCH_LINES_MAX, BatchFailure};
pub use builder::{Builder, ConfigError};
pub use call::Client;
pub use changes::{ChangeEvent, Changes};
pub use connect::{Connect, Connecting, Connection, Tcp};
pub use error::{Cause, Error, Outcome, TransportError};
pub use plimsoll_wire as wire;
pub use post::{PostOptions, Posted, Precondition};
pub use projections::{CursorQuery, CursorState, PageQuery};
pub use retry::RetryPolicy;
