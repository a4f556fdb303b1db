//! JSON of the HTTP API, by version.

pub mod v1;
