//! Every byte that leaves or outlives the process, versioned.
//!
//! Types here mirror the types of `domain` on purpose: a type of `domain` may change its shape with a rule, a type of
//! this crate may not, for somebody else has its bytes. Conversions between the two are written by hand and are total
//! in one direction, fallible in the other: what comes in is parsed.
//!
//! - [`http`]: JSON of the HTTP API.
//! - [`peer`]: frames between nodes.
//! - [`problem`]: problem documents (RFC 9457), the one form of every error of the HTTP API.
//! - [`record`]: values a store keeps on its disk.

pub mod http;
pub mod peer;
pub mod problem;
pub mod record;
