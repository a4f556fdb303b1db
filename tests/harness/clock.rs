//! A clock that a test sets: a node of an unchanged binary sees the time as the test says, and goes on measuring durations
//! by the machine's.
//!
//! It needs a dynamic loader that preloads (`LD_PRELOAD`). The library is the crate `plimsoll-test-clock`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::node::{Start, build};

/// The clock of nodes that are started with it. It is right until it is set.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock whose setting is kept in a file.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        let clock = Self { file: file.to_owned() };
        clock.set(0);
        clock
    }

    /// Sets it so many milliseconds ahead of the machine's, or back where that is less than zero: from now on.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, ahead_ms: i64) {
        let fresh = self.file.with_extension("fresh");
        let written = fs::write(&fresh, format!("{}\n", i128::from(ahead_ms) * 1_000_000));
        written.and_then(|()| fs::rename(&fresh, &self.file)).expect("a clock can be set");
    }

    /// A start of a node that sees the time by it.
    pub(crate) fn given_to(&self, start: Start) -> Start {
        static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| build("plimsoll-test-clock").join("libplimsoll_test_clock.so"));
        let text = |path: &Path| path.to_str().expect("these paths are Unicode").to_owned();
        start.variable("LD_PRELOAD", &text(library)).variable("PLIMSOLL_TEST_CLOCK", &text(&self.file))
    }
}
