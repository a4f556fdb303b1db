//! A cluster of nodes, each on a host of its own, over mutual TLS.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::history::{Artifact, Copy};
use crate::hosts::{Authority, Network};
use crate::machine::command;
use crate::node::{Answer, Client, Node, Start};

/// The most time for anything that is waited for: far beyond what a busy machine needs.
pub const BOUND: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Where a node has its data, its certificate and its log, and what of it is running.
#[derive(Debug)]
struct Site {
    region: &'static str,
    folder: PathBuf,
    tls: PathBuf,
    clock: OnceLock<Clock>,
    node: Mutex<Option<Node>>,
    /// After the node, which has it in use: they are dropped in this order.
    disk: OnceLock<Disk>,
}

/// See the module. Nodes are numbered from 1, as their hosts are. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    sites: Vec<Site>,
    arguments: Vec<&'static str>,
    folder: tempfile::TempDir,
    /// Whom the nodes believe: kept for its files.
    _authority: Authority,
    /// What is between them.
    pub network: Network,
}

impl Cluster {
    /// Hosts with certificates for nodes in these regions, on which nothing runs yet. Each node gets more arguments.
    ///
    /// # Errors
    /// Why this machine cannot have them.
    ///
    /// # Panics
    /// If they could be had, and something fails.
    pub fn new(regions: &[&'static str], arguments: &[&'static str]) -> Result<Self, String> {
        let network = Network::new(u8::try_from(regions.len()).expect("a few"))?;
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sites = regions.iter().zip(network.hosts()).map(|(region, host)| {
            let folder = folder.path().join(host.address());
            fs::create_dir(&folder).expect("the folder of a site");
            let tls = authority.certify(host);
            Site { region, folder, tls, clock: OnceLock::new(), node: Mutex::new(None), disk: OnceLock::new() }
        });
        let sites = sites.collect();
        Ok(Self { sites, arguments: arguments.to_vec(), folder, _authority: authority, network })
    }

    fn site(&self, number: u8) -> &Site {
        &self.sites[usize::from(number) - 1]
    }

    /// The numbers of its nodes.
    pub fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..=u8::try_from(self.sites.len()).expect("a few")
    }

    /// The numbers of those that were started, and not stopped or killed since.
    ///
    /// # Panics
    /// After another thread's panic.
    pub fn running(&self) -> impl Iterator<Item = u8> + '_ {
        self.numbers().filter(|number| self.site(*number).node.lock().expect("nobody panicked").is_some())
    }

    /// The data directory of a node.
    #[must_use]
    pub fn data(&self, number: u8) -> PathBuf {
        self.site(number).folder.join("data")
    }

    /// Puts the data directory of a node that was never started on a disk of its own.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn put_on(&self, number: u8, disk: Disk) -> &Disk {
        let folder = disk.mount_point().join("data");
        fs::create_dir(&folder).expect("the disk is empty");
        symlink(&folder, self.data(number)).expect("the node was never started");
        self.site(number).disk.get_or_init(|| disk)
    }

    /// The clock of a node, which has one of its own if this was asked for before it was started.
    pub fn clock(&self, number: u8) -> &Clock {
        let site = self.site(number);
        site.clock.get_or_init(|| Clock::new(&site.folder.join("clock")))
    }

    /// The TLS directory of a node.
    #[must_use]
    pub fn certificates(&self, number: u8) -> &Path {
        &self.site(number).tls
    }

    /// A folder for what a test keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a node has logged so far.
    #[must_use]
    pub fn log(&self, number: u8) -> String {
        fs::read_to_string(self.site(number).folder.join("log")).unwrap_or_default()
    }

    /// The URL of a node.
    #[must_use]
    pub fn url(&self, number: u8) -> String {
        format!("http://{}:7171", self.network.host(number).address())
    }

    /// The address of a node's peer port.
    #[must_use]
    pub fn peer_address(&self, number: u8) -> String {
        format!("{}:7172", self.network.host(number).address())
    }

    /// Starts a node.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&self, number: u8) {
        self.start_with(number, self.certificates(number));
    }

    /// Starts a node with a certificate that is not its own.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with(&self, number: u8, tls: &Path) {
        let site = self.site(number);
        let peer = self.peer_address(number);
        let seeds: Vec<String> = self.numbers().map(|number| self.peer_address(number)).collect();
        let tls = tls.to_str().expect("temporary paths are Unicode");
        let start = Start::on(&self.data(number))
            .at(&format!("{}:7171", self.network.host(number).address()))
            .log_to(&site.folder.join("log"))
            .arguments(&["--peer-listen", &peer, "--advertise", &peer, "--seed", &seeds.join(",")])
            .arguments(&["--region", site.region, "--tls", tls])
            .arguments(&self.arguments);
        let start = match site.clock.get() {
            Some(clock) => clock.given_to(start),
            None => start,
        };
        let node = self.network.host(number).inside(|| start.start()).expect("the node comes up");
        *site.node.lock().expect("nobody panicked") = Some(node);
    }

    /// Starts all of them, and waits until they are connected.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn start_all(&self) {
        self.numbers().for_each(|number| self.start(number));
        self.met();
    }

    /// Waits until every node that runs is connected to every other.
    ///
    /// # Panics
    /// If that does not come about.
    #[track_caller]
    pub fn met(&self) {
        let pairs = || self.running().flat_map(|one| self.running().map(move |other| (one, other)));
        until("all are connected", || pairs().all(|(one, other)| one == other || self.sees(one, other)));
    }

    /// Waits until every node that runs is ready. Nodes that have just met compare what they have first.
    ///
    /// # Panics
    /// If that does not come about.
    #[track_caller]
    pub fn ready(&self) {
        until("all are ready", || self.running().all(|number| self.state(number) == "ready"));
    }

    fn take(&self, number: u8) -> Node {
        let node = self.site(number).node.lock().expect("nobody panicked").take();
        node.expect("the node runs")
    }

    /// Kills a node, as `kill -9` does.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self, number: u8) {
        self.take(number).kill();
    }

    /// The process of a node.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn process_id(&self, number: u8) -> u32 {
        self.site(number).node.lock().expect("nobody panicked").as_ref().expect("the node runs").process_id()
    }

    /// Stops a node as an operator does.
    ///
    /// # Panics
    /// If it does not run, or does not stop well.
    pub fn stop(&self, number: u8) {
        let status = self.take(number).stop();
        assert!(status.success(), "{status}");
    }

    /// Sends a node a signal, by its name.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, number: u8, signal: &str) {
        let process = self.process_id(number).to_string();
        command("kill", &[&format!("-{signal}"), &process]).expect("it can be signalled");
    }

    /// A client of a node. Its requests are to be sent [as a client](Network::as_client).
    #[must_use]
    pub fn client(&self, number: u8, patience: Duration) -> Client {
        Client::new(&self.url(number), patience)
    }

    /// Sends a GET to a node.
    ///
    /// # Panics
    /// If it does not answer, or not with 200.
    #[must_use]
    pub fn get(&self, number: u8, path: &str) -> Value {
        let answer = self.network.as_client(|| self.client(number, BOUND).get(path)).expect("the node answers");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Posts a transition to a node.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn post(&self, number: u8, transition: &Value) -> Answer {
        self.network.as_client(|| self.client(number, BOUND).post(transition)).expect("the node answers")
    }

    /// What a node says of its cluster.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn status(&self, number: u8) -> Value {
        self.get(number, "/cluster")
    }

    /// How many facts a node holds.
    ///
    /// # Panics
    /// If it does not tell.
    #[must_use]
    pub fn facts(&self, number: u8) -> u64 {
        self.status(number)["facts"].as_u64().expect("a number of facts")
    }

    /// The state that a node says it is in.
    ///
    /// # Panics
    /// If it does not tell.
    #[must_use]
    pub fn state(&self, number: u8) -> String {
        self.status(number)["state"].as_str().expect("a node has a state").to_owned()
    }

    /// Whether a node is connected to another, and has heard how many facts that has.
    #[must_use]
    pub fn sees(&self, number: u8, other: u8) -> bool {
        let (status, address) = (self.status(number), self.peer_address(other));
        let members = status["members"].as_array().into_iter().flatten();
        let at_address = members.filter(|member| member["peer"] == address.as_str() && member["state"] != "gone");
        at_address.into_iter().any(|member| member["connected"] == true && member["last_seen"].is_string())
    }

    /// Waits until all nodes that run hold the same facts.
    ///
    /// # Panics
    /// If that does not come about.
    #[track_caller]
    pub fn converged(&self) {
        let facts = |number| {
            let status = self.status(number);
            (status["digest"].clone(), status["facts"].clone())
        };
        until("all hold the same", || {
            let mut all = self.running().map(facts);
            let first = all.next();
            all.all(|other| Some(other) == first)
        });
    }

    /// What all nodes that run hold.
    ///
    /// # Panics
    /// If one does not tell.
    #[must_use]
    pub fn copies(&self) -> Vec<Copy> {
        self.running().map(|number| self.copy(number)).collect()
    }

    fn copy(&self, number: u8) -> Copy {
        let status = self.status(number);
        let artifact = |item: Value| {
            let id = item["artifact_id"].as_str().expect("an artifact has an id").to_owned();
            let projection = self.get(number, &format!("/projections/{id}"));
            let transitions = self.list(number, &format!("/projections/{id}/transitions"));
            (id, Artifact { projection, transitions })
        };
        let artifacts: BTreeMap<_, _> = self.list(number, "/projections").into_iter().map(artifact).collect();
        let digest = status["digest"].as_str().expect("a node has a digest").to_owned();
        Copy {
            node: format!("node {number}"),
            digest,
            facts: status["facts"].as_u64().expect("a number of facts"),
            artifacts,
        }
    }

    fn list(&self, number: u8, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let mut page = self.get(number, &format!("{path}?limit=1000{next}"));
            items.append(page["items"].as_array_mut().expect("a list has items"));
            match page["next"].as_str() {
                None => return items,
                Some(page) => next = format!("&page={page}"),
            }
        }
    }
}

impl Drop for Cluster {
    /// Who looks at a failed test wants to know what the nodes said.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for number in self.numbers() {
            let log = self.log(number);
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            // There is nobody to tell that it cannot be told.
            let _ = writeln!(std::io::stderr(), "── the log of node {number} ends with\n{last}");
        }
    }
}

/// Waits until something is so.
///
/// # Panics
/// If it does not come about.
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_every(LOOK, what, is_so);
}

/// As [`until`], with so much time between one look and the next.
///
/// # Panics
/// If it does not come about.
#[track_caller]
pub fn until_every(look: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let (begun, place) = (Instant::now(), Location::caller());
    while !is_so() {
        assert!(begun.elapsed() < BOUND, "{place}: not within {BOUND:?}: {what}");
        thread::sleep(look);
    }
}
