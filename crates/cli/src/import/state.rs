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
    origin: Origin,
    pub(super) progress: Progress,
}

/// Where an import goes: another node may not have what was imported, and another token may be another tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    /// The node's own name. It belongs to the data directory, so that a node begun anew is another one.
    node_id: String,
    /// The BLAKE3 digest of the token, under the node's name: the file must not tell the secret.
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
    /// Asks the node for its name.
    pub(super) async fn ask(client: &Client, token: Option<&str>) -> Result<Self, Failure> {
        let health = client.health().await.map_err(Failure::request("ask the node for its name"))?;
        Ok(Self::new(health.node_id, token))
    }

    fn new(node_id: String, token: Option<&str>) -> Self {
        let mut digest = blake3::Hasher::new();
        digest.update(node_id.as_bytes()).update(b"/").update(token.unwrap_or_default().as_bytes());
        Self { node_id, token_digest: digest.finalize().to_hex().to_string() }
    }
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
    pub(super) fn check_origin(&self, origin: &Origin) -> Result<(), Failure> {
        let (began, here) = (&self.origin.node_id, &origin.node_id);
        let why = if began != here {
            format!("the import began at the node {began}, this is {here}: another node, or its data was begun anew")
        } else if self.origin.token_digest != origin.token_digest {
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
