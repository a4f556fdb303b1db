//! `plimsoll serve`: one node, until it is told to stop.
//!
//! What is of the process and not of the node is here: reading the environment and the file of settings, the log, the
//! runtime, signals. The flags are made from the table of settings, so that each setting has its flag.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use plimsoll_node::afresh::{self, Parked};
use plimsoll_node::config::{self, Config, SETTINGS, Setting, Sources};
use plimsoll_node::environment::{Environment, system_time};
use plimsoll_node::node::{Node, NodeOptions, RunningNode, StartError, StopError};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::telemetry;

/// The flag that names the file of settings, and the variable that does.
const FILE: &str = "config";
const FILE_VARIABLE: &str = "PLIMSOLL_CONFIG";

/// What `serve` takes.
#[derive(Debug, Clone)]
pub(crate) struct ServeArguments {
    file: Option<PathBuf>,
    flags: Vec<(&'static str, String)>,
}

impl Args for ServeArguments {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .env(FILE_VARIABLE)
            .help("A file of settings, as TOML: each flag below is a key of it, with _ for -, and so is [[tokens]].");
        SETTINGS
            .iter()
            .filter(|setting| setting.has_flag)
            .fold(command.arg(file), |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(setting: &Setting) -> Arg {
    let mut help = format!("{} [env: {}]", setting.meaning, setting.variable());
    if !setting.default.is_empty() {
        help.push_str(&format!(" [default: {}]", setting.default));
    }
    let action = if setting.is_list() { ArgAction::Append } else { ArgAction::Set };
    Arg::new(setting.key).long(setting.flag()).value_name(setting.value).help(help).action(action)
}

impl FromArgMatches for ServeArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = SETTINGS.iter().filter(|setting| setting.has_flag);
        let given = |setting: &Setting| {
            let values: Vec<&str> = matches.get_many::<String>(setting.key)?.map(String::as_str).collect();
            Some(values.join(","))
        };
        let flags = flags.filter_map(|setting| Some((setting.key, given(setting)?)));
        Ok(Self { file: matches.get_one(FILE).cloned(), flags: flags.collect() })
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Err(clap::Error::new(ErrorKind::InvalidSubcommand))
    }
}

/// Serves until SIGTERM or SIGINT. The process has no other use meanwhile.
pub(crate) fn serve(arguments: &ServeArguments, printer: &mut Printer) -> Result<(), Failure> {
    let variables = variables(std::env::vars_os())?;
    let config = load(arguments, &variables)?;
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| Failure::Config { detail: format!("log: {:?} is no filter: {error}", config.log) })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let telemetry = telemetry::begin(filter, config.log_format, runtime.handle())?;
    for name in config::unknown_variables(variables.iter().map(|(name, _)| name.as_str())) {
        tracing::warn!(name, "the variable is no setting, and is passed over");
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    let served = runtime.block_on(run(&config, printer));
    telemetry.end();
    served
}

fn load(arguments: &ServeArguments, variables: &[(String, String)]) -> Result<Config, Failure> {
    let file = match &arguments.file {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::Config { detail: format!("cannot read {}: {error}", path.display()) })?;
            Some((path.clone(), text))
        }
    };
    let sources = Sources { file, variables: variables.to_vec(), flags: arguments.flags.clone() };
    Config::load(&sources).map_err(|error| Failure::Config { detail: error.to_string() })
}

/// The variables of the process. One of ours that is not Unicode is refused: it was meant to say something.
fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in all {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with("PLIMSOLL_") => {
                return Err(Failure::Config { detail: format!("the value of {name} is not Unicode") });
            }
            (Err(name), _) if name.as_encoded_bytes().starts_with(b"PLIMSOLL_") => {
                return Err(Failure::Config { detail: format!("the name of the variable {name:?} is not Unicode") });
            }
            _ => {}
        }
    }
    Ok(variables)
}

/// Each connection takes a descriptor, and the usual limit of 1024 is a fourth of what a node may serve.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
}

async fn run(config: &Config, printer: &mut Printer) -> Result<(), Failure> {
    let mut signals = Signals::new().context("cannot take signals")?;
    let mut node = start(config).await.map_err(|error| failure(&error))?;
    // For whoever started it on any free port: the log is for the operator.
    let url = format!("http://{}", node.local_addr());
    printer.answer(&json!({"url": url}), || format!("serving at {url}"))?;
    printer.flush()?;
    // What has ended by itself is stopped too, for the rest of it.
    let told = loop {
        tokio::select! {
            biased;
            name = signals.next() => break Some(name),
            () = node.ended() => {}
        }
        if !node.is_behind() {
            break None;
        }
        node = tokio::select! {
            biased;
            signal = signals.next() => {
                tracing::info!(signal, "stopping while the node starts afresh: the next start goes on with it");
                return Ok(());
            }
            started = start_afresh(node, config) => started?,
        };
    };
    match told {
        Some(signal) => tracing::info!(signal, "stopping"),
        None => tracing::error!("the node has failed; stopping"),
    }
    stop(node.stop(), &mut signals).await?;
    match told {
        Some(_) => {
            tracing::info!("stopped");
            Ok(())
        }
        None => Err(failed()),
    }
}

/// Waits for a node, or several, to stop; a signal meanwhile ends the waiting.
pub(crate) async fn stop(
    stopping: impl Future<Output = Result<(), StopError>>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        stopped = stopping => stopped.map_err(|error| Failure::Other(error.into())),
        signal = signals.next() => Err(Failure::Other(anyhow!("{signal} came again: stopped without waiting"))),
    }
}

/// A node that ended without being told to.
pub(crate) fn failed() -> Failure {
    Failure::Other(anyhow!("the node has failed; see its log"))
}

/// Sets the data of a node aside that was away for too long, and starts a new one in its place.
async fn start_afresh(node: RunningNode, config: &Config) -> Result<RunningNode, Failure> {
    let parked = afresh::park(node, &config.data_dir, system_time()).await;
    let Parked { folder, exported } = parked.map_err(|error| Failure::Other(error.into()))?;
    let (folder, unreplicated) = (folder.display(), folder.join("unreplicated"));
    if exported == 0 {
        tracing::warn!(%folder, "starting afresh: the old data was set aside; the other members have all of it that is to stay");
    } else {
        tracing::error!(
            %folder,
            exported,
            unreplicated = %unreplicated.display(),
            "starting afresh: the old data was set aside; what may be nowhere else was exported, and is in no store: look at it, \
             and import what is to be kept"
        );
    }
    start(config).await.map_err(|error| failure(&error))
}

async fn start(config: &Config) -> Result<RunningNode, StartError> {
    let environment = Environment::real(config).await?;
    let legacy = afresh::members_left(&config.data_dir)?;
    let engine = environment.directory.as_ref().map_or("none", |directory| directory.kind().name());
    let node = Node::start(NodeOptions { legacy, ..config.node_options() }, environment).await?;
    if node.peer_address().is_some() {
        afresh::take_members(&config.data_dir);
    }
    tracing::info!(
        url = %format_args!("http://{}", node.local_addr()),
        node = %node.node_id(),
        engine,
        format = node.format().number(),
        data_dir = %config.data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if node.format().is_old() {
        tracing::warn!("the data directory is of an older format: it is read only until `plimsoll migrate` has run");
    }
    Ok(node)
}

/// What the operator has to correct is a matter of configuration.
pub(crate) fn failure(error: &StartError) -> Failure {
    match error {
        StartError::Directory(_)
        | StartError::Format(_)
        | StartError::Listen { .. }
        | StartError::Cluster(_)
        | StartError::Members(_)
        | StartError::Tls(_) => Failure::Config { detail: error.to_string() },
        StartError::Address(_) | StartError::Thread(_) | StartError::Entropy => Failure::Other(anyhow!("{error}")),
    }
}

/// The signals that stop a node.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    #[test]
    fn every_setting_but_secrets_has_its_flag() {
        for setting in SETTINGS {
            let flag = format!("--{}", setting.flag());
            let parsed = Line::try_parse_from(["serve", &flag, "x"]);
            assert_eq!(parsed.is_ok(), setting.has_flag, "{flag}");
            if let Ok(line) = parsed {
                assert_eq!(line.serve.flags, [(setting.key, "x".to_owned())]);
            }
        }
    }

    #[test]
    fn the_help_names_each_variable_and_default() {
        // However wide the terminal is, lines break between words.
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in ["--data-dir <PATH>", "PLIMSOLL_MAX_DRIFT_MS", "[default: 127.0.0.1:7171]", "PLIMSOLL_CONFIG"] {
            assert!(help.contains(part), "{part} is not in {help}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_matter_of_configuration() {
        let parent = tempfile::tempdir().unwrap();
        let arguments = ServeArguments { file: Some(parent.path().join("none.toml")), flags: Vec::new() };
        let failure = load(&arguments, &[]).unwrap_err();
        assert!(matches!(&failure, Failure::Config { detail } if detail.contains("none.toml")), "{failure:?}");
    }

    #[test]
    fn a_variable_of_ours_that_is_not_unicode_is_refused_and_one_of_others_passed_over() {
        let not_unicode = || OsString::from_vec(vec![0xff]);
        let others =
            [("LANG".into(), not_unicode()), (not_unicode(), "x".into()), ("PLIMSOLL_LISTEN".into(), "x".into())];
        let expected = vec![("PLIMSOLL_LISTEN".to_owned(), "x".to_owned())];
        assert_eq!(variables(others.into_iter()).unwrap(), expected);
        let value = variables([("PLIMSOLL_TOKENS".into(), not_unicode())].into_iter()).unwrap_err();
        assert!(matches!(value, Failure::Config { detail } if detail.contains("PLIMSOLL_TOKENS")));
        let name = OsString::from_vec(b"PLIMSOLL_\xff".to_vec());
        assert!(matches!(variables([(name, "x".into())].into_iter()), Err(Failure::Config { .. })));
    }
}
