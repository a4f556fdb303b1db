//! The flags of `plimsoll bench`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::schedule::Load;

/// `plimsoll bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// What `plimsoll bench` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Read cursors of random artifacts
    Cursor(LoadArguments),
    /// Post transitions, one a request
    ///
    /// The first on an artifact opens a ref, the second resolves it, and so on.
    Post(LoadArguments),
    /// Read cursors and post transitions
    Mixed(MixedArguments),
    /// Post transitions in batches
    Batch(BatchArguments),
    /// Serve the floors that a node is compared with
    ///
    /// A cursor is a constant. A post is parsed, appended to a file, and answered after an fdatasync that all who wait
    /// share. The routes are a node's, so the other commands load either.
    Floor(FloorArguments),
    /// Measure a node and a floor side by side, and tell which bars the node meets
    ///
    /// Rounds are interleaved, medians are compared, and the table is Markdown. Fails where a bar is missed.
    #[command(after_help = "\
Example:
  $ plimsoll bench floor --data-dir /var/tmp/floor &
  $ plimsoll bench compare --url http://127.0.0.1:7171 --floor http://127.0.0.1:7272")]
    Compare(CompareArguments),
}

/// The flags of one run.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("load").required(true).args(["rate", "max", "prepare_only"])))]
pub(crate) struct LoadArguments {
    /// Open loop: offers so many requests a second, whether or not answers come. Latency counts from the scheduled time.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<NonZeroU64>,
    /// Closed loop: as fast as answers come. Latency is service time.
    #[arg(long)]
    pub(crate) max: bool,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// What the requests are about.
    #[command(flatten)]
    pub(crate) artifacts: ArtifactArguments,
    /// How long to record.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How the generator works.
    #[command(flatten)]
    pub(crate) generator: GeneratorArguments,
    /// Imports the artifacts if they are not there, and ends.
    #[arg(long)]
    pub(crate) prepare_only: bool,
}

/// What the requests are about.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArtifactArguments {
    /// Artifacts to choose from. Before cursors are read, they are imported if they are not there.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) artifacts: u32,
    /// Transitions each imported artifact is given.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) transitions: u32,
    /// Artifacts are named `bench/<NAMESPACE>/<number>`.
    #[arg(long, default_value = "load", value_parser = namespace)]
    pub(crate) namespace: String,
}

/// How the generator works.
#[derive(Debug, Clone, Args)]
pub(crate) struct GeneratorArguments {
    /// How long to load the server before recording.
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds_or_none)]
    pub(crate) warmup: f64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Decides which artifacts are chosen; names of transitions are new in every run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The flags of a mixed run.
#[derive(Debug, Clone, Args)]
pub(crate) struct MixedArguments {
    /// Those of every run.
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    /// The share of reads, from 0 to 1.
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub(crate) reads: f64,
}

/// The flags of a run of batches.
#[derive(Debug, Clone, Args)]
pub(crate) struct BatchArguments {
    /// Those of every run.
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    /// Transitions in a batch.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) lines: u32,
}

/// The flags of a floor.
#[derive(Debug, Clone, Args)]
pub(crate) struct FloorArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7272")]
    pub(crate) listen: SocketAddr,
    /// Where the durable floor keeps its file: best on the disk of the node it is compared with.
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "parse_only")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Answers posts when they are parsed, without a disk.
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) parse_only: bool,
}

/// The flags of a comparison.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArguments {
    /// A durable floor.
    #[arg(long, default_value = "http://127.0.0.1:7272", value_name = "URL")]
    pub(crate) floor: String,
    /// Rounds; each measures everything once on both.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Seconds recorded of each run: ten runs a round.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// What the requests are about.
    #[command(flatten)]
    pub(crate) artifacts: ArtifactArguments,
    /// Transitions in a batch: as many as `plimsoll import` sends in one.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) lines: u32,
    /// Connections that post batches; an import is one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) batch_connections: u32,
    /// How the generator works.
    #[command(flatten)]
    pub(crate) generator: GeneratorArguments,
}

impl LoadArguments {
    /// How requests are offered.
    pub(crate) fn offered(&self) -> Load {
        self.rate.map_or(Load::Closed, Load::Open)
    }
}

impl GeneratorArguments {
    /// The part that is not recorded.
    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.01 to 86400".to_owned()),
    }
}

fn seconds_or_none(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { seconds(text) }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1".to_owned()),
    }
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        Ok(text.to_owned())
    } else {
        Err("1 to 32 letters, digits, - and _".to_owned())
    }
}
