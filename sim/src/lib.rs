//! Whole clusters of the product in one thread: simulated time, sockets, clocks and disks, everything drawn from a seed.
//!
//! - [`world`]: one run: hosts, clients, faults, then calm, then judgement.
//! - [`host`], [`net`]: what a node of the product stands on.
//! - [`scenario`], [`plan`], [`faults`]: what a run is of, and what goes wrong.
//! - [`assertions`]: what is asked of a run beyond that.
//! - [`job`], [`jobs`]: runs, each in a process of its own.
//! - [`measured`], [`scale`]: what a run cost, and how that grows with nodes and regions.
//! - [`report`], [`junit`]: what people and CI systems are told of runs.
//! - [`workload`], [`client`], [`history`]: clients, and what they saw.
//! - [`invariants`]: what must be true of every run.
//! - [`trace`]: a run, line by line.
//! - [`record`], [`timeline`]: a run as moments, and as a page to look at.
//! - [`shrink`], [`smallest`]: the smallest run that still breaks what a failing one broke, and its scenario file.

pub mod assertions;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod history;
pub mod host;
pub mod invariants;
pub mod job;
pub mod jobs;
pub mod junit;
pub mod measured;
pub mod net;
pub mod plan;
pub mod record;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod shrink;
pub mod smallest;
pub mod timeline;
pub mod trace;
pub mod verdict;
pub mod workload;
pub mod world;
