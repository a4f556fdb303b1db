//! `plimsoll dev`: a cluster on this machine, and the main job shown on a real trace.

mod nodes;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use futures_util::future::{join_all, select_all};
use plimsoll_node::EngineKind;
use plimsoll_node::config::LogFormat;
use plimsoll_node::node::{RunningNode, StopError};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::serve::{Signals, failed, stop};
use crate::telemetry;

use nodes::Site;
use show::Stage;

/// That a node is cut off is part of the show, so what its peers say of it is none of the log.
const LOG: &str = "warn,plimsoll_cluster=error";

/// What `dev` takes.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// How many nodes, each in a region of its own, 1 to 9.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Keep the data here, a folder for each node, and find it again next time; a folder that holds the data of a single
    /// node goes on as the first one's. Without it, the data goes when the nodes stop.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the first node listens, on this machine only; the others on the ports that follow, or any that are free.
    /// Without it, 127.0.0.1:7171, or any free port if that one is taken.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The engine of new data directories: fjall, redb or sled.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| text.parse::<EngineKind>())]
    engine: Option<EngineKind>,
}

/// Starts the nodes, shows the main job, and stays up until it is told to stop.
pub(crate) fn dev(arguments: &DevArguments, printer: &mut Printer) -> Result<(), Failure> {
    check_listen(arguments.listen)?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let telemetry = telemetry::begin(EnvFilter::new(LOG), LogFormat::Text, runtime.handle())?;
    let shown = runtime.block_on(async {
        let mut signals = Signals::new().context("cannot take signals")?;
        let data = Data::of(arguments)?;
        let mut running = Vec::new();
        let result = match nodes::start(arguments, data.folder(), &mut running).await {
            // To be told to stop is to have done well, also in the middle of the show.
            Ok(sites) => tokio::select! {
                biased;
                _ = signals.next() => Ok(()),
                () = ended(&mut running) => Err(failed()),
                failure = show_and_stay(sites, &data, printer) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        stop(stop_all(running), &mut signals).await.and(result)
    });
    telemetry.end();
    shown
}

/// The secret is printed in every copy of the program, so nobody else may reach the nodes.
fn check_listen(listen: Option<SocketAddr>) -> Result<(), Failure> {
    match listen {
        Some(address) if !address.ip().to_canonical().is_loopback() => Err(Failure::Config {
            detail: format!(
                "dev serves this machine only, for everybody knows its token: it does not listen on {address}\n  \
                 For a node that others reach, use plimsoll serve with tokens of your own."
            ),
        }),
        _ => Ok(()),
    }
}

/// Where the nodes keep what they have.
enum Data {
    /// A folder of the user's.
    Kept(PathBuf),
    /// A folder that goes with it.
    Temporary(TempDir),
}

impl Data {
    fn of(arguments: &DevArguments) -> Result<Self, Failure> {
        Ok(match &arguments.data_dir {
            Some(folder) => Self::Kept(folder.clone()),
            None => Self::Temporary(TempDir::with_prefix("plimsoll-dev-").context("cannot make a temporary folder")?),
        })
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// What it is called.
    fn name(&self) -> String {
        match self {
            Self::Kept(folder) => folder.display().to_string(),
            Self::Temporary(_) => "a temporary folder".to_owned(),
        }
    }
}

/// Waits until a node has ended by itself.
async fn ended(running: &mut [RunningNode]) {
    select_all(running.iter_mut().map(|node| Box::pin(node.ended()))).await;
}

async fn stop_all(running: Vec<RunningNode>) -> Result<(), StopError> {
    join_all(running.into_iter().map(RunningNode::stop)).await.into_iter().collect()
}

/// Shows the main job; gives back why that failed, or else nothing, ever.
async fn show_and_stay(sites: Vec<Site>, data: &Data, printer: &mut Printer) -> Failure {
    match Stage::new(sites, printer).play(&data.name()).await {
        Ok(()) => std::future::pending().await,
        Err(failure) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served_with_a_token_that_everybody_knows() {
        for address in ["0.0.0.0:7171", "[::]:0", "192.0.2.7:7171", "[::ffff:192.0.2.7]:1"] {
            let refused = check_listen(Some(address.parse().unwrap())).unwrap_err();
            assert!(matches!(refused, Failure::Config { detail } if detail.contains("plimsoll serve")), "{address}");
        }
        for address in ["127.0.0.1:0", "127.8.9.10:7171", "[::1]:7171", "[::ffff:127.0.0.1]:1"] {
            assert!(check_listen(Some(address.parse().unwrap())).is_ok(), "{address}");
        }
    }
}
