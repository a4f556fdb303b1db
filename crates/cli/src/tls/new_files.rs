//! Files that must not be there yet: all of them are written, or none.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::failure::Failure;

/// A file to be written.
pub(super) struct NewFile<'a> {
    name: &'static str,
    text: &'a str,
    mode: u32,
}

impl<'a> NewFile<'a> {
    /// One that everybody may read.
    pub(super) const fn open(name: &'static str, text: &'a str) -> Self {
        Self { name, text, mode: 0o644 }
    }

    /// One that only its owner may read.
    pub(super) const fn secret(name: &'static str, text: &'a str) -> Self {
        Self { name, text, mode: 0o600 }
    }
}

/// Writes files into a directory, which is made if it is not there. If one of them is there already, or cannot be
/// written, none is left behind.
pub(super) fn write_new(directory: &Path, files: &[NewFile<'_>]) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| Failure::Config {
        detail: format!("cannot make the directory {}: {error}", directory.display()),
    })?;
    for (index, file) in files.iter().enumerate() {
        if let Err(failure) = create(directory, file) {
            for written in &files[..index] {
                // What failed first is what has to be told.
                let _ = fs::remove_file(directory.join(written.name));
            }
            return Err(failure);
        }
    }
    Ok(())
}

fn create(directory: &Path, file: &NewFile<'_>) -> Result<(), Failure> {
    let path = directory.join(file.name);
    let shown = path.display();
    let opened = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&path);
    let mut opened = opened.map_err(|error| Failure::Config {
        detail: match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{shown} is there already, and is not overwritten: name another directory with --out")
            }
            _ => format!("cannot write {shown}: {error}"),
        },
    })?;
    let written = opened.write_all(file.text.as_bytes()).and_then(|()| opened.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&path);
    }
    written.with_context(|| format!("cannot write {shown}")).map_err(Failure::Other)
}
