//! Sizes as tables, in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use super::Row;

/// All rows, as two tables: how soon facts are everywhere and what that takes, and what passes between nodes.
#[must_use]
pub fn tables(rows: &[Row]) -> String {
    let mut text = String::from(
        "| nodes | regions | facts | elsewhere after, p50 | p99 | equal after | MiB a node | simulated s a s of processor | a s by the wall |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    // Writing to a text does not fail.
    for row in rows {
        let _ = push_times(&mut text, row);
    }
    text.push_str(
        "\n| nodes | regions | bytes a fact to each other region | messages | over one boundary, min | median | max | over all boundaries | within regions | idle: B/s over all boundaries | idle: B/s within regions |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let _ = push_traffic(&mut text, row);
    }
    text
}

fn push_times(text: &mut String, row: &Row) -> std::fmt::Result {
    let of = |took: Option<Duration>| took.map_or("–".to_owned(), |took| format!("{} ms", took.as_millis()));
    let lag = row.outcome.measured.lag;
    let (wall, processor) = row.speed();
    let memory = row.node_mib().map_or("–".to_owned(), |mib| format!("{mib:.1}"));
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {memory} | {processor:.2} | {wall:.2} |",
        row.size.nodes,
        row.size.regions,
        row.facts(),
        of(lag.map(|(half, _)| half)),
        of(lag.map(|(_, most)| most)),
        of(row.outcome.converged),
    )
}

fn push_traffic(text: &mut String, row: &Row) -> std::fmt::Result {
    let (between, within, boundaries) = (row.between(), row.within(), row.boundaries());
    let at = |place: usize| boundaries.get(place).copied().unwrap_or_default();
    let others = f64::from(row.size.regions.saturating_sub(1).max(1));
    writeln!(
        text,
        "| {} | {} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
        row.size.nodes,
        row.size.regions,
        row.to_each_other_region(),
        between.segments / others,
        at(0),
        at(boundaries.len() / 2),
        at(boundaries.len().saturating_sub(1)),
        between.bytes,
        within.bytes,
        between.idle_bytes,
        within.idle_bytes,
    )
}
