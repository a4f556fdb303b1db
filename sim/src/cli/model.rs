//! `plimsoll-sim model`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use plimsoll_sim::scenario::model::{self, NodeFile};

/// See the module.
#[derive(Args)]
pub(crate) struct Model {
    /// The configuration file of a node, as `plimsoll serve --config` takes it; one for each node.
    #[arg(long = "node", value_name = "FILE", required = true)]
    nodes: Vec<PathBuf>,
}

/// Prints the scenario; what is odd goes to standard error, too.
pub(crate) fn model(arguments: &Model) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(NodeFile { path: path.clone(), text })
    };
    let files: Vec<NodeFile> = arguments.nodes.iter().map(read).collect::<Result<_, _>>()?;
    let model = model::model(&files)?;
    for warning in &model.warnings {
        writeln!(io::stderr(), "plimsoll-sim: mind: {warning}")?;
    }
    io::stdout().write_all(model.text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
