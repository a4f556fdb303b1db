//! Why a TLS directory cannot be used.

use std::io;
use std::path::PathBuf;

use plimsoll_domain::timestamp::UnixNanos;
use rustls::pki_types::pem;
use thiserror::Error;

/// A TLS directory cannot be used. The text names the file, what is wrong with it, and what to do.
///
/// Nothing was changed: whatever was in use before still is. Trying again helps once the files are others.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read; often it is not there.
    #[error(
        "cannot read {}: {source}. A TLS directory holds ca.pem, node.pem and node.key: make one with `plimsoll tls \
         node`", path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than [`FILE_BYTES_MAX`](super::FILE_BYTES_MAX).
    #[error("{} is longer than 1 MiB: it is no file of certificates", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A file is not PEM.
    #[error("{} is not PEM: {source}. Copy it again from where it was made", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Where it breaks off.
        source: pem::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("{} holds no certificate: a section that begins with BEGIN CERTIFICATE is needed", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// What a file gives as a certificate is none.
    #[error("certificate {number} in {} cannot be read. Copy the file again from where it was made", path.display())]
    NotACertificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
    },
    /// A certificate that is to be trusted as a CA is none: who believed it would let its owner in under any name.
    #[error("certificate {number} in {}, {subject}, is not a CA's: take it out", path.display())]
    NotACa {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, counted from 1.
        number: usize,
        /// Whose it is.
        subject: String,
    },
    /// The file of the key holds no key of a kind that is known.
    #[error(
        "{} holds no private key that can be used: an unencrypted key as PEM is needed, of ECDSA, Ed25519 or RSA",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate are not a pair.
    #[error(
        "the key in {} is not the key of the certificate in {}: put the two files in place that were made together",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The node's certificate is over.
    #[error("the certificate in {} expired at {not_after}: make a new one with `plimsoll tls node`", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last moment.
        not_after: UnixNanos,
    },
    /// The node's certificate has not begun.
    #[error("the certificate in {} is valid from {not_before} on: is this machine's clock right?", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Its first moment.
        not_before: UnixNanos,
    },
    /// The node's certificate names no host, so that no peer could tell who it is.
    #[error("the certificate in {} names no host: make one with `plimsoll tls node --host`", path.display())]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// The node's certificate is of another CA.
    #[error(
        "the certificate in {} is signed by none of the CAs in {}: no peer would believe it. Make it with the cluster's \
         CA, or add that CA's certificate to the file", certificate.display(), authorities.display()
    )]
    ForeignCa {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the CAs.
        authorities: PathBuf,
    },
    /// The node's certificate is unfit in another way: say, it is not for both servers and clients.
    #[error("the certificate in {} cannot be used: {source}. Make one with `plimsoll tls node`", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What the check found.
        source: rustls::Error,
    },
}
