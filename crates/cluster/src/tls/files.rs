//! The files of a TLS directory, read whole and within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::TlsError;

/// The certificates of the CA, in a node's directory and in the CA's own.
pub const CA_FILE: &str = "ca.pem";
/// The key of the CA, in the CA's own directory only.
pub const CA_KEY_FILE: &str = "ca.key";
/// The certificate of a node, and those between it and the CA.
pub const NODE_FILE: &str = "node.pem";
/// The key of a node.
pub const NODE_KEY_FILE: &str = "node.key";

/// The most bytes of one file: hundreds of certificates, where a handful is usual.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What a node needs, as bytes. It holds the key, so it cannot be printed.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    pub(super) ca: Vec<u8>,
    pub(super) node: Vec<u8>,
    pub(super) node_key: Vec<u8>,
}

impl Files {
    pub(super) fn read(directory: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            ca: read(&directory.join(CA_FILE))?,
            node: read(&directory.join(NODE_FILE))?,
            node_key: read(&directory.join(NODE_KEY_FILE))?,
        })
    }
}

/// Reads a file of [`FILE_BYTES_MAX`] bytes at most.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    // One byte more than is taken tells a file that is too long from one that just fits.
    let bytes_max = FILE_BYTES_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(TlsError::TooLong { path: path.to_path_buf() });
    }
    Ok(bytes)
}

/// The certificates in a file, one at least, in their order. What else is in it is passed over.
pub(super) fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_path_buf(), source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_path_buf() });
    }
    Ok(found)
}
