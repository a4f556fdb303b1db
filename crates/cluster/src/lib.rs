//! Every conversation between nodes.
//!
//! - [`cluster`]: a node's part in its cluster, and all that others ask it.
//! - [`acknowledging`]: how many members' disks have a write.
//! - [`afresh`]: what a node leaves that was away for too long.
//! - [`repair`]: asking everybody before saying that nobody knows.
//! - [`status`]: what it can tell of it.
//! - [`tokens`]: what token an artifact has elsewhere.
//! - [`tls`] and [`security`]: certificates: whom a node believes, and how it shows who it is.
//! - [`net`]: the seams to the network.
//!
//! Behind them: `keeper` makes connections (`link`) and `server` takes them; `identity` turns copies of nodes away; `roster`
//! holds who the members are, and `membership` finds out who is alive; `plan` says who follows whose feed, `feed` tells one,
//! `follow` takes it over; `anti_entropy` finds what no feed brings, and `departures` what those had who are gone; `joining`
//! says when a node has caught up. `retention` agrees on what to forget, `absence` tells who is not waited for, and `horizon`
//! sees to it that nobody brings it back.

mod absence;
pub mod acknowledging;
pub mod afresh;
mod anti_entropy;
mod certificates;
pub mod cluster;
mod context;
mod counters;
mod departures;
mod feed;
mod follow;
mod following;
mod horizon;
mod identity;
mod joining;
mod keeper;
pub mod leaving;
mod link;
mod membership;
pub mod net;
mod plan;
pub mod repair;
mod retention;
mod roster;
pub mod security;
mod server;
pub mod status;
pub mod tls;
pub mod tokens;

pub use roster::Liveness;

#[cfg(test)]
mod tests;
