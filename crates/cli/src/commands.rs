//! The commands.

mod cluster;
mod explain;
mod post;
mod read;
#[cfg(test)]
mod tests;
mod watch;

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use plimsoll_client::{Client, RetryPolicy};
use serde_json::json;

use crate::arguments::{Arguments, Command, DataCommand, Global};
use crate::bench;
use crate::dev;
use crate::failure::Failure;
use crate::import;
use crate::printer::Printer;
use crate::{migrate, serve, tls};

/// Somebody waits for the prompt, or a script that reads exit code 3: a node that is not there is given a few seconds,
/// one that says when to come back a minute.
const PATIENCE: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(10),
    budget: Duration::from_mins(1),
    attempts_max: const { NonZeroU32::new(7).expect("seven is not zero") },
};

/// Runs a command.
pub(crate) fn run(arguments: &Arguments, printer: &mut Printer) -> Result<(), Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Completions { shell } => completions(*shell, printer),
        Command::Serve(arguments) => serve::serve(arguments, printer),
        Command::Dev(arguments) => dev::dev(arguments, printer),
        Command::Migrate(arguments) => migrate::migrate(arguments, printer),
        Command::Tls(command) => tls::tls(command, printer),
        Command::Bench(bench) => bench::run(bench, global, printer),
        Command::Data(command) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("cannot start the runtime")?.block_on(async {
                let client = global.client(patience(command), printer.notices())?;
                ask(&client, command, global, printer).await
            })
        }
    }
}

const fn patience(command: &DataCommand) -> RetryPolicy {
    match command {
        DataCommand::Import(_) => import::RETRY,
        _ => PATIENCE,
    }
}

/// Runs a command that asks a node.
pub(crate) async fn ask(
    client: &Client,
    command: &DataCommand,
    global: &Global,
    printer: &mut Printer,
) -> Result<(), Failure> {
    match command {
        DataCommand::Post(post) => post::post(client, post, printer).await,
        DataCommand::Import(import) => import::import(client, import, global.token(), printer).await,
        DataCommand::Get { artifact_id } => read::get(client, artifact_id, printer).await,
        DataCommand::Cursor(cursor) => read::cursor(client, cursor, printer).await,
        DataCommand::History { artifact_id, pages } => read::history(client, artifact_id, pages, printer).await,
        DataCommand::Explain { artifact_id } => explain::explain(client, artifact_id, printer).await,
        DataCommand::List { status, pages } => read::list(client, status.as_deref(), pages, printer).await,
        DataCommand::Watch { from } => watch::watch(client, from.clone(), printer).await,
        DataCommand::Delete { artifact_id, if_match } => {
            delete(client, artifact_id, if_match.as_deref(), printer).await
        }
        DataCommand::Status { watch } => cluster::status(client, *watch, printer).await,
        DataCommand::Members => cluster::members(client, printer).await,
        DataCommand::Leave => cluster::leave(client, printer).await,
        DataCommand::Forget { node_id } => cluster::forget(client, node_id, printer).await,
    }
}

async fn delete(
    client: &Client,
    artifact_id: &str,
    if_match: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    client.delete(artifact_id, if_match).await.map_err(Failure::request(format!("retire {artifact_id:?}")))?;
    printer.answer(&json!({"artifact_id": artifact_id, "retired": true}), || format!("retired {artifact_id}"))
}

fn completions(shell: Shell, printer: &mut Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "plimsoll", &mut script);
    printer.raw(&script)
}

/// Whether a file's name stands for standard input.
pub(crate) fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Opens a file, or standard input.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read>, Failure> {
    if is_standard_input(file) {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(file) {
        Ok(opened) => Ok(Box::new(opened)),
        Err(error) => Err(Failure::Config { detail: format!("cannot open {}: {error}", file.display()) }),
    }
}
