//! `plimsoll migrate`: brings a data directory to the format this version writes, while no node uses it.

use std::path::PathBuf;

use clap::Args;
use plimsoll_node::migration::{MigrateError, migrate as migrate_directory};
use plimsoll_node::{EngineKind, Migration, Run};
use serde_json::json;

use crate::failure::Failure;
use crate::printer::Printer;

/// What `migrate` takes.
#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    /// The data directory. Stop the node that uses it first.
    #[arg(long, env = "PLIMSOLL_DATA_DIR", default_value = "plimsoll-data", value_name = "PATH")]
    data_dir: PathBuf,
    /// Only if it is of this engine: fjall, redb or sled.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| text.parse::<EngineKind>())]
    engine: Option<EngineKind>,
    /// Do all but write.
    #[arg(long)]
    dry_run: bool,
}

/// Migrates a data directory.
pub(crate) fn migrate(arguments: &MigrateArguments, printer: &mut Printer) -> Result<(), Failure> {
    let run = if arguments.dry_run { Run::Dry } else { Run::Real };
    let migration = migrate_directory(&arguments.data_dir, arguments.engine, run).map_err(|error| failure(&error))?;
    let Migration { from, to, facts, rows } = migration;
    let answer = json!({"from": from, "to": to, "facts": facts, "rows": rows, "dry_run": arguments.dry_run});
    printer.answer(&answer, || text(&migration, run))
}

fn text(migration: &Migration, run: Run) -> String {
    let Migration { from, to, facts, rows } = migration;
    match run {
        _ if from == to => format!("of format {to} already: nothing to do"),
        Run::Dry => format!("would go from format {from} to {to}: {facts} facts to read, {rows} rows to write"),
        Run::Real => format!("went from format {from} to {to}: {facts} facts read, {rows} rows written"),
    }
}

/// Whatever stands in the way is the operator's to correct: the path, the engine, the version, a node that runs.
fn failure(error: &MigrateError) -> Failure {
    Failure::Config { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_what_was_done() {
        let migration = Migration { from: 1, to: 3, facts: 3, rows: 4 };
        assert_eq!(text(&migration, Run::Dry), "would go from format 1 to 3: 3 facts to read, 4 rows to write");
        assert_eq!(text(&migration, Run::Real), "went from format 1 to 3: 3 facts read, 4 rows written");
        let current = Migration { from: 3, to: 3, facts: 0, rows: 0 };
        assert_eq!(text(&current, Run::Real), "of format 3 already: nothing to do");
    }
}
