//! What a certificate says, and how long it still says so.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plimsoll_domain::timestamp::UnixNanos;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 24 * 60 * 60 * NANOS_PER_SECOND as i128;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, say `CN=tokyo.example`.
    pub subject: String,
    /// The hosts it is valid for, DNS names and IP addresses, in its order. None for a CA, as a rule.
    pub names: Vec<String>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Its first moment, to the second. One before 1970 is taken to 1970.
    pub not_before: UnixNanos,
    /// Its last moment, to the second. One after 2554 is taken to the end of [`UnixNanos`].
    pub not_after: UnixNanos,
    /// The SHA-256 of its bytes, 32 hex pairs with colons between: as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
}

impl Certificate {
    /// Reads a certificate's DER; `None` if it is none.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let alternatives = parsed.subject_alternative_name().ok()?;
        Some(Self {
            subject: parsed.subject().to_string(),
            names: alternatives.iter().flat_map(|found| &found.value.general_names).filter_map(host).collect(),
            is_ca: parsed.is_ca(),
            not_before: unix_nanos(parsed.validity().not_before),
            not_after: unix_nanos(parsed.validity().not_after),
            fingerprint: fingerprint(der),
        })
    }

    /// How many whole days it is still valid after `now`: 0 on its last day, below 0 once it has expired.
    #[must_use]
    pub fn days_left(&self, now: UnixNanos) -> i64 {
        let left = i128::from(self.not_after.get()) - i128::from(now.get());
        i64::try_from(left.div_euclid(NANOS_PER_DAY)).expect("64 bits of nanoseconds are 213,504 days")
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)).to_string()),
        },
        _ => None,
    }
}

fn unix_nanos(time: ASN1Time) -> UnixNanos {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UnixNanos::new(seconds.saturating_mul(NANOS_PER_SECOND))
}

fn fingerprint(der: &[u8]) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3, by its name");
    let digest = suite.common.hash_provider.hash(der);
    let mut text = String::new();
    for byte in digest.as_ref() {
        let colon = if text.is_empty() { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("writing to a string does not fail");
    }
    text
}

/// How urgent it is to replace a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It has less than 30 days left.
    Notice,
    /// It has less than 7 days left.
    Warning,
    /// It has less than a day left.
    Critical,
    /// It has expired: peers refuse it.
    Expired,
}

impl Severity {
    /// Its name, for logs and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Expired => "expired",
        }
    }
}

/// What to make of so many whole days left, as [`Certificate::days_left`] counts them; `None` while there is time.
#[must_use]
pub const fn warning_of(days_left: i64) -> Option<Severity> {
    match days_left {
        ..0 => Some(Severity::Expired),
        0 => Some(Severity::Critical),
        1..7 => Some(Severity::Warning),
        7..30 => Some(Severity::Notice),
        30.. => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;

    fn ending(not_after: u64) -> Certificate {
        Certificate {
            subject: "CN=a".to_owned(),
            names: Vec::new(),
            is_ca: false,
            not_before: UnixNanos::new(0),
            not_after: UnixNanos::new(not_after),
            fingerprint: String::new(),
        }
    }

    #[test]
    fn days_left_are_whole_days_and_go_below_zero() {
        let certificate = ending(100 * DAY);
        for (now, expected) in [
            (0, 100),
            (1, 99),
            (99 * DAY, 1),
            (99 * DAY + 1, 0),
            (100 * DAY, 0),
            (100 * DAY + 1, -1),
            (101 * DAY, -1),
            (101 * DAY + 1, -2),
        ] {
            assert_eq!(certificate.days_left(UnixNanos::new(now)), expected, "{now}");
        }
        assert!(ending(0).days_left(UnixNanos::new(u64::MAX)) < -213_000);
        assert!(ending(u64::MAX).days_left(UnixNanos::new(0)) > 213_000);
    }

    #[test]
    fn a_warning_grows_with_each_step() {
        for (days_left, expected) in [
            (31, None),
            (30, None),
            (29, Some(Severity::Notice)),
            (7, Some(Severity::Notice)),
            (6, Some(Severity::Warning)),
            (1, Some(Severity::Warning)),
            (0, Some(Severity::Critical)),
            (-1, Some(Severity::Expired)),
            (i64::MIN, Some(Severity::Expired)),
            (i64::MAX, None),
        ] {
            assert_eq!(warning_of(days_left), expected, "{days_left}");
        }
    }

    #[test]
    fn a_fingerprint_is_a_sha_256() {
        let of_nothing = fingerprint(b"");
        assert!(of_nothing.starts_with("E3:B0:C4:42:98:FC:1C:14:"), "{of_nothing}");
        assert_eq!(of_nothing.len(), 32 * 3 - 1);
    }

    #[test]
    fn what_is_no_certificate_is_not_read_as_one() {
        assert_eq!(Certificate::parse(b""), None);
        assert_eq!(Certificate::parse(b"\x30\x03\x02\x01\x01"), None);
    }
}
