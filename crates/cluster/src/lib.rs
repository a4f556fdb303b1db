//! Every conversation between nodes.
//!
//! - [`tls`]: certificates: whom a node believes, and how it shows who it is.

pub mod tls;
