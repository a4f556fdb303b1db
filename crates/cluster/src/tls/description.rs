//! What is in a TLS directory, for an operator.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plimsoll_domain::timestamp::UnixNanos;

use super::certificate::{Certificate, Severity, warning_of};
use super::files::{self, CA_FILE, NODE_FILE, NODE_KEY_FILE};
use super::{Credentials, TlsError};

/// What is in a TLS directory.
#[derive(Debug)]
pub struct Description {
    /// Its certificates: those of the CAs first, then the node's and what lies between.
    pub certificates: Vec<Described>,
    /// Why a node could not use the directory now; `None` if it could, or if it is a CA's own directory.
    pub problem: Option<TlsError>,
}

/// A certificate in a TLS directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name of its file.
    pub file: &'static str,
    /// What it says.
    pub certificate: Certificate,
    /// Whole days left, as [`Certificate::days_left`] counts them.
    pub days_left: i64,
    /// What to make of them.
    pub warning: Option<Severity>,
}

/// Tells what is in a directory, a node's or a CA's own. Dates that are over, a key that does not match and the like do
/// not keep it from telling the rest.
///
/// # Errors
/// [`TlsError`] if there is no certificate at all, or a file of certificates cannot be read.
pub fn describe(directory: &Path, now: UnixNanos) -> Result<Description, TlsError> {
    let authorities = certificates(directory, CA_FILE, now)?;
    let node = certificates(directory, NODE_FILE, now)?;
    let is_node = node.is_some() || directory.join(NODE_KEY_FILE).exists();
    let certificates: Vec<_> = authorities.into_iter().chain(node).flatten().collect();
    if certificates.is_empty() {
        let path = directory.join(CA_FILE);
        return Err(TlsError::Read { path, source: io::ErrorKind::NotFound.into() });
    }
    let problem = if is_node { Credentials::load(directory, Arc::new(move || now)).err() } else { None };
    Ok(Description { certificates, problem })
}

/// The certificates of a file; `None` if there is no such file.
fn certificates(directory: &Path, file: &'static str, now: UnixNanos) -> Result<Option<Vec<Described>>, TlsError> {
    let path = directory.join(file);
    let pem = match files::read(&path) {
        Ok(pem) => pem,
        Err(TlsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut described = Vec::new();
    for (index, der) in files::certificates(&pem, &path)?.iter().enumerate() {
        let certificate = Certificate::parse(der)
            .ok_or_else(|| TlsError::NotACertificate { path: path.clone(), number: index + 1 })?;
        let days_left = certificate.days_left(now);
        described.push(Described { file, certificate, days_left, warning: warning_of(days_left) });
    }
    Ok(Some(described))
}
