//! A small node in memory, and a printer whose output can be read: for tests of the commands.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plimsoll_client::wire::http::v1::PostTransition;
use plimsoll_client::wire::problem::{Kind, Problem};
use plimsoll_client::{Client, Connecting, Connection, RetryPolicy};
use serde_json::{Value, json};

use crate::arguments::{Arguments, Command};
use crate::commands;
use crate::exit::Exit;
use crate::printer::Printer;

/// Accepts transitions; refuses the status `bad` (422) and the status `taken` (409). With one that names a passing
/// problem (`rate-limited`, `overloaded`, `disk-full`) it ends a batch, as long as it is busy. So long it cannot leave
/// its cluster either.
pub(crate) struct FakeNode {
    node_id: &'static str,
    pub(crate) is_busy: AtomicBool,
    round_trip: Duration,
    /// Nobody listens, and connections that are open break.
    pub(crate) is_down: AtomicBool,
    transitions: Mutex<BTreeMap<String, PostTransition>>,
    /// How many requests are answered before every one is 401.
    pub(crate) requests_left: Mutex<Option<u32>>,
    /// The token is one that may not do what operators do.
    pub(crate) is_forbidden: AtomicBool,
    pub(crate) requests: Mutex<Vec<String>>,
}

/// What a command did.
pub(crate) struct Run {
    pub(crate) exit: Exit,
    pub(crate) answers: String,
    pub(crate) remarks: String,
}

impl FakeNode {
    pub(crate) fn new() -> Arc<Self> {
        Self::named("00c0ffee00c0ffee")
    }

    pub(crate) fn named(node_id: &'static str) -> Arc<Self> {
        Self::at_distance(node_id, 0)
    }

    pub(crate) fn at_distance(node_id: &'static str, milliseconds: u64) -> Arc<Self> {
        Arc::new(Self {
            node_id,
            round_trip: Duration::from_millis(milliseconds),
            is_busy: AtomicBool::new(true),
            is_down: AtomicBool::new(false),
            transitions: Mutex::default(),
            requests_left: Mutex::default(),
            is_forbidden: AtomicBool::new(false),
            requests: Mutex::default(),
        })
    }

    /// How many batches were posted.
    pub(crate) fn batches(&self) -> usize {
        self.requests.lock().unwrap().iter().filter(|path| path.ends_with("/batch")).count()
    }

    pub(crate) fn transitions_held(&self) -> usize {
        self.transitions.lock().unwrap().len()
    }

    /// Runs a command line against this node.
    pub(crate) async fn run(self: &Arc<Self>, line: &[&str]) -> Run {
        Self::run_at(std::slice::from_ref(self), line).await
    }

    /// Runs a command line against several nodes of one store, whose URLs are `http://0`, `http://1` and so on.
    pub(crate) async fn run_at(nodes: &[Arc<Self>], line: &[&str]) -> Run {
        let arguments = Arguments::try_parse_from([&["plimsoll"], line].concat()).unwrap();
        let urls = (0..nodes.len()).map(|number| format!("http://{number}"));
        let nodes = nodes.to_vec();
        let (answers, remarks) = (Buffer::default(), Buffer::default());
        let mut printer = Printer::new(arguments.global.output, answers.clone(), remarks.clone());
        let notices = printer.notices();
        let client = Client::builder_of(urls)
            .retry(RetryPolicy::never())
            .connect(move |host: &str, _: u16| nodes[host.parse::<usize>().unwrap()].accept())
            .on_switch(move |switch| notices.switched(switch))
            .build()
            .unwrap();
        let result = match &arguments.command {
            Command::Data(command) => commands::ask(&client, command, &arguments.global, &mut printer).await,
            _ => commands::run(&arguments, &mut printer),
        };
        let exit = match result {
            Ok(()) => Exit::Done,
            Err(failure) => {
                printer.failure(&failure);
                failure.exit()
            }
        };
        Run { exit, answers: answers.text(), remarks: remarks.text() }
    }

    fn accept(self: &Arc<Self>) -> Connecting {
        if self.is_down.load(SeqCst) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&node).serve(request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(ours), service).await;
        });
        Box::pin(async { Ok(Box::new(theirs) as Box<dyn Connection>) })
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().unwrap().to_string();
        self.requests.lock().unwrap().push(path.clone());
        let body = body.collect().await.unwrap().to_bytes();
        tokio::time::sleep(self.round_trip).await;
        if self.is_down.load(SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if path == "/readyz" {
            return Ok(answer(200, json!({"ready": true, "reason": null}).to_string()));
        }
        if path == "/healthz" {
            return Ok(answer(200, json!({"status": "ok", "version": "0", "node_id": self.node_id}).to_string()));
        }
        if let Some(left) = self.requests_left.lock().unwrap().as_mut() {
            if *left == 0 {
                return Ok(answer(401, json!(Problem::new(Kind::Unauthenticated, "no such token")).to_string()));
            }
            *left -= 1;
        }
        let (status, text) = match (head.method.clone(), path.as_str()) {
            (Method::POST, "/projections/transitions/batch") => {
                let mut answers = String::new();
                for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let (status, body) = self.post(line);
                    answers.push_str(&format!("{}\n", json!({"status": status, "body": body})));
                    if status == 429 || status == 503 || body["type"] == Kind::DiskFull.uri().as_str() {
                        break;
                    }
                }
                (200, answers)
            }
            (Method::POST, "/projections/transitions") => {
                let (status, body) = self.post(&body);
                (status, body.to_string())
            }
            (Method::GET, "/projections/changes") => {
                let event = json!({"artifact_id": "a", "committed_version": "v"});
                let stream = format!("id: {}-1\nevent: change\ndata: {event}\n\n", self.node_id);
                let answer = Response::builder().header("content-type", "text/event-stream");
                return Ok(answer.body(Full::from(stream)).unwrap());
            }
            (Method::DELETE, "/projections/a") => (204, String::new()),
            (_, path) if path.starts_with("/cluster") => self.cluster(&head.method, path),
            (Method::GET, "/projections") => {
                let items = [json!({"artifact_id": "a", "status": "s", "transition_id": "t", "committed_version": "v",
                    "updated_at": "u"})];
                (200, json!({"items": items, "next": "p2"}).to_string())
            }
            (Method::GET, "/projections?page=p2") => (200, json!({"items": [], "next": null}).to_string()),
            _ => (404, json!(Problem::new(Kind::NotProjected, "nothing here\u{1b}[2J")).to_string()),
        };
        Ok(answer(status, text))
    }

    /// It is in a cluster with the member `00000000000000b0`, which is connected, and `00000000000000d0`, which is not.
    fn cluster(&self, method: &Method, path: &str) -> (u16, String) {
        let problem = |kind: Kind| (kind.status(), json!(Problem::new(kind, "refused")).to_string());
        let member = |node_id: &str, state: &str, digest: Option<&str>| {
            json!({"node_id": node_id, "region": "us", "state": state, "http": "b:7171", "peer": "b:7172",
                "version": "0", "connected": state == "alive", "lag_facts": 0, "lag_ms": 5, "clock_offset_ms": 1,
                "last_seen": null, "facts": 7, "digest": digest, "trouble": null})
        };
        let members = [member("00000000000000b0", "alive", Some("d")), member("00000000000000d0", "down", None)];
        match (method, path) {
            _ if self.is_forbidden.load(SeqCst) => {
                let detail = "the token lacks the scope `admin`";
                (403, json!(Problem::new(Kind::Forbidden, detail)).to_string())
            }
            (&Method::GET, "/cluster") => {
                let status = json!({"node_id": self.node_id, "region": "eu", "state": "ready", "facts": 7, "digest": "d",
                    "cluster": "c", "peer": "a:7172", "version": "0", "members": members});
                (200, status.to_string())
            }
            (&Method::POST, "/cluster/leave") if self.is_busy.load(SeqCst) => problem(Kind::UnderReplicated),
            (&Method::POST, "/cluster/leave") | (&Method::DELETE, "/cluster/members/00000000000000d0") => {
                (204, String::new())
            }
            (&Method::DELETE, "/cluster/members/00000000000000b0") => problem(Kind::MemberConnected),
            (&Method::DELETE, _) => problem(Kind::NoSuchMember),
            _ => problem(Kind::NoSuchRoute),
        }
    }

    fn post(&self, line: &[u8]) -> (u16, Value) {
        let problem = |kind: Kind| (kind.status(), json!(Problem::new(kind, "refused")));
        let Ok(transition) = serde_json::from_slice::<PostTransition>(line) else { return problem(Kind::NotJson) };
        match transition.status.as_str() {
            "bad" => return problem(Kind::InvalidField),
            "taken" => return problem(Kind::TransitionConflict),
            "rate-limited" if self.is_busy.load(SeqCst) => return problem(Kind::RateLimited),
            "overloaded" if self.is_busy.load(SeqCst) => return problem(Kind::Overloaded),
            "disk-full" if self.is_busy.load(SeqCst) => return problem(Kind::DiskFull),
            _ => {}
        }
        let id = transition.transition_id.clone();
        let body = json!({"artifact_id": transition.artifact_id, "transition_id": id, "committed_version": "v",
            "updated_at": "u"});
        let before = self.transitions.lock().unwrap().insert(id, transition);
        (if before.is_some() { 200 } else { 201 }, body)
    }
}

fn answer(status: u16, text: String) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from(text)).unwrap()
}

/// What was printed.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Buffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
