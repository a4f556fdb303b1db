//! What an import that is interrupted leaves for the next run.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use plimsoll_client::Client;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The only version that can be gone on with. The first one did not know the node.
const VERSION: u32 = 2;

/// How far an import came, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    pub(super) origin: Origin,
    pub(super) progress: Progress,
}

/// Where an import goes: another node may not have what was imported, and another token may be another tenant's. Of
/// several nodes any may take any line, and the store brings it to the others; so the import is bound to all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    /// The node's own name. It belongs to the data directory, so that a node begun anew is another one.
    node_id: String,
    /// The names of the other nodes that answered when the import began, of a client of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    /// The BLAKE3 digest of the token, under the first node's name: the file must not tell the secret.
    token_digest: String,
}

/// How far an import came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// What comes after it may change, and grow.
    pub(super) position: Position,
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) refused: u64,
    /// Those among the refused that conflict with what the node has.
    pub(super) conflicts: u64,
    /// How long the report of refused lines was then.
    pub(super) report_bytes: u64,
}

/// A place between two lines of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// How much of the file stands before it.
    pub(super) offset_bytes: u64,
    /// The lines in that part.
    pub(super) lines: u64,
    /// The BLAKE3 digest of that part.
    pub(super) digest: String,
}

impl Default for Position {
    fn default() -> Self {
        Self { offset_bytes: 0, lines: 0, digest: blake3::hash(b"").to_hex().to_string() }
    }
}

impl Origin {
    /// Asks each node for its name; gives a client of those that answer. One that does not could be any node when it
    /// comes back, so this run leaves it alone.
    pub(super) async fn ask(client: &Client, token: Option<&str>) -> Result<(Client, Self), Failure> {
        let unanswered = || Failure::request("ask the node for its name");
        // It waits until one answers, as any request does.
        let answered = client.health().await.map_err(unanswered())?.node_id;
        if client.urls().count() == 1 {
            return Ok((client.clone(), Self::new(vec![answered], token)));
        }
        let (mut urls, mut node_ids) = (Vec::new(), Vec::new());
        let mut silent = None;
        for (url, health) in client.nodes().await {
            match health {
                Ok(health) => {
                    urls.push(url);
                    node_ids.push(health.node_id);
                }
                Err(error) => silent = Some(error),
            }
        }
        match (client.narrowed(|url| urls.iter().any(|kept| kept == url)), silent) {
            (None, Some(error)) => Err(unanswered()(error)),
            (narrowed, _) => Ok((narrowed.unwrap_or_else(|| client.clone()), Self::new(node_ids, token))),
        }
    }

    /// The origin at these nodes, of which there is one at least.
    fn new(mut node_ids: Vec<String>, token: Option<&str>) -> Self {
        let others = node_ids.split_off(1);
        let node_id = node_ids.remove(0);
        let token_digest = token_digest(&node_id, token);
        Self { node_id, others, token_digest }
    }

    fn node_ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.node_id).chain(&self.others).map(String::as_str)
    }
}

fn token_digest(node_id: &str, token: Option<&str>) -> String {
    let mut digest = blake3::Hasher::new();
    digest.update(node_id.as_bytes()).update(b"/").update(token.unwrap_or_default().as_bytes());
    digest.finalize().to_hex().to_string()
}

impl State {
    pub(super) const fn new(origin: Origin, progress: Progress) -> Self {
        Self { version: VERSION, origin, progress }
    }

    /// Reads a state file; `None` where there is none.
    pub(super) fn load(file: &Path) -> Result<Option<Self>, Failure> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::Config { detail: format!("cannot read {}: {error}", file.display()) });
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(state) if state.version == VERSION => Ok(Some(state)),
            _ => Err(Failure::Config {
                detail: format!("{} is not the state of an import by this version; name another file", file.display()),
            }),
        }
    }

    /// Refuses to go on at another node, or as somebody else.
    pub(super) fn check_origin(&self, here: &Origin, token: Option<&str>) -> Result<(), Failure> {
        let began: Vec<&str> = self.origin.node_ids().collect();
        let why = if let Some(other) = here.node_ids().find(|node_id| !began.contains(node_id)) {
            let nodes = if began.len() == 1 { "node" } else { "nodes" };
            let began = began.join(", ");
            format!(
                "the import began at the {nodes} {began}, this is {other}: another node, or its data was begun anew"
            )
        } else if self.origin.token_digest != token_digest(&self.origin.node_id, token) {
            "the import began with another token than the one given now".to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::Config { detail: format!("{why}\n  Name another state file to import the file here, too.") })
    }

    /// Replaces the state file at once: a crash leaves the old one or the new one.
    pub(super) fn save(&self, file: &Path) -> Result<(), Failure> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let write = || -> io::Result<()> {
            let mut new = File::create(&beside)?;
            new.write_all(&serde_json::to_vec(self)?)?;
            new.sync_data()?;
            fs::rename(&beside, file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        Ok(())
    }
}
