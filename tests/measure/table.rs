//! The rows of what was found.

use std::fmt::Display;

/// A Markdown table, printed row by row.
pub(crate) struct Table {
    missed: u32,
}

impl Table {
    pub(crate) fn begin() -> Self {
        println!("| | bar | found | |\n|---|---|---|---|");
        Self { missed: 0 }
    }

    /// What has no bar.
    #[expect(clippy::unused_self, reason = "a row belongs to the table that was begun")]
    pub(crate) fn row(&mut self, what: &str, found: impl Display) {
        println!("| {what} | | {found} | |");
    }

    /// What must be at most its bar.
    pub(crate) fn at_most(&mut self, what: &str, bar: f64, found: f64, unit: &str) {
        self.judge(what, ("≤", bar), found, found <= bar, unit);
    }

    /// What must be at least its bar.
    pub(crate) fn at_least(&mut self, what: &str, bar: f64, found: f64, unit: &str) {
        self.judge(what, ("≥", bar), found, found >= bar, unit);
    }

    fn judge(&mut self, what: &str, (sign, bar): (&str, f64), found: f64, is_met: bool, unit: &str) {
        let verdict = if is_met { "met" } else { "**missed**" };
        let space = if unit.is_empty() { "" } else { " " };
        println!("| {what} | {sign} {bar}{space}{unit} | {}{space}{unit} | {verdict} |", digits(found));
        self.missed += u32::from(!is_met);
    }

    /// Whether no bar was missed.
    pub(crate) const fn is_met(&self) -> bool {
        self.missed == 0
    }
}

/// A number with three digits that say something.
pub(crate) fn digits(number: f64) -> String {
    match number.abs() {
        10_000.0.. => format!("{:.0}", (number / 100.0).round() * 100.0),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
