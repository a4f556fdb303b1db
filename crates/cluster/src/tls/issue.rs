//! Makes the CA of a cluster, and the certificates of its nodes.
//!
//! Keys are ECDSA's over P-256: small, quick, and known to every tool. Nothing is written here: whoever calls decides
//! where a key may lie.

use std::fmt;
use std::time::Duration;

use plimsoll_domain::timestamp::UnixNanos;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Certificate;

/// The most days a certificate is issued for: a hundred years.
pub const DAYS_MAX: u32 = 36_500;
/// The most characters of a common name: X.520's own bound.
pub const COMMON_NAME_CHARS_MAX: usize = 64;
/// The most hosts of one certificate: every handshake carries them.
pub const HOSTS_MAX: usize = 64;

/// A certificate is valid from so long before it is made, so that a node whose clock is behind takes it at once.
const BACKDATED: Duration = Duration::from_hours(1);

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// A certificate and its key.
pub struct Issued {
    /// The certificate, as PEM.
    pub certificate_pem: String,
    /// Its key, PKCS #8 as PEM, not encrypted: keep it where only its owner can read.
    pub key_pem: String,
    /// The certificate's last moment.
    pub not_after: UnixNanos,
}

impl fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A certificate cannot be issued. Nothing was made; the same call fails again, but for [`IssueError::Failed`].
#[derive(Debug, Error)]
pub enum IssueError {
    /// The CA's name is empty, too long or has control characters.
    #[error("the name of a CA has 1 to 64 characters and no control characters")]
    CommonName,
    /// Too few days or too many.
    #[error("a certificate is valid for 1 to 36500 days, not {days}")]
    Days {
        /// How many were asked for.
        days: u32,
    },
    /// No host is named.
    #[error("a node's certificate needs a host: the name or the address its peers reach it by")]
    NoHosts,
    /// More than [`HOSTS_MAX`] hosts are named.
    #[error("a node's certificate has at most 64 hosts, not {count}")]
    TooManyHosts {
        /// How many were asked for.
        count: usize,
    },
    /// A host is neither an IP address nor a DNS name.
    #[error("{host:?} is neither an IP address nor a DNS name: give it without port, brackets or wildcard")]
    Host {
        /// The host.
        host: String,
    },
    /// The CA's certificate is no certificate.
    #[error("the CA's certificate cannot be read: one at least, as PEM, is needed")]
    CaCertificate,
    /// The CA's key is no key.
    #[error("the CA's key cannot be read: an unencrypted key, PKCS #8 as PEM, is needed")]
    CaKey,
    /// The key belongs to none of the certificates.
    #[error("the CA's key is the key of none of the CA's certificates: are both of the same CA?")]
    CaKeyMismatch,
    /// The certificate that the key belongs to may not sign others.
    #[error("the certificate of {subject} is not a CA's, so it cannot sign others")]
    NotACa {
        /// Whose certificate it is.
        subject: String,
    },
    /// The CA's certificate is over.
    #[error("the CA's certificate expired at {not_after}: make a new CA with `plimsoll tls ca`")]
    CaExpired {
        /// Its last moment.
        not_after: UnixNanos,
    },
    /// The library that makes certificates failed, say for want of entropy.
    #[error("the certificate could not be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// Makes a CA: a certificate that is signed by its own key, and signs those of nodes but of no other CA.
///
/// `common_name` is for people: at most [`COMMON_NAME_CHARS_MAX`] characters. Two CAs may have the same one.
/// `valid_days` is 1 to [`DAYS_MAX`].
///
/// # Errors
/// [`IssueError`].
pub fn ca(common_name: &str, valid_days: u32, now: UnixNanos) -> Result<Issued, IssueError> {
    let chars = common_name.chars().count();
    if chars == 0 || chars > COMMON_NAME_CHARS_MAX || common_name.chars().any(char::is_control) {
        return Err(IssueError::CommonName);
    }
    let key = KeyPair::generate()?;
    let (mut parameters, not_after) = parameters(common_name, valid_days, now, UnixNanos::new(u64::MAX))?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), not_after })
}

/// Makes the certificate of a node, for server and client alike, signed by a CA.
///
/// `ca_certificate_pem` may hold several certificates, as it does while a CA is replaced: the one that `ca_key_pem`
/// belongs to signs. `hosts` are the names and addresses peers reach the node by, 1 to [`HOSTS_MAX`]; the first one
/// becomes its common name. `valid_days` is 1 to [`DAYS_MAX`]; if the CA's certificate ends before, so does this one.
///
/// # Errors
/// [`IssueError`].
pub fn node(
    ca_certificate_pem: &str,
    ca_key_pem: &str,
    hosts: &[String],
    valid_days: u32,
    now: UnixNanos,
) -> Result<Issued, IssueError> {
    let hosts = checked(hosts)?;
    let (issuer, ca_not_after) = issuer(ca_certificate_pem, ca_key_pem, now)?;
    let key = KeyPair::generate()?;
    let short = |host: &&String| host.chars().count() <= COMMON_NAME_CHARS_MAX;
    let common_name = hosts.iter().find(short).map_or("plimsoll node", String::as_str);
    let (mut parameters, not_after) = parameters(common_name, valid_days, now, ca_not_after)?;
    parameters.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), not_after })
}

/// The hosts without repetitions, each in a form that [`Tls::connect`](super::Tls::connect) takes.
fn checked(hosts: &[String]) -> Result<Vec<String>, IssueError> {
    if hosts.is_empty() {
        return Err(IssueError::NoHosts);
    }
    if hosts.len() > HOSTS_MAX {
        return Err(IssueError::TooManyHosts { count: hosts.len() });
    }
    let mut checked: Vec<String> = Vec::new();
    for host in hosts {
        // A name that ends in a dot can be dialled, but none that is dialled equals it.
        if ServerName::try_from(host.as_str()).is_err() || host.ends_with('.') {
            return Err(IssueError::Host { host: host.clone() });
        }
        if !checked.contains(host) {
            checked.push(host.clone());
        }
    }
    Ok(checked)
}

/// The CA whose key this is, and its last moment.
fn issuer(
    certificates_pem: &str,
    key_pem: &str,
    now: UnixNanos,
) -> Result<(Issuer<'static, KeyPair>, UnixNanos), IssueError> {
    let key = KeyPair::from_pem(key_pem).map_err(|_| IssueError::CaKey)?;
    let ders: Vec<_> = CertificateDer::pem_slice_iter(certificates_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| IssueError::CaCertificate)?;
    if ders.is_empty() {
        return Err(IssueError::CaCertificate);
    }
    for der in ders {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| IssueError::CaCertificate)?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            continue;
        }
        let certificate = Certificate::parse(&der).ok_or(IssueError::CaCertificate)?;
        let Certificate { subject, not_after, .. } = certificate;
        if !certificate.is_ca {
            return Err(IssueError::NotACa { subject });
        }
        if now > not_after {
            return Err(IssueError::CaExpired { not_after });
        }
        return Ok((Issuer::from_ca_cert_der(&der, key)?, not_after));
    }
    Err(IssueError::CaKeyMismatch)
}

/// What every certificate has, and its last moment: `not_after_max` at the latest.
fn parameters(
    common_name: &str,
    valid_days: u32,
    now: UnixNanos,
    not_after_max: UnixNanos,
) -> Result<(CertificateParams, UnixNanos), IssueError> {
    if valid_days == 0 || valid_days > DAYS_MAX {
        return Err(IssueError::Days { days: valid_days });
    }
    let length = Duration::from_secs(u64::from(valid_days) * SECONDS_PER_DAY);
    let now = Duration::from_nanos(now.get());
    let last = (now + length).min(Duration::from_nanos(not_after_max.get())).as_secs();
    let first = now.saturating_sub(BACKDATED).as_secs();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + Duration::from_secs(first);
    parameters.not_after = epoch + Duration::from_secs(last);
    Ok((parameters, UnixNanos::new(last.saturating_mul(1_000_000_000))))
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::ParsedExtension;

    use super::*;

    const NOW: UnixNanos = UnixNanos::new(1_776_000_000_123_456_789);
    const DAY: u64 = SECONDS_PER_DAY * 1_000_000_000;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn parsed(issued: &Issued) -> Certificate {
        Certificate::parse(&der(issued)).unwrap()
    }

    fn der(issued: &Issued) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()
    }

    fn seconds(at: u64) -> UnixNanos {
        UnixNanos::new(at / 1_000_000_000 * 1_000_000_000)
    }

    #[test]
    fn a_ca_says_who_it_is_and_until_when() {
        let ca = ca("plimsoll of Tokyo", 10, NOW).unwrap();
        let certificate = parsed(&ca);
        assert_eq!(certificate.subject, "CN=plimsoll of Tokyo");
        assert!(certificate.is_ca && certificate.names.is_empty());
        assert_eq!(certificate.not_after, seconds(NOW.get() + 10 * DAY));
        assert_eq!(certificate.not_after, ca.not_after);
        assert_eq!(certificate.not_before, seconds(NOW.get() - DAY / 24), "a clock that is behind takes it");
        assert!(ca.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn a_certificate_of_a_node_names_its_hosts_and_is_for_both_ends() {
        let ca = ca("ca", 10, NOW).unwrap();
        let names = hosts(&["a.example", "10.0.0.1", "2001:db8::1", "a.example"]);
        let node = node(&ca.certificate_pem, &ca.key_pem, &names, 5, NOW).unwrap();
        let certificate = parsed(&node);
        assert_eq!(certificate.subject, "CN=a.example");
        assert_eq!(certificate.names, ["a.example", "10.0.0.1", "2001:db8::1"]);
        assert!(!certificate.is_ca);
        assert_eq!(certificate.not_after, seconds(NOW.get() + 5 * DAY));
        let der = der(&node);
        let (_, full) = X509Certificate::from_der(&der).unwrap();
        let usage = full.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth && !usage.any && !usage.code_signing);
        let says_no_ca = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::BasicConstraints(constraints) if !constraints.ca);
        assert!(full.extensions().iter().any(|extension| says_no_ca(extension.parsed_extension())));
    }

    #[test]
    fn no_certificate_outlives_its_ca() {
        let ca = ca("ca", 10, NOW).unwrap();
        let issue = |now| node(&ca.certificate_pem, &ca.key_pem, &hosts(&["a"]), 365, now);
        assert_eq!(parsed(&issue(NOW).unwrap()).not_after, ca.not_after);
        assert!(issue(ca.not_after).is_ok());
        let late = issue(UnixNanos::new(ca.not_after.get() + 1));
        assert!(matches!(late, Err(IssueError::CaExpired { not_after }) if not_after == ca.not_after));
    }

    #[test]
    fn of_two_cas_the_one_whose_key_it_is_signs() {
        let (old, new) = (ca("old", 10, NOW).unwrap(), ca("new", 20, NOW).unwrap());
        let both = format!("{}{}", old.certificate_pem, new.certificate_pem);
        for (key, signer) in [(&old.key_pem, "CN=old"), (&new.key_pem, "CN=new")] {
            let node = node(&both, key, &hosts(&["a"]), 1, NOW).unwrap();
            let der = der(&node);
            let (_, full) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(full.issuer().to_string(), signer);
        }
    }

    #[test]
    fn a_long_name_is_among_the_hosts_though_it_cannot_be_the_common_name() {
        let ca = ca("ca", 10, NOW).unwrap();
        let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        let issue = |names: &[&str]| parsed(&node(&ca.certificate_pem, &ca.key_pem, &hosts(names), 1, NOW).unwrap());
        assert_eq!(issue(&[&long, "short.example"]).subject, "CN=short.example");
        let only = issue(&[&long]);
        assert_eq!((only.subject.as_str(), only.names), ("CN=plimsoll node", vec![long]));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for name in ["", "a\nb", &"x".repeat(65)] {
            assert!(matches!(ca(name, 1, NOW), Err(IssueError::CommonName)), "{name:?}");
        }
        assert!(ca(&"x".repeat(64), DAYS_MAX, NOW).is_ok());
        for days in [0, DAYS_MAX + 1] {
            assert!(matches!(ca("ca", days, NOW), Err(IssueError::Days { days: refused }) if refused == days));
        }
        let ca = ca("ca", 10, NOW).unwrap();
        let issue = |names: &[&str]| node(&ca.certificate_pem, &ca.key_pem, &hosts(names), 1, NOW);
        assert!(matches!(issue(&[]), Err(IssueError::NoHosts)));
        assert!(matches!(issue(&["a"; HOSTS_MAX + 1]), Err(IssueError::TooManyHosts { count: 65 })));
        assert!(issue(&["a"; HOSTS_MAX]).is_ok());
        for host in ["", "a b", "*.example", "a:7272", "[::1]", "a.example.", "10.0.0.1/8"] {
            assert!(
                matches!(issue(&["ok", host]), Err(IssueError::Host { host: refused }) if refused == host),
                "{host}"
            );
        }
    }

    #[test]
    fn a_key_signs_only_for_the_ca_it_belongs_to() {
        let (ours, theirs) = (ca("ca", 10, NOW).unwrap(), ca("ca", 10, NOW).unwrap());
        let names = hosts(&["a"]);
        let leaf = node(&ours.certificate_pem, &ours.key_pem, &names, 1, NOW).unwrap();
        let issue = |certificate: &str, key: &str| node(certificate, key, &names, 1, NOW).unwrap_err();
        assert!(matches!(issue(&theirs.certificate_pem, &ours.key_pem), IssueError::CaKeyMismatch));
        assert!(matches!(issue(&leaf.certificate_pem, &leaf.key_pem), IssueError::NotACa { .. }));
        assert!(matches!(issue("", &ours.key_pem), IssueError::CaCertificate));
        assert!(matches!(issue(&ours.certificate_pem, "no key"), IssueError::CaKey));
        assert!(matches!(issue(&ours.certificate_pem, &ours.certificate_pem), IssueError::CaKey));
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_key() {
        let ca = ca("ca", 1, NOW).unwrap();
        assert!(!format!("{ca:?}").contains("PRIVATE KEY"));
    }
}
