//! The commands.

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

use crate::arguments::{Arguments, Command, Global};
use crate::bench;
use crate::dev;
use crate::failure::Failure;
use crate::import;
use crate::printer::Printer;
use crate::{migrate, serve};

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
    match &arguments.command {
        Command::Completions { shell } => return completions(*shell, printer),
        Command::Serve(arguments) => return serve::serve(arguments, printer),
        Command::Dev(arguments) => return dev::dev(arguments, printer),
        Command::Migrate(arguments) => return migrate::migrate(arguments, printer),
        Command::Bench(bench) => return bench::run(bench, &arguments.global, printer),
        _ => {}
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let client = client(&arguments.command, &arguments.global)?;
        run_with(&client, arguments, printer).await
    })
}

fn client(command: &Command, global: &Global) -> Result<Client, Failure> {
    let retry = match command {
        Command::Import(_) => import::RETRY,
        _ => PATIENCE,
    };
    Ok(global.client(retry)?)
}

pub(crate) async fn run_with(client: &Client, arguments: &Arguments, printer: &mut Printer) -> Result<(), Failure> {
    match &arguments.command {
        Command::Post(post) => post::post(client, post, printer).await,
        Command::Import(import) => import::import(client, import, &arguments.global.url, printer).await,
        Command::Get { artifact_id } => read::get(client, artifact_id, printer).await,
        Command::Cursor(cursor) => read::cursor(client, cursor, printer).await,
        Command::History { artifact_id, pages } => read::history(client, artifact_id, pages, printer).await,
        Command::List { status, pages } => read::list(client, status.as_deref(), pages, printer).await,
        Command::Watch { from } => watch::watch(client, from.clone(), printer).await,
        Command::Delete { artifact_id, if_match } => delete(client, artifact_id, if_match.as_deref(), printer).await,
        Command::Completions { shell } => completions(*shell, printer),
        Command::Serve(_) | Command::Dev(_) | Command::Migrate(_) | Command::Bench(_) => {
            unreachable!("what needs no client is run without one")
        }
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
