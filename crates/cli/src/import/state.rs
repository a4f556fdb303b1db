//! What an import that is interrupted leaves for the next run.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The only version there is.
const VERSION: u32 = 1;

/// How far an import came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// The node it was imported to: another one may not have it.
    url: String,
    /// How much of the file was imported.
    pub(super) offset_bytes: u64,
    /// The lines in it.
    pub(super) lines: u64,
    /// The BLAKE3 digest of that part. What comes after it may change, and grow.
    pub(super) digest: String,
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) refused: u64,
    /// Those among the refused that conflict with what the node has.
    pub(super) conflicts: u64,
}

impl State {
    pub(super) fn new(url: &str) -> Self {
        Self {
            version: VERSION,
            url: url.to_owned(),
            offset_bytes: 0,
            lines: 0,
            digest: blake3::hash(b"").to_hex().to_string(),
            accepted: 0,
            repeated: 0,
            refused: 0,
            conflicts: 0,
        }
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
                detail: format!("{} is not the state of an import; name another file", file.display()),
            }),
        }
    }

    pub(super) fn check_url(&self, url: &str) -> Result<(), Failure> {
        if self.url == url {
            return Ok(());
        }
        Err(Failure::Config {
            detail: format!(
                "the import began at {}, this is {url}\n  Give that --url, or remove the state file to import from the \
                 start: that is safe.",
                self.url
            ),
        })
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
