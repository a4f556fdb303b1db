//! The smallest run that still breaks what a failing one broke.
//!
//! Delta debugging (Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, 2002): halves of what a run
//! is made of are taken away, then quarters, and so on, as long as the same stays wrong: a promise that is broken, or an
//! assertion that does not hold by what was measured. First faults; then the time
//! it lasts, and what clients do that matters for nothing; then posts; and all again, until nothing more goes. A fault and
//! what mends it are taken as two: the world mends all at the end by itself. Nothing is drawn: one failing plan shrinks one way.

mod ddmin;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::assertions;
use crate::faults::Event;
use crate::plan::Plan;
use crate::scenario::{Assertion, Scenario, Workload};
use crate::verdict::Verdict;

/// What to shrink to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The promise that has to stay broken; `None` for the first that the plan breaks, and where it breaks none, the first
    /// assertion that does not hold. Others may be broken too.
    pub promise: Option<String>,
    /// At most so many runs, the first one included: at least 1.
    pub runs_max: u32,
}

impl Default for Goal {
    fn default() -> Self {
        Self { promise: None, runs_max: 500 }
    }
}

/// What is wrong with a run, and has to stay so.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    /// A promise is broken.
    Promise(&'static str),
    /// An assertion does not hold, by what was measured: that nothing was is no smaller way to fail.
    Assertion(Assertion),
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promise(promise) => write!(formatter, "promise {promise}"),
            Self::Assertion(assertion) => write!(formatter, "assertion {assertion}"),
        }
    }
}

impl Wrong {
    /// What is wrong with a run: its broken promises, then its assertions.
    fn of(scenario: &Scenario, verdict: &Verdict) -> Vec<Self> {
        let judged = assertions::judge(scenario, verdict).into_iter();
        let failed = judged.filter(|judged| judged.is_measured && !judged.holds);
        let promises = verdict.broken.iter().map(|broken| Self::Promise(broken.promise));
        promises.chain(failed.map(|judged| Self::Assertion(judged.assertion))).collect()
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Runs up to now.
    pub runs: u32,
    /// Faults of the smallest plan up to now.
    pub faults: usize,
    /// What it posts.
    pub posts: usize,
    /// How long it lasts, without the calm at its end.
    pub lasting: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The smallest plan that was found. Its faults are some of the original's, in their order.
    pub plan: Plan,
    /// What came of its run.
    pub verdict: Verdict,
    /// What is wrong with it, as with the original.
    pub wrong: Wrong,
    /// How many runs it took.
    pub runs: u32,
    /// Whether nothing is wrong any more as soon as any single fault, or any single post, is taken away too. `false` where the
    /// runs did not suffice to know.
    pub is_minimal: bool,
}

impl Shrunk {
    /// What clients post in its run.
    #[must_use]
    pub fn posts(&self) -> BTreeSet<String> {
        posts_of(&self.plan, &self.verdict)
    }
}

/// Of what was posted what is not left out. What the judge itself posts is posted all the same.
fn posts_of(plan: &Plan, verdict: &Verdict) -> BTreeSet<String> {
    verdict.ids.iter().filter(|id| !plan.unposted.contains(*id)).cloned().collect()
}

/// Finds the smallest plan with which the same is wrong. `run` is asked for one plan at a time, and has to come to the same
/// each time; a plan that cannot be run is taken for one with which nothing is wrong. `progress` is told of each run.
///
/// # Errors
/// The plan as it is could not be run, or nothing is wrong with it.
pub fn shrink(
    plan: &Plan,
    goal: &Goal,
    mut run: impl FnMut(&Plan) -> anyhow::Result<Verdict>,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Shrunk> {
    let verdict = run(plan).context("the plan that is to be shrunk cannot be run")?;
    let is_meant = |wrong: &Wrong| match (&goal.promise, wrong) {
        (None, _) => true,
        (Some(meant), Wrong::Promise(promise)) => meant == promise,
        (Some(_), Wrong::Assertion(_)) => false,
    };
    let Some(wrong) = Wrong::of(&plan.scenario, &verdict).into_iter().find(is_meant) else {
        bail!("the run does not break {}", goal.promise.as_deref().unwrap_or("any promise or assertion"));
    };
    let search = Search {
        wrong,
        runs_left: goal.runs_max.saturating_sub(1),
        runs: 1,
        known: BTreeSet::new(),
        best: (plan.clone(), verdict),
        run: &mut run,
        progress: &mut progress,
    };
    Ok(search.finish())
}

/// The runs did not suffice.
struct OutOfRuns;

/// What makes a plan differ from another of one seed: which faults, which posts, how long, what clients do.
type Key = (Vec<String>, BTreeSet<String>, Duration, String);

fn key_of(plan: &Plan) -> Key {
    let faults = plan.faults.iter().map(|event| format!("{:?} {:?}", event.at, event.fault)).collect();
    (faults, plan.unposted.clone(), plan.scenario.lasting, format!("{:?}", plan.scenario.workload))
}

struct Search<'a> {
    wrong: Wrong,
    runs_left: u32,
    runs: u32,
    /// Plans that were run, and with which this was not wrong.
    known: BTreeSet<Key>,
    best: (Plan, Verdict),
    run: &'a mut dyn FnMut(&Plan) -> anyhow::Result<Verdict>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Search<'_> {
    fn finish(mut self) -> Shrunk {
        let is_minimal = self.until_nothing_goes().is_ok();
        let (plan, verdict) = self.best;
        Shrunk { plan, verdict, wrong: self.wrong, runs: self.runs, is_minimal }
    }

    fn until_nothing_goes(&mut self) -> Result<(), OutOfRuns> {
        self.fewer_faults()?;
        self.shorter()?;
        self.simpler()?;
        loop {
            let before = key_of(&self.best.0);
            self.fewer_posts()?;
            self.fewer_faults()?;
            if key_of(&self.best.0) == before {
                return Ok(());
            }
        }
    }

    fn fewer_faults(&mut self) -> Result<(), OutOfRuns> {
        let all = self.best.0.faults.clone();
        let kept = ddmin::minimized((0..all.len()).collect(), |kept: &[usize]| {
            let faults: Vec<Event> = kept.iter().map(|at| all[*at].clone()).collect();
            self.breaks(Plan { faults, ..self.best.0.clone() })
        })?;
        debug_assert_eq!(kept.len(), self.best.0.faults.len(), "the best plan is the last that broke the promise");
        Ok(())
    }

    /// What is posted depends on what is answered: where something is not posted, there is time for something new. So it is
    /// done again until nothing is posted but what was kept.
    fn fewer_posts(&mut self) -> Result<(), OutOfRuns> {
        loop {
            let all = self.posts();
            let before = self.best.0.unposted.clone();
            let kept = ddmin::minimized(all.iter().cloned().collect(), |kept: &[String]| {
                let kept: BTreeSet<String> = kept.iter().cloned().collect();
                let unposted = before.iter().chain(all.difference(&kept)).cloned().collect();
                self.breaks(Plan { unposted, ..self.best.0.clone() })
            })?;
            if self.posts().iter().all(|id| kept.contains(id)) || self.best.0.unposted == before {
                return Ok(());
            }
        }
    }

    fn posts(&self) -> BTreeSet<String> {
        posts_of(&self.best.0, &self.best.1)
    }

    /// In whole seconds, at least one. All faults that are left still begin within the time.
    fn shorter(&mut self) -> Result<(), OutOfRuns> {
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let last = self.best.0.faults.iter().map(|event| seconds(event.at)).max().unwrap_or_default();
        let mut too_short = last.max(1) - 1;
        let mut longest = seconds(self.best.0.scenario.lasting);
        while longest > too_short + 1 {
            let middle = too_short + (longest - too_short) / 2;
            match self.breaks_as(|scenario| scenario.lasting = Duration::from_secs(middle))? {
                true => longest = middle,
                false => too_short = middle,
            }
        }
        Ok(())
    }

    /// Without what clients do beyond posting.
    fn simpler(&mut self) -> Result<(), OutOfRuns> {
        let without: [fn(&mut Workload); 6] = [
            |workload| workload.reads = 0.0,
            |workload| workload.watches = 0.0,
            |workload| workload.imports = 0,
            |workload| workload.doubled = 0.0,
            |workload| workload.retires = 0.0,
            |workload| workload.resolves = 0.0,
        ];
        for take_away in without {
            self.breaks_as(|scenario| take_away(&mut scenario.workload))?;
        }
        Ok(())
    }

    fn breaks_as(&mut self, change: impl FnOnce(&mut Scenario)) -> Result<bool, OutOfRuns> {
        let mut scenario = (*self.best.0.scenario).clone();
        change(&mut scenario);
        if scenario == *self.best.0.scenario {
            return Ok(true);
        }
        self.breaks(Plan { scenario: Arc::new(scenario), ..self.best.0.clone() })
    }

    /// Whether the same is wrong with a plan; it is the best one then.
    fn breaks(&mut self, plan: Plan) -> Result<bool, OutOfRuns> {
        let key = key_of(&plan);
        if key == key_of(&self.best.0) {
            return Ok(true);
        }
        if self.known.contains(&key) {
            return Ok(false);
        }
        self.runs_left = self.runs_left.checked_sub(1).ok_or(OutOfRuns)?;
        self.runs += 1;
        let ran = (self.run)(&plan).ok();
        let verdict = ran.filter(|verdict| Wrong::of(&plan.scenario, verdict).contains(&self.wrong));
        let does_break = verdict.is_some();
        match verdict {
            Some(verdict) => self.best = (plan, verdict),
            None => drop(self.known.insert(key)),
        }
        let (plan, verdict) = &self.best;
        let (faults, posts, lasting) = (plan.faults.len(), posts_of(plan, verdict).len(), plan.scenario.lasting);
        (self.progress)(Progress { runs: self.runs, faults, posts, lasting });
        Ok(does_break)
    }
}

#[cfg(test)]
mod tests;
