//! Tests of the whole: one binary, a module for each area.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cli;
mod contract;
mod crash;
mod deploy;
mod format;
mod fuzz;
mod golden;
mod history;
mod layering;
mod partition;
mod planted;
mod power;
mod tidy;
