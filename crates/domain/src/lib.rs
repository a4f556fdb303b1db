//! The rules of plimsoll, as plain functions of values.
//!
//! Everything that decides is here; everything that touches a disk, a socket, a clock or a die is a driver in another
//! crate. A function of this crate takes `now`, takes a reader, and returns what happened; it cannot wait, fail on IO,
//! or know the time, and the crate's `clippy.toml` and the layering test hold it to that.
//!
//! - [`id`]: the names of things, each a type that cannot be wrong.
//! - [`timestamp`] and [`clock`]: hybrid logical time.
//! - [`skew`]: how far apart clocks are.
//! - [`projection`]: transitions, the facts they become, and the projection folded from them.
//! - [`planted`]: faults that a simulation has to find; never in a release.

pub mod clock;
pub mod id;
pub mod planted;
pub mod projection;
pub mod skew;
pub mod timestamp;
