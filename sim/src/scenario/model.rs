//! A deployment, as the configuration files of its nodes have it, made into a scenario file that people then edit.
//!
//! Regions, who is where, and the settings come from the files, by the product's own reading of them. What no file says,
//! how far regions are from each other, what clients do and what goes wrong, is filled in, and marked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use plimsoll_node::config::{Config, Sources};
use toml::{Table, Value};

use super::file::KEPT;

/// Settings that say nothing in a simulation.
const WITHOUT_MEANING: [&str; 6] = ["advertise_http", "cluster", "log", "log_format", "cors_origins", "anon_read"];

/// The configuration file of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// A scenario file, and what of the deployment it does not show, or what is odd about it: a sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The file.
    pub text: String,
    /// The sentences, which are comments in the file, too.
    pub warnings: Vec<String>,
}

/// A node of the deployment.
struct Member {
    place: String,
    config: Config,
    is_redb: bool,
    said: BTreeMap<String, String>,
}

impl Member {
    fn read(file: &NodeFile) -> anyhow::Result<Self> {
        let place = file.path.display().to_string();
        // Its own tokens may be kept elsewhere, and are of no use here.
        let token = ("PLIMSOLL_TOKENS".to_owned(), "acme:simulated-secret-of-all-clients".to_owned());
        let sources =
            Sources { file: Some((file.path.clone(), file.text.clone())), variables: vec![token], flags: vec![] };
        let config = Config::load(&sources)?;
        if config.peer_listen.is_none() {
            bail!("{place}: the node is alone: it has no `peer_listen`");
        }
        // Not a word of the library's error: it may quote a secret. The product has read the file, so there is none.
        let table: Table = file.text.parse().ok().with_context(|| format!("{place}: is not TOML"))?;
        let is_redb = table.get("engine").and_then(Value::as_str) == Some("redb");
        let is_kept = |key: &str| KEPT.contains(&key) || WITHOUT_MEANING.contains(&key);
        let said = table.into_iter().filter(|(key, _)| !is_kept(key));
        let said = said.filter_map(|(key, value)| Some((key, written(&value)?))).collect();
        Ok(Self { place, config, is_redb, said })
    }

    /// Where peers reach it.
    fn address(&self) -> String {
        let listening = || self.config.peer_listen.map(|address| address.to_string());
        self.config.advertise.clone().or_else(listening).unwrap_or_default()
    }

    fn region(&self) -> &str {
        self.config.region.as_str()
    }
}

/// A value as a file has it.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        // JSON's quotes are TOML's.
        Value::String(text) => Some(serde_json::Value::from(text.as_str()).to_string()),
        _ => None,
    }
}

/// Makes a scenario file of a deployment: 2 to 100 nodes of one cluster.
///
/// # Errors
/// A file cannot be used by a node, or the nodes are not one cluster.
pub fn model(files: &[NodeFile]) -> anyhow::Result<Model> {
    if !(2..=100).contains(&files.len()) {
        bail!("a model is of 2 to 100 nodes, and there are {} files", files.len());
    }
    let mut members: Vec<Member> = files.iter().map(Member::read).collect::<Result<_, _>>()?;
    let cluster = members[0].config.cluster.as_str().to_owned();
    if let Some(other) = members.iter().find(|member| member.config.cluster.as_str() != cluster) {
        bail!("{} is of the cluster {cluster}, and {} of {}", members[0].place, other.place, other.config.cluster);
    }
    let mut regions: Vec<String> = Vec::new();
    for member in &members {
        if !regions.iter().any(|region| region == member.region()) {
            regions.push(member.region().to_owned());
        }
    }
    members.sort_by_key(|member| regions.iter().position(|region| region == member.region()));
    let mut warnings = differences(&members);
    warnings.extend(strangers(&members));
    warnings.extend(islands(&members));
    let text = file_of(&cluster, &members, &regions, &warnings);
    Ok(Model { text, warnings })
}

/// Settings that are not the same on all nodes, which a scenario cannot say.
fn differences(members: &[Member]) -> Vec<String> {
    let keys: BTreeSet<&String> = members.iter().flat_map(|member| member.said.keys()).collect();
    let differs = |key: &&&String| members.iter().any(|member| member.said.get(**key) != members[0].said.get(**key));
    let told = |key: &String| match members[0].said.get(key) {
        Some(text) => format!("`{key}` is not the same on all nodes; the model has that of n1, {text}."),
        None => format!("`{key}` is not the same on all nodes; n1 does not say it, so neither does the model."),
    };
    keys.iter().filter(differs).map(|key| told(key)).collect()
}

/// Seeds that are none of the nodes.
fn strangers(members: &[Member]) -> Vec<String> {
    let addresses: BTreeSet<String> = members.iter().map(Member::address).collect();
    let seeds: BTreeSet<&String> = members.iter().flat_map(|member| &member.config.seed).collect();
    let strangers = seeds.into_iter().filter(|seed| !addresses.contains(*seed));
    strangers.map(|seed| format!("the seed {seed} is none of these nodes.")).collect()
}

/// Nodes that no chain of seeds joins to n1: they would never meet, though in the model they do.
fn islands(members: &[Member]) -> Vec<String> {
    let calls = |one: &Member, other: &Member| one.config.seed.contains(&other.address());
    let mut met = BTreeSet::from([0]);
    loop {
        let is_new = |at: &usize| {
            let meets =
                |other: &usize| calls(&members[*at], &members[*other]) || calls(&members[*other], &members[*at]);
            !met.contains(at) && met.iter().any(meets)
        };
        let Some(new) = (0..members.len()).find(is_new) else { break };
        met.insert(new);
    }
    let apart = (0..members.len()).filter(|at| !met.contains(at));
    apart
        .map(|at| format!("n{} and n1 would not find each other by their seeds; in the model they do.", at + 1))
        .collect()
}

fn file_of(cluster: &str, members: &[Member], regions: &[String], warnings: &[String]) -> String {
    let mut text =
        format!("# A model of the cluster {cluster}, {} nodes, made of their configuration files.\n", members.len());
    text.push_str("# Latencies, clients, faults and assertions are for you to say.\n");
    for warning in warnings {
        // Writing to a text does not fail, here and below.
        let _ = writeln!(text, "# Mind: {warning}");
    }
    let name = cluster.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let _ = write!(text, "\nname = \"{name}\"\nlasting = \"30s\"\ncalm = \"2m\"\n");
    text.push_str("assert = [\n    \"converges within 60s\",\n    \"acknowledged at least 50%\",\n]\n");
    let mut number = 0;
    for region in regions {
        text.push('\n');
        let there: Vec<&Member> = members.iter().filter(|member| member.region() == region).collect();
        for member in &there {
            number += 1;
            let _ = writeln!(text, "# n{number}: {}, of {}", member.address(), member.place);
        }
        let _ = write!(text, "[[region]]\nname = \"{region}\"\nnodes = {}\n", there.len());
    }
    push_links(&mut text, regions);
    push_node(&mut text, &members[0]);
    text.push_str("\n[workload]\nartifacts = 12\nposts = 5.0\nreads = 5.0\nwatches = 1.0\n");
    if let [region, _, ..] = regions {
        let _ = write!(
            text,
            "\n# One region is cut off, and comes back.\n\
             [[fault]]\nat = \"5s\"\nuntil = \"15s\"\ncut = [\"{region}\", \"others\"]\n"
        );
    }
    text.push_str("\n# And by chance up to so many faults of any kind.\n[swarm]\nat_most = 8\n");
    text
}

/// So many pairs of regions are written out, to be filled in one by one.
const PAIRS_MAX: usize = 28;

fn push_links(text: &mut String, regions: &[String]) {
    text.push_str("\n# One way: half of what ping says.\n[links]\nwithin = { latency = \"1ms\" }\nbetween = { latency = \"40ms\" }\n");
    let pairs =
        regions.iter().enumerate().flat_map(|(at, one)| regions[at + 1..].iter().map(move |other| (one, other)));
    if pairs.clone().count() > PAIRS_MAX {
        return;
    }
    for (one, other) in pairs {
        let _ = write!(text, "\n[[links.pair]]\nregions = [\"{one}\", \"{other}\"]\nlatency = \"40ms\"\n");
    }
}

fn push_node(text: &mut String, member: &Member) {
    let disk = if member.is_redb { "redb" } else { "memory" };
    let _ = write!(text, "\n[node]\ndisk = \"{disk}\"\n");
    for (key, value) in &member.said {
        let _ = writeln!(text, "{key} = {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file::read;

    fn node(name: &str, rest: &str) -> NodeFile {
        let text = format!("peer_listen = \"10.0.0.{name}:7172\"\n{rest}");
        NodeFile { path: PathBuf::from(format!("{name}.toml")), text }
    }

    #[test]
    fn a_deployment_becomes_a_scenario() {
        let [eu, us, ap] = ["eu", "us", "ap"].map(|region| {
            let path = PathBuf::from(format!("../deploy/example/{region}.toml"));
            NodeFile { text: std::fs::read_to_string(&path).unwrap(), path }
        });
        let model = model(&[eu, us, ap]).unwrap();
        assert_eq!(model.warnings, [""; 0]);
        let scenario = read("model", &model.text).unwrap_or_else(|problems| panic!("{problems}\n{}", model.text));
        assert_eq!((scenario.name.as_str(), scenario.region_of_each().join(" ")), ("artifacts", "eu us ap".to_owned()));
        assert_eq!(scenario.settings.product["retention_s"], "604800");
        assert!(!model.text.contains("log_format") && model.text.contains("# n3: ap.plimsoll.example:7172, of"));
        assert_eq!(scenario.links.pairs.len(), 3);
    }

    #[test]
    fn what_a_model_does_not_show_is_told() {
        let one = node("1", "region = \"a\"\ncache_mib = 8\nseed = [\"10.0.0.2:7172\"]");
        let two = node("2", "region = \"b\"\ncache_mib = 9\nengine = \"redb\"");
        let three =
            node("3", "region = \"a\"\ncache_mib = 8\nseed = [\"10.0.0.9:7172\"]\ntokens = [\"t:secret-of-mine\"]");
        let model = model(&[one, two, three]).unwrap();
        let expected = [
            "`cache_mib` is not the same on all nodes; the model has that of n1, 8.",
            "the seed 10.0.0.9:7172 is none of these nodes.",
            "n2 and n1 would not find each other by their seeds; in the model they do.",
        ];
        assert_eq!(model.warnings, expected);
        assert!(!model.text.contains("secret-of-mine"), "{}", model.text);
        assert_eq!(read("model", &model.text).unwrap().region_of_each().join(" "), "a a b");
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let alone = NodeFile { path: PathBuf::from("x.toml"), text: String::new() };
        let told = |files: &[NodeFile]| model(files).unwrap_err().to_string();
        assert!(told(&[node("1", "")]).contains("2 to 100 nodes"));
        assert!(told(&[node("1", ""), alone]).contains("x.toml: the node is alone"));
        let other = node("2", "cluster = \"b\"");
        assert_eq!(told(&[node("1", ""), other]), "1.toml is of the cluster plimsoll, and 2.toml of b");
        assert!(told(&[node("1", "cash = 1"), node("2", "")]).contains("`cash` is no setting"));
    }
}
