//! A node as a process, and requests to it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Request, Response};
use ureq::{Agent, Body};

use crate::root;

/// A token with every scope, of the tenant `acme`.
pub const TOKEN: &str = "acme-everything";

/// A token of another tenant.
pub const OTHER_TOKEN: &str = "other-everything";

/// A token of `acme` that may only read.
pub const READ_TOKEN: &str = "acme-read";

/// How long an answer may take, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test, built by this process once.
///
/// # Panics
/// Where it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("plimsoll-cli").join("plimsoll"))
}

/// Builds a package in the profile of this process. Returns where it lies.
pub(crate) fn build(package: &str) -> PathBuf {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(root()).args(["build", "--quiet", "--locked", "--package", package]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    // Scripts that look at what cargo says of this package would run again, now and whenever it is not said.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(name);
        }
    }
    assert!(build.status().is_ok_and(|status| status.success()), "{package} builds");
    // Tests lie in target/<profile>/deps, programs beside what they run.
    let this = std::env::current_exe().expect("a process has a path");
    let folder = this.parent().expect("it is a file in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.expect("tests lie in a folder of the profile's").to_owned()
}

/// A running node. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    process: Child,
    /// Where it listens: `http://…`.
    pub url: String,
    client: Client,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub text: String,
}

impl Answer {
    /// The body, as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header's text; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The name of the problem.
    ///
    /// # Panics
    /// If the answer is no problem document.
    #[must_use]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.strip_prefix("urn:plimsoll:problem:").unwrap_or(&kind).to_owned()
    }
}

/// How a node is started.
#[derive(Debug)]
pub struct Start {
    command: Command,
    listen: String,
    log: Option<PathBuf>,
}

impl Start {
    /// A node on a data directory, on any free port.
    #[must_use]
    pub fn on(data: &Path) -> Self {
        let mut command = Command::new(binary());
        command.args(["serve", "--data-dir"]).arg(data);
        let tokens = format!("acme:{TOKEN}:read+write+admin,acme:{READ_TOKEN}:read,other:{OTHER_TOKEN}");
        command.env("PLIMSOLL_TOKENS", tokens);
        Self { command, listen: "127.0.0.1:0".to_owned(), log: None }
    }

    /// At an address that is known before.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With its log at the end of a file, and not thrown away.
    #[must_use]
    pub fn log_to(mut self, file: &Path) -> Self {
        self.log = Some(file.to_owned());
        self
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// What it printed, if it ended instead.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self) -> Result<Node, String> {
        self.command.args(["--listen", &self.listen]);
        let mut process =
            self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary can be started");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let errors = process.stderr.take().expect("piped");
        let lines = output.lines().map_while(Result::ok);
        let mut words = lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let Some(url) = words.find(|word| word.starts_with("http://")) else {
            let mut said = String::new();
            BufReader::new(errors).read_to_string(&mut said).expect("it printed text");
            let status = process.wait().expect("it ended");
            return Err(format!("{status}\n{said}"));
        };
        match self.log {
            None => keep(errors, std::io::sink()),
            Some(log) => keep(errors, File::options().create(true).append(true).open(log).expect("it can be made")),
        }
        Ok(Node { process, client: Client::new(&url, PATIENCE), url })
    }
}

fn agent(patience: Duration) -> Agent {
    let configuration =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience)).max_redirects(0).build();
    Agent::new_with_config(configuration)
}

fn read(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
    Ok(Answer { status, headers, text })
}

/// A node must not wait for somebody to read its log.
fn keep(mut errors: impl Read + Send + 'static, mut log: impl Write + Send + 'static) {
    std::thread::spawn(move || std::io::copy(&mut errors, &mut log));
}

/// Sends requests to a node as `acme`, wherever it is, and keeps its connections.
#[derive(Debug)]
pub struct Client {
    url: String,
    agent: Agent,
}

impl Client {
    /// A client of the node at a URL that waits so long for an answer.
    #[must_use]
    pub fn new(url: &str, patience: Duration) -> Self {
        Self { url: url.to_owned(), agent: agent(patience) }
    }

    /// Sends a request, as [`Node::send`] does.
    ///
    /// # Errors
    /// What kept the answer from coming.
    ///
    /// # Panics
    /// If the request is malformed.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.header("authorization", format!("Bearer {TOKEN}"));
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        read(match body {
            [] => self.agent.run(request.body(()).expect("well-formed"))?,
            body => self.agent.run(request.body(body).expect("well-formed"))?,
        })
    }

    /// A GET.
    ///
    /// # Errors
    /// What kept the answer from coming.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.send("GET", path, &[], &[])
    }

    /// Posts a transition.
    ///
    /// # Errors
    /// What kept the answer from coming.
    pub fn post(&self, transition: &Value) -> Result<Answer, ureq::Error> {
        let headers = [("content-type", "application/json")];
        self.send("POST", "/projections/transitions", &headers, transition.to_string().as_bytes())
    }
}

impl Node {
    /// Sends a request as `acme`, with headers and a body; without a token where `authorization` is given as empty.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).expect("the node answers")
    }

    /// As [`Node::send`].
    ///
    /// # Errors
    /// What kept the answer from coming.
    ///
    /// # Panics
    /// If the request is malformed.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        self.client.send(method, path, headers, body)
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    /// Posts a transition.
    pub fn post(&self, transition: &Value) -> Answer {
        self.post_with(transition, &[])
    }

    /// Posts a transition, with more headers.
    pub fn post_with(&self, transition: &Value, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
        self.send("POST", "/projections/transitions", &headers, transition.to_string().as_bytes())
    }

    /// Posts a transition to a node by its URL, over a connection of its own.
    ///
    /// # Errors
    /// What kept the answer from coming.
    ///
    /// # Panics
    /// If the answer is not text.
    pub fn post_to(url: &str, transition: &Value) -> Result<Answer, ureq::Error> {
        Client::new(url, PATIENCE).post(transition)
    }

    /// Posts many transitions at once.
    pub fn post_batch(&self, lines: &str) -> Answer {
        let headers = [("content-type", "application/x-ndjson")];
        self.send("POST", "/projections/transitions/batch", &headers, lines.as_bytes())
    }

    /// The process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as `kill -9` does.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub fn stop(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        crate::machine::command("kill", &["-TERM", &id]).expect("it can be asked");
        self.process.wait().expect("it ends")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
