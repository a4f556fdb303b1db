//! A node: what composes store and HTTP API into one running thing.
//!
//! - [`afresh`]: what becomes of the data of a node that was away for too long.
//! - [`config`]: the settings of a node, from a file, variables and flags.
//! - [`environment`]: everything of the world outside that a node sees: time, chance, disk, network.
//! - [`migration`]: brings a data directory to the current format.
//! - [`node`]: starts and stops a node over the two.
//! - [`tls`]: the certificates nodes show one another.
//!
//! There is no global state, so any number of nodes run in one process. The node does not know how the process logs,
//! which signals it takes, or what its runtime is: that is its owner's.

pub mod access;
pub mod afresh;
pub mod config;
pub mod environment;
mod http;
mod metrics;
pub mod migration;
pub mod node;
mod rate;
mod tasks;

pub use http::openapi;
pub use plimsoll_cluster::tls;
pub use plimsoll_store::directory::EngineKind;
pub use plimsoll_store::format::{Migration, Run};
pub use rate::Rate;
