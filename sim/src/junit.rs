//! Runs as JUnit XML, which CI systems show: a suite for the scenario, a case for each seed.

use std::time::Duration;

use crate::jobs::{Done, Ended};
use crate::report::Runs;

/// The cases of a suite, gathered as runs end.
#[derive(Debug, Default)]
pub struct Suite {
    cases: Vec<Case>,
    tests: u64,
    failures: u64,
    errors: u64,
    took: Duration,
}

/// One case, as XML.
#[derive(Debug)]
struct Case {
    seed: u64,
    /// All before the account of what is wrong.
    begin: String,
    /// What is wrong; empty if nothing is.
    account: String,
    end: String,
}

impl Suite {
    /// One more run.
    pub fn push(&mut self, runs: &Runs, done: &Done) {
        self.tests += 1;
        self.took += done.took;
        let name = escaped(&runs.scenario.name);
        let (seed, seconds) = (done.seed, done.took.as_secs_f64());
        let case =
            format!("    <testcase classname=\"plimsoll-sim.{name}\" name=\"seed {seed}\" time=\"{seconds:.3}\"");
        let found = Runs::faults_found(done);
        let Some((kind, first)) = found.first() else {
            self.cases.push(Case { seed, begin: case, account: String::new(), end: "/>\n".to_owned() });
            return;
        };
        let element = if matches!(done.ended, Ended::Failed(_)) { "error" } else { "failure" };
        *(if element == "error" { &mut self.errors } else { &mut self.failures }) += 1;
        let message = escaped(first.lines().next().unwrap_or_default());
        let account = escaped(&format!("{}\n{}", runs.headline(done), runs.account(done)));
        let begin = format!("{case}>\n      <{element} type=\"{kind}\" message=\"{message}\">");
        self.cases.push(Case { seed, begin, account, end: format!("</{element}>\n    </testcase>\n") });
    }

    /// More to tell of a run that is not sound; of one that is nothing is told.
    pub fn note(&mut self, seed: u64, text: &str) {
        let is_meant = |case: &&mut Case| case.seed == seed && !case.account.is_empty();
        if let Some(case) = self.cases.iter_mut().find(is_meant) {
            case.account.push('\n');
            case.account.push_str(&escaped(text.trim_end()));
        }
    }

    /// The document.
    #[must_use]
    pub fn document(&self, runs: &Runs) -> String {
        let Self { tests, failures, errors, took, .. } = self;
        let cases: String = self.cases.iter().flat_map(|case| [&*case.begin, &case.account, &case.end]).collect();
        let (name, build, seconds) = (escaped(&runs.scenario.name), escaped(&runs.build), took.as_secs_f64());
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\"");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites name=\"plimsoll-sim\" {counts}>\n  \
             <testsuite name=\"{name}\" {counts}>\n    \
             <properties>\n      <property name=\"build\" value=\"{build}\"/>\n    </properties>\n\
             {cases}  </testsuite>\n</testsuites>\n"
        )
    }
}

/// A text as it may stand in an element or an attribute. What XML cannot hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter) => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::Source;

    #[test]
    fn a_case_that_fails_is_escaped_and_told_whole() {
        let source = Source::Standard { nodes: 3, seconds: 5 };
        let scenario = Arc::new(source.scenario().unwrap());
        let runs = Runs { source, scenario, options: String::new(), build: "version 1".to_owned() };
        let mut suite = Suite::default();
        let done = |seed, ended| Done { seed, ended, took: Duration::from_millis(1_500) };
        suite.push(&runs, &done(1, Ended::Died("it <panicked> & \"died\"\n\u{1b}[31mat x".to_owned())));
        suite.push(&runs, &done(2, Ended::Failed("no".to_owned())));
        suite.note(1, "timeline: <run>.html\n");
        let document = suite.document(&runs);
        let expected = [
            "tests=\"2\" failures=\"1\" errors=\"1\" time=\"3.000\"",
            "<testcase classname=\"plimsoll-sim.standard\" name=\"seed 1\" time=\"1.500\">",
            "<failure type=\"died\" message=\"it &lt;panicked&gt; &amp; &quot;died&quot;\">seed 1: BROKEN;",
            "\u{fffd}[31mat x",
            "again: plimsoll-sim run --nodes 3 --seconds 5 --seed 1\ntimeline: &lt;run&gt;.html</failure>",
            "<error type=\"failed\" message=\"no\">",
        ];
        for part in expected {
            assert!(document.contains(part), "{part} is not in\n{document}");
        }
    }
}
