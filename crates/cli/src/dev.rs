//! `plimsoll dev`: a working node on this machine, and the main job shown on a real trace.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use plimsoll_client::wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_client::{Client, CursorQuery, CursorState, PostOptions, Posted};
use plimsoll_node::EngineKind;
use plimsoll_node::config::{Config, LogFormat, Sources};
use plimsoll_node::environment::Environment;
use plimsoll_node::node::{Node, RunningNode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::serve::{Signals, failed, failure, stop};
use crate::telemetry;

/// 848 transitions of a real repository's pull requests, in time order.
const TRACE: &str = include_str!("../data/submitqueue.ndjson");

/// Where a node listens if nobody says otherwise, as `plimsoll serve` does.
const USUAL_ADDRESS: &str = "127.0.0.1:7171";

const TENANT: &str = "dev";
const SECRET: &str = "dev-token";

/// The artifact the show is about.
const ARTIFACT: &str = "spec-login-flow";

/// What `dev` takes.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Keep the data here, and find it again next time. Without it, the data goes when the node stops.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen, on this machine only. Without it, 127.0.0.1:7171, or any free port if that one is taken.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The engine of a new data directory: fjall, redb or sled.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| text.parse::<EngineKind>())]
    engine: Option<EngineKind>,
}

/// Starts the node, shows the main job, and stays up until it is told to stop.
pub(crate) fn dev(arguments: &DevArguments, printer: &mut Printer) -> Result<(), Failure> {
    check_listen(arguments.listen)?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let telemetry = telemetry::begin(EnvFilter::new("warn"), LogFormat::Text, runtime.handle())?;
    let shown = runtime.block_on(async {
        let mut signals = Signals::new().context("cannot take signals")?;
        let (mut node, _temporary) = start(arguments).await?;
        let (url, place) = (format!("http://{}", node.local_addr()), place(arguments));
        // To be told to stop is to have done well, also in the middle of the show.
        let result = tokio::select! {
            biased;
            _ = signals.next() => Ok(()),
            () = node.ended() => Err(failed()),
            failure = show_and_stay(&url, &place, printer) => Err(failure),
        };
        stop(node, &mut signals).await.and(result)
    });
    telemetry.end();
    shown
}

/// The secret is printed in every copy of the program, so nobody else may reach the node.
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

/// Shows the main job; gives back why that failed, or else nothing, ever.
async fn show_and_stay(url: &str, place: &str, printer: &mut Printer) -> Failure {
    match show(url, place, printer).await {
        Ok(()) => std::future::pending().await,
        Err(failure) => failure,
    }
}

async fn show(url: &str, place: &str, printer: &mut Printer) -> Result<(), Failure> {
    let client = Client::builder(url).token(SECRET).build()?;
    let mut stage = Stage { client, printer };
    let serving = json!({"url": url, "token": SECRET, "data": place});
    stage.say(&serving, || format!("A node serves at {url}, with its store in {place}.\n"))?;
    stage.import().await?;
    stage.show().await?;
    stage.leave_open(url)
}

fn place(arguments: &DevArguments) -> String {
    match &arguments.data_dir {
        Some(folder) => folder.display().to_string(),
        None => "a temporary folder".to_owned(),
    }
}

/// A node, and the folder of its data if that is to go with it.
async fn start(arguments: &DevArguments) -> Result<(RunningNode, Option<TempDir>), Failure> {
    let (folder, temporary) = match &arguments.data_dir {
        Some(folder) => (folder.clone(), None),
        None => {
            let temporary = TempDir::with_prefix("plimsoll-dev-").context("cannot make a temporary folder")?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    let listen = match arguments.listen {
        Some(address) => address.to_string(),
        None if std::net::TcpListener::bind(USUAL_ADDRESS).is_ok() => USUAL_ADDRESS.to_owned(),
        None => "127.0.0.1:0".to_owned(),
    };
    let mut flags = vec![
        ("data_dir", folder.display().to_string()),
        ("listen", listen),
        ("tokens", format!("{TENANT}:{SECRET}:read+write+admin")),
    ];
    flags.extend(arguments.engine.map(|engine| ("engine", engine.to_string())));
    let config = Config::load(&Sources { flags, ..Sources::default() })
        .map_err(|error| Failure::Config { detail: error.to_string() })?;
    let started = async { Node::start(config.node_options(), Environment::real(&config).await?).await };
    let node = started.await.map_err(|error| failure(&error))?;
    Ok((node, temporary))
}

/// Shows what a client does and is told, with a real client and a real node.
struct Stage<'a> {
    client: Client,
    printer: &'a mut Printer,
}

impl Stage<'_> {
    fn say(&mut self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.printer.answer(value, text)?;
        self.printer.flush()
    }

    fn tell(&mut self, title: &str, status: u16, body: &Value) -> Result<(), Failure> {
        let pretty = serde_json::to_string_pretty(body).context("an answer cannot be written as JSON")?;
        let value = json!({"shows": title, "status": status, "body": body});
        self.say(&value, || format!("{title}\n  {status}\n  {}\n", pretty.replace('\n', "\n  ")))
    }

    async fn import(&mut self) -> Result<(), Failure> {
        let lines: Vec<Bytes> = TRACE.lines().map(|line| Bytes::from_static(line.as_bytes())).collect();
        let answers = self
            .client
            .post_batch(&lines)
            .await
            .map_err(|failure| Failure::Request { tried: "import the trace".to_owned(), error: failure.error })?;
        let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        let (accepted, repeated) = (with(201), with(200));
        self.say(&json!({"imported": {"accepted": accepted, "repeated": repeated}}), || {
            format!(
                "Imported a real trace, the pull requests of uber/submitqueue: {accepted} transitions accepted, \
                 {repeated} known already.\n"
            )
        })
    }

    async fn show(&mut self) -> Result<(), Failure> {
        let opened = self.opening().await?;
        let title =
            "1. A transition: smugglr says that a spec went into review, and that its pull request is being opened.";
        self.post(title, &opened).await?;
        self.post("2. The same again, as a retry whose first answer was lost: nothing changes.", &opened).await?;
        let unknown = PostTransition {
            transition_id: format!("{}-unknown", opened.transition_id),
            produced_refs: vec![ProducedRef::Resolved {
                target_repo: "acme/web".to_owned(),
                idempotency_key: "nobody-opened-this".to_owned(),
                number: 96,
                url: "https://forge.example/acme/web/pull/96".to_owned(),
                created_at: "2026-04-22T18:04:11Z".to_owned(),
            }],
            ..opened
        };
        self.post("3. A resolved ref under a key that nobody opened: refused.", &unknown).await?;
        if let Some(cursor) = self.cursor(ARTIFACT).await? {
            self.tell("4. The cursor: ctrl asks whether what it shows is stale.", 200, &cursor)?;
        }
        Ok(())
    }

    /// A transition that this store has not seen: a kept data directory has seen those of earlier shows.
    async fn opening(&self) -> Result<PostTransition, Failure> {
        let before = self.cursor(ARTIFACT).await?;
        let after = before.as_ref().and_then(|cursor| cursor["committed_version"].as_str()).map(str::to_owned);
        let show = after.as_deref().map_or("first", |token| &token[..29]);
        Ok(PostTransition {
            artifact_id: ARTIFACT.to_owned(),
            transition_id: format!("show-{show}"),
            status: "in_review".to_owned(),
            produced_refs: vec![ProducedRef::Pending {
                target_repo: "acme/web".to_owned(),
                idempotency_key: format!("open-{show}"),
            }],
            committed_version: after,
        })
    }

    async fn cursor(&self, artifact: &str) -> Result<Option<Value>, Failure> {
        match self.client.cursor(artifact, &CursorQuery::default()).await {
            Ok(CursorState::Current(cursor)) => Ok(Some(json!(cursor))),
            Ok(_) => Ok(None),
            Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => Ok(None),
            Err(error) => Err(Failure::Request { tried: format!("read the cursor of {artifact}"), error }),
        }
    }

    async fn post(&mut self, title: &str, transition: &PostTransition) -> Result<(), Failure> {
        match self.client.post_transition(transition, &PostOptions::default()).await {
            Ok(Posted::Accepted(body)) => self.tell(title, 201, &json!(body)),
            Ok(Posted::Repeated(body)) => self.tell(title, 200, &json!(body)),
            Err(error) => match error.problem() {
                Some(problem) => self.tell(title, problem.status, &json!(problem)),
                None => Err(Failure::Request { tried: "post a transition".to_owned(), error }),
            },
        }
    }

    fn leave_open(&mut self, url: &str) -> Result<(), Failure> {
        let authorization = format!("-H 'Authorization: Bearer {SECRET}'");
        let tries = [
            format!("curl {authorization} {url}/projections/{ARTIFACT}/cursor"),
            format!("curl {authorization} '{url}/projections?status=in_review&limit=3'"),
            format!("curl {authorization} -N {url}/projections/changes"),
        ];
        let value = json!({"url": url, "token": SECRET, "docs": format!("{url}/docs"), "try": tries});
        self.say(&value, || {
            format!(
                "The node stays up until Ctrl-C.\n\n  url    {url}\n  token  {SECRET}\n  docs   {url}/docs\n\nTry:\n\n  {}\n",
                tries.join("\n\n  ")
            )
        })
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
