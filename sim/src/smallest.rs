//! The smallest run that still fails, as a scenario file: sought by one process, which says how far it is, for another.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::scenario::{Scenario, file};
use crate::shrink::{Goal, Progress, Shrunk, shrink};
use crate::world;

/// So many posts are named.
const NAMED_MAX: usize = 200;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smallest {
    /// The scenario file. With the seed of the run it is the smallest run.
    pub text: String,
    /// What is wrong with it, as `promise keep`.
    pub wrong: String,
    /// Its faults.
    pub faults: usize,
    /// What its clients post.
    pub posts: BTreeSet<String>,
    /// How long its clients ask and things go wrong.
    pub lasting: Duration,
    /// How many runs it took to find.
    pub runs: u32,
    /// See [`Shrunk::is_minimal`].
    pub is_minimal: bool,
}

/// A line of what a process that seeks says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// How far it is.
    Progress(Progress),
    /// It has come to its end.
    Found(Smallest),
    /// The run does not fail, or cannot be made, or its scenario cannot be written.
    NotFound(String),
}

impl Smallest {
    fn of(seed: u64, shrunk: &Shrunk) -> Self {
        let posts = shrunk.posts();
        let Shrunk { plan, wrong, runs, is_minimal, .. } = shrunk;
        // What is posted all the same, by the judge, would be left out in vain.
        let posted: BTreeSet<&String> = shrunk.verdict.ids.iter().collect();
        let unposted = plan.unposted.iter().filter(|id| !posted.contains(id)).cloned().collect();
        let scenario = Scenario { unposted, ..(*plan.scenario).clone() };
        let mut text =
            format!("# The smallest run of seed {seed} that was found to break {wrong}. Run it with that seed.\n");
        if !posts.is_empty() {
            // Writing to a text does not fail.
            let _ = writeln!(text, "# It posts {}.", named(&posts));
        }
        text.push('\n');
        text.push_str(&file::write(&scenario, &plan.faults));
        let (wrong, faults, lasting) = (wrong.to_string(), plan.faults.len(), plan.scenario.lasting);
        Self { text, wrong, faults, posts, lasting, runs: *runs, is_minimal: *is_minimal }
    }

    /// What its clients post, in a line.
    #[must_use]
    pub fn posts_named(&self) -> String {
        named(&self.posts)
    }
}

fn named(posts: &BTreeSet<String>) -> String {
    let named = posts.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = posts.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{named}, and {more} more") } else { named }
}

/// Seeks the smallest run that fails as this one does, in this process, with at most so many runs.
///
/// # Errors
/// The run does not fail, or cannot be made; or what is left of it has no scenario file.
pub fn seek(job: &Job, runs_max: u32, progress: impl FnMut(Progress)) -> anyhow::Result<Smallest> {
    let plan = job.prepared()?;
    let shrunk = shrink(&plan, &Goal { promise: None, runs_max }, world::run, progress)?;
    let smallest = Smallest::of(job.seed, &shrunk);
    file::read("the smallest run", &smallest.text)?;
    Ok(smallest)
}
