//! Tests of the whole: one binary, a module for each area.

mod cli;
mod contract;
mod crash;
mod format;
mod fuzz;
mod golden;
mod layering;
mod power;
mod tidy;
