//! What is wrong with a scenario file: where, which key, which rule, and the line itself.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// So many problems of a file are told; of more only how many they are.
pub const PROBLEMS_MAX: usize = 20;

/// So many characters of a line are shown.
const SHOWN_MAX: usize = 120;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    /// The key, with the tables it is in, as `links.between.latency`; empty where there is none.
    pub key: String,
    /// The rule that was broken.
    pub rule: String,
    /// The line as it is shown, and from which character on how many are marked.
    shown: (String, usize, usize),
}

/// All that is wrong with a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// What the file is called.
    pub file: String,
    /// The first [`PROBLEMS_MAX`].
    pub told: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.told.iter().enumerate() {
            if nth > 0 {
                formatter.write_str("\n\n")?;
            }
            write!(formatter, "{}:{problem}", self.file)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(formatter, "\n\n{}: and {more} more", self.file),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, rule, shown: (text, begin, width) } = self;
        write!(formatter, "{line}:{column}: ")?;
        if !key.is_empty() {
            write!(formatter, "{key}: ")?;
        }
        let margin = " ".repeat(line.to_string().len());
        writeln!(formatter, "{rule}\n{margin} |\n{line} | {text}")?;
        write!(formatter, "{margin} | {}{}", " ".repeat(*begin), "^".repeat(*width))
    }
}

/// Gathers what is wrong with a text while it is read.
pub(crate) struct Finder<'a> {
    text: &'a str,
    found: RefCell<Vec<(Range<usize>, String, String)>>,
}

impl<'a> Finder<'a> {
    /// Of a text in which nothing wrong was found yet.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// The text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Whether nothing wrong was found.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// A rule is broken at these bytes.
    pub(crate) fn wrong(&self, at: Range<usize>, key: impl Into<String>, rule: impl Into<String>) {
        self.found.borrow_mut().push((at, key.into(), rule.into()));
    }

    /// All that was found, in the order of the text.
    pub(crate) fn problems(self, file: &str) -> Problems {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(at, _, _)| at.start);
        found.dedup();
        let more = found.len().saturating_sub(PROBLEMS_MAX);
        found.truncate(PROBLEMS_MAX);
        let told = found.into_iter().map(|(at, key, rule)| problem(self.text, &at, key, rule)).collect();
        Problems { file: file.to_owned(), told, more }
    }
}

fn problem(text: &str, at: &Range<usize>, key: String, rule: String) -> Problem {
    let start = text.floor_char_boundary(at.start.min(text.len()));
    let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let whole = text[begin..].lines().next().unwrap_or_default();
    let (line, column) = (text[..begin].matches('\n').count() + 1, text[begin..start].chars().count() + 1);
    let end = text.floor_char_boundary(at.end.clamp(start, (begin + whole.len()).max(start)));
    let width = text[start..end].chars().count();
    Problem { line, column, key, rule, shown: shown(whole, column - 1, width.max(1)) }
}

/// A line for people: without control characters, and of a long one the part that matters.
fn shown(whole: &str, begin: usize, width: usize) -> (String, usize, usize) {
    let skipped = if begin + width > SHOWN_MAX { begin.saturating_sub(SHOWN_MAX / 3) } else { 0 };
    let visible = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text = whole.chars().skip(skipped).take(SHOWN_MAX).map(visible).collect();
    (text, begin - skipped, width.min(SHOWN_MAX - (begin - skipped).min(SHOWN_MAX - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, at: Range<usize>) -> String {
        let finder = Finder::new(text);
        finder.wrong(at, "a.b", "must be 1");
        finder.problems("f.toml").to_string()
    }

    #[test]
    fn a_problem_names_its_place_and_shows_its_line() {
        let expected = "f.toml:2:5: a.b: must be 1\n  |\n2 | é = 17 # so\n  |     ^^";
        assert_eq!(told("[a]\né = 17 # so\n", 9..11), expected);
    }

    #[test]
    fn a_place_at_the_end_or_of_several_lines_is_shown_by_its_beginning() {
        assert_eq!(told("x = [\n1]", 4..8), "f.toml:1:5: a.b: must be 1\n  |\n1 | x = [\n  |     ^");
        assert!(told("x", 9..12).starts_with("f.toml:1:2: "));
        assert!(told("", 0..0).starts_with("f.toml:1:1: "));
    }

    #[test]
    fn of_a_long_line_the_part_that_matters_is_shown() {
        let text = format!("{}17{}", "x".repeat(500), "y".repeat(500));
        let told = told(&text, 500..502);
        assert!(told.contains("x17y") && told.lines().all(|line| line.len() < 130), "{told}");
    }

    #[test]
    fn of_many_problems_only_the_number_is_told() {
        let text = "a".repeat(30);
        let finder = Finder::new(&text);
        (0..25).for_each(|at| finder.wrong(at..at + 1, "", "no"));
        let problems = finder.problems("f");
        assert_eq!((problems.told.len(), problems.more), (PROBLEMS_MAX, 5));
        assert!(problems.to_string().ends_with("f: and 5 more"));
    }
}
