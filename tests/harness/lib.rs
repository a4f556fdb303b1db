//! What the black-box tests stand on: a node as a process, requests to it, and what a test may need of the machine; hosts
//! with a network between them, a cluster of nodes on them, and what its clients saw; disks and clocks of their own for nodes.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod hosts;
pub mod machine;
pub mod node;
pub mod trace;

use std::path::{Path, PathBuf};

/// The root of the workspace.
///
/// # Panics
/// Never: this crate lies one folder below it.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies one folder below the root").to_path_buf()
}
