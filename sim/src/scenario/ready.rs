//! Scenarios that come with the program, by name.

/// A scenario file that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Its name, which is also the name in it.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All of them.
pub const READY: [Ready; 9] = [
    Ready { name: "three-regions", text: include_str!("../../scenarios/three-regions.toml") },
    Ready { name: "region-loss", text: include_str!("../../scenarios/region-loss.toml") },
    Ready { name: "flapping-link", text: include_str!("../../scenarios/flapping-link.toml") },
    Ready { name: "clock-storm", text: include_str!("../../scenarios/clock-storm.toml") },
    Ready { name: "wrong-clock", text: include_str!("../../scenarios/wrong-clock.toml") },
    Ready { name: "away-too-long", text: include_str!("../../scenarios/away-too-long.toml") },
    Ready { name: "leaves", text: include_str!("../../scenarios/leaves.toml") },
    Ready { name: "rolling-upgrade", text: include_str!("../../scenarios/rolling-upgrade.toml") },
    Ready { name: "laptop-legion", text: include_str!("../../scenarios/laptop-legion.toml") },
];

/// The one of a name.
#[must_use]
pub fn named(name: &str) -> Option<Ready> {
    READY.into_iter().find(|ready| ready.name == name)
}

impl Ready {
    /// What it is of, in a line: the first line of the file, which is a comment.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}
