//! Hosts of their own for nodes: network namespaces on one bridge, whose links a test cuts and mends.
//!
//! Every network is closed in itself: its bridge stands in a namespace too, so that the addresses of two networks are the
//! same and never meet, and nothing of the machine's own network is touched. What is to happen on a host is done by a
//! thread that has moved there; a process it starts is there as well. Clients are at the bridge, which reaches every host
//! whatever the hosts do not reach of each other.
//!
//! It needs root, `ip` of iproute2, and `iptables`.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cli::{self, text};
use crate::machine::command;
use crate::node::binary;

/// Where `ip` keeps the namespaces it names.
const NAMESPACES: &str = "/run/netns";

/// What the names of ours begin with; the id of the process follows.
const PREFIX: &str = "plimsoll-";

/// The most hosts of a network.
const HOSTS_MAX: u8 = 200;

/// Networks this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace by a name. Removed when dropped, with all that runs in it.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Result<Self, String> {
        command("ip", &["netns", "add", &name])?;
        let namespace = Self(name);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &[&str]) -> Result<String, String> {
        command("ip", &[&["-netns", &self.0], arguments].concat())
    }

    /// Does something there: on a thread that has moved.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let moved = || {
            let namespace = File::open(Path::new(NAMESPACES).join(&self.0)).expect("the namespace is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("it may be entered");
            work()
        };
        thread::scope(|scope| scope.spawn(moved).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a namespace, with all that runs in it.
fn remove(namespace: &str) {
    let processes = command("ip", &["netns", "pids", namespace]).unwrap_or_default();
    for process in processes.split_whitespace() {
        let _ = command("kill", &["-KILL", process]);
    }
    // What is not there is removed.
    let _ = command("ip", &["netns", "delete", namespace]);
}

/// Removes what processes have left behind that were killed and so could not.
fn sweep() {
    let namespaces = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for name in namespaces.filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_number = |process: &&str| process.parse::<u32>().is_ok();
        if process.filter(is_number).is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&name);
        }
    }
}

/// Hosts on a bridge. All of it is gone when this is dropped.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    hub: Namespace,
}

/// One of its hosts.
#[derive(Debug)]
pub struct Host {
    number: u8,
    namespace: Namespace,
    /// The name of the bridge's namespace.
    hub: String,
}

impl Network {
    /// A network of so many hosts, numbered from 1.
    ///
    /// # Errors
    /// Why this machine cannot have one.
    pub fn new(hosts: u8) -> Result<Self, String> {
        if command("id", &["-u"])? != "0" {
            return Err("needs root".into());
        }
        command("ip", &["-Version"])?;
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let hub = Namespace::new(format!("{name}-hub"))?;
        hub.inside(|| command("iptables", &["--wait", "--list-rules", "INPUT"]))?;
        // A port that comes up carries at once, and not after having listened for loops.
        hub.ip(&["link", "add", "bridge", "type", "bridge", "forward_delay", "0", "stp_state", "0"])?;
        hub.ip(&["address", "add", &format!("{}/24", address(HOSTS_MAX + 1)), "dev", "bridge"])?;
        hub.ip(&["link", "set", "bridge", "up"])?;
        let hosts =
            (1..=hosts.min(HOSTS_MAX)).map(|number| Host::new(number, &name, &hub)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, hub })
    }

    /// The host of a number.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// All of them.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Does something where clients are.
    pub fn as_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.hub.inside(work)
    }

    /// Cuts hosts off from all others, both ways. Clients reach them all the same.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn cut_off(&self, numbers: &[u8]) {
        let (cut, others): (Vec<_>, Vec<_>) = self.hosts.iter().partition(|host| numbers.contains(&host.number));
        for (one, other) in cut.iter().flat_map(|one| others.iter().map(move |other| (one, other))) {
            one.refuse(other);
            other.refuse(one);
        }
    }

    /// Mends what was cut or made to lose packets.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn mend(&self) {
        self.hosts.iter().for_each(|host| host.filter(&["--flush", "INPUT"]));
    }
}

fn address(number: u8) -> String {
    format!("10.77.0.{number}")
}

impl Host {
    fn new(number: u8, network: &str, hub: &Namespace) -> Result<Self, String> {
        let namespace = Namespace::new(format!("{network}-{number}"))?;
        let port = port(number);
        hub.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace.0])?;
        hub.ip(&["link", "set", &port, "master", "bridge", "up"])?;
        namespace.ip(&["address", "add", &format!("{}/24", address(number)), "dev", "eth0"])?;
        namespace.ip(&["link", "set", "eth0", "up"])?;
        Ok(Self { number, namespace, hub: hub.0.clone() })
    }

    /// Its IP address.
    #[must_use]
    pub fn address(&self) -> String {
        address(self.number)
    }

    /// Does something on this host.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.inside(work)
    }

    /// Drops all that comes from another host: one way of the two.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn refuse(&self, other: &Self) {
        self.filter(&["--append", "INPUT", "--source", &other.address(), "--jump", "DROP"]);
    }

    /// Loses so many percent of all packets that come from other hosts; clients' arrive.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn lose(&self, percent: u8) -> Result<(), String> {
        let probability = format!("{:.2}", f64::from(percent) / 100.0);
        let client = address(HOSTS_MAX + 1);
        let strangers = ["--append", "INPUT", "!", "--source", &client, "!", "--in-interface", "lo"];
        let random = ["--match", "statistic", "--mode", "random", "--probability", &probability, "--jump", "DROP"];
        self.try_filter(&[strangers.as_slice(), &random].concat())
    }

    /// How many packets its filter has dropped since it was mended last.
    ///
    /// # Panics
    /// If that cannot be told.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let listed = self.listed();
        let rules = listed.lines().filter(|line| line.contains("DROP"));
        rules.filter_map(|rule| rule.split_whitespace().next()?.parse::<u64>().ok()).sum()
    }

    /// Counts from now on what comes from another host, in packets as a line carries them. Mending the network ends it.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn count_from(&self, other: &Self) -> Result<(), String> {
        // Linux hands large pieces from one host to the next within a machine, where a line has packets with a header each.
        other.namespace.ip(&["link", "set", "eth0", "gso_max_segs", "1"])?;
        self.try_filter(&["--append", "INPUT", "--source", &other.address()])
    }

    /// The bytes that were counted so far, from Ethernet up.
    ///
    /// # Panics
    /// If that cannot be told.
    #[must_use]
    pub fn counted_bytes(&self) -> u64 {
        const ETHERNET: u64 = 14;
        let listed = self.listed();
        let counts = listed.lines().skip(2).map(|rule| {
            let mut fields = rule.split_whitespace().map_while(|field| field.parse::<u64>().ok());
            let [packets, bytes] = std::array::from_fn(|_| fields.next().unwrap_or_default());
            packets * ETHERNET + bytes
        });
        counts.sum()
    }

    /// The bytes it has sent and received so far, clients' too.
    ///
    /// # Panics
    /// If that cannot be told.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        let bytes = |direction: &str| {
            let file = format!("/sys/class/net/{}/statistics/{direction}_bytes", port(self.number));
            let read = command("ip", &["netns", "exec", &self.hub, "cat", &file]).expect("the port counts");
            read.parse().expect("a number")
        };
        // What the port receives is what the host sends.
        (bytes("rx"), bytes("tx"))
    }

    /// Pulls its plug: nobody reaches it, no client either.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn unplug(&self) {
        command("ip", &["-netns", &self.hub, "link", "set", &port(self.number), "down"]).expect("a port goes down");
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn plug_in(&self) {
        command("ip", &["-netns", &self.hub, "link", "set", &port(self.number), "up"]).expect("a port comes up");
    }

    fn listed(&self) -> String {
        let list = ["--wait", "--list", "INPUT", "--numeric", "--verbose", "--exact"];
        self.inside(|| command("iptables", &list)).expect("the filter can be listed")
    }

    fn filter(&self, arguments: &[&str]) {
        self.try_filter(arguments).expect("packets can be filtered");
    }

    fn try_filter(&self, arguments: &[&str]) -> Result<(), String> {
        // Another process may be at it: `--wait`.
        self.inside(|| command("iptables", &[&["--wait"], arguments].concat())).map(drop)
    }
}

fn port(number: u8) -> String {
    format!("port-{number}")
}

/// Who certifies the hosts of a cluster.
#[derive(Debug)]
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one, which nobody else believes.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        tls(&["ca", "--out", text(&folder.path().join("ca"))]);
        Self { folder }
    }

    /// The TLS directory of a host.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn certify(&self, host: &Host) -> PathBuf {
        let folder = self.folder.path().join(host.number.to_string());
        let ca = self.folder.path().join("ca");
        tls(&["node", "--ca", text(&ca), "--out", text(&folder), "--host", &host.address()]);
        folder
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn tls(arguments: &[&str]) {
    let mut command = std::process::Command::new(binary());
    command.arg("tls").args(arguments);
    let run = cli::finish(command, "");
    assert_eq!(run.code, 0, "{run:?}");
}
