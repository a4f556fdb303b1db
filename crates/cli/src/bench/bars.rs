//! The bars a node is held to.
//!
//! They are stated as ratios to what any server on the same stack must spend, so that they mean the same on every
//! machine; the machine they were set for has two cores, which the load generator shares.

use std::fmt;

use serde::Serialize;

use super::compare::{Case, Metric};

/// What a number must come to, in relation to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bar {
    /// The case it is about.
    pub(crate) case: Case,
    /// The number it is about.
    pub(crate) metric: Metric,
    /// What the number is held against.
    #[serde(rename = "against")]
    pub(crate) reference: Reference,
    /// The bound of the ratio; `None` for a row that only informs.
    pub(crate) bound: Option<Bound>,
}

/// What a number is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reference {
    /// The same number of the floor.
    Floor,
    /// The node's own number for posts on 64 connections.
    NodePost,
}

/// The bound of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

/// All bars, and the numbers beside them that help to read them.
pub(crate) const BARS: &[Bar] = &[
    bar(Case::Cursor, Metric::ItemsPerSecond, Reference::Floor, Some(Bound::AtLeast(0.85))),
    bar(Case::Cursor, Metric::P50, Reference::Floor, None),
    bar(Case::Cursor, Metric::P99, Reference::Floor, Some(Bound::AtMost(1.5))),
    bar(Case::Post, Metric::ItemsPerSecond, Reference::Floor, Some(Bound::AtLeast(0.65))),
    bar(Case::Post, Metric::P50, Reference::Floor, None),
    bar(Case::Post, Metric::P99, Reference::Floor, Some(Bound::AtMost(2.0))),
    bar(Case::PostPaced, Metric::P50, Reference::Floor, None),
    bar(Case::PostPaced, Metric::P99, Reference::Floor, Some(Bound::AtMost(2.0))),
    bar(Case::PostAlone, Metric::P50, Reference::Floor, Some(Bound::AtMost(1.5))),
    bar(Case::PostAlone, Metric::P99, Reference::Floor, None),
    bar(Case::Batch, Metric::ItemsPerSecond, Reference::NodePost, Some(Bound::AtLeast(3.0))),
    bar(Case::Batch, Metric::ItemsPerSecond, Reference::Floor, None),
];

const fn bar(case: Case, metric: Metric, reference: Reference, bound: Option<Bound>) -> Bar {
    Bar { case, metric, reference, bound }
}

impl Reference {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::NodePost => "node, post, 64",
        }
    }
}

impl Bound {
    /// Whether a ratio keeps it.
    pub(crate) fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}
