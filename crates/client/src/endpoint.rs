//! One node's address, and how paths and queries are written for it.
//!
//! An artifact id may hold any character but controls, a `/` and a `?` among them, so everything outside RFC 3986's
//! unreserved set is percent-encoded.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::builder::ConfigError;
use crate::error::Cause;

/// No node's address is longer; what is, was meant as something else.
const URL_BYTES_MAX: usize = 2_048;

/// Where one node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    authority: Authority,
    /// The path before every route: empty, or beginning with `/` and not ending so.
    prefix: String,
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::InvalidUrl { url: url.chars().take(URL_BYTES_MAX).collect() };
        if url.len() > URL_BYTES_MAX {
            return Err(invalid());
        }
        let parts = url.parse::<Uri>().map_err(|_| invalid())?.into_parts();
        match parts.scheme.as_ref().map(Scheme::as_str) {
            Some("http") => {}
            Some("https") => return Err(ConfigError::HttpsNotSupported { url: url.to_owned() }),
            _ => return Err(invalid()),
        }
        let authority = parts.authority.ok_or_else(invalid)?;
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if authority.as_str().contains('@') || authority.host().is_empty() || path.query().is_some() {
            return Err(invalid());
        }
        Ok(Self { authority, prefix: path.path().trim_end_matches('/').to_owned() })
    }

    /// The whole URI of a path (and query) that begins with `/` and is encoded already.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, Cause> {
        debug_assert!(path.starts_with('/'), "a path begins with a slash: {path}");
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build()
            .map_err(|_| Cause::InvalidArgument { argument: "the request's path", rule: "it is too long" })
    }
}

/// What follows `/projections/` in routes that are not an artifact's. An artifact that bears such a name is still
/// reached: a node matches routes before it decodes, so one encoded letter keeps the two apart.
const ROUTE_NAMES: &[&str] = &["changes", "cursors", "transitions"];

/// The path of an artifact's projection.
pub(crate) fn projection_path(artifact_id: &str) -> Result<String, Cause> {
    if artifact_id.is_empty() {
        // An empty segment would name the listing.
        return Err(Cause::InvalidArgument { argument: "the artifact id", rule: "it is empty" });
    }
    let mut path = "/projections/".to_owned();
    // Intermediaries remove segments of dots (RFC 3986, section 5.2.4).
    let is_dots = matches!(artifact_id, "." | "..");
    if is_dots {
        artifact_id.bytes().for_each(|byte| push_encoded(&mut path, byte));
    } else if ROUTE_NAMES.contains(&artifact_id) {
        push_encoded(&mut path, artifact_id.as_bytes()[0]);
        path.push_str(&artifact_id[1..]);
    } else {
        push_component(&mut path, artifact_id);
    }
    Ok(path)
}

/// Adds `name=value` to a path's query.
pub(crate) fn push_query(path: &mut String, name: &str, value: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    path.push('=');
    push_component(path, value);
}

fn push_component(text: &mut String, component: &str) {
    for byte in component.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => push_encoded(text, byte),
        }
    }
}

fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_path(artifact_id: &str, expected: &str) {
        assert_eq!(projection_path(artifact_id).unwrap(), expected);
    }

    #[test]
    fn an_artifact_id_is_one_path_segment() {
        check_path("spec-login_flow.v1~", "/projections/spec-login_flow.v1~");
        check_path("acme/web spec?#%", "/projections/acme%2Fweb%20spec%3F%23%25");
        check_path("größe", "/projections/gr%C3%B6%C3%9Fe");
    }

    #[test]
    fn an_artifact_named_as_a_route_or_as_dots_is_still_one_artifact() {
        check_path("changes", "/projections/%63hanges");
        check_path("transitions", "/projections/%74ransitions");
        check_path("changes2", "/projections/changes2");
        check_path(".", "/projections/%2E");
        check_path("..", "/projections/%2E%2E");
        check_path("...", "/projections/...");
    }

    #[test]
    fn an_empty_artifact_id_never_becomes_the_listing() {
        assert!(matches!(projection_path(""), Err(Cause::InvalidArgument { .. })));
    }

    #[test]
    fn queries_are_joined_and_encoded() {
        let mut path = "/projections".to_owned();
        push_query(&mut path, "status", "in review&done");
        push_query(&mut path, "limit", "5");
        assert_eq!(path, "/projections?status=in%20review%26done&limit=5");
    }

    #[test]
    fn a_url_is_plain_http_and_may_have_a_prefix() {
        let uri = |url: &str| Endpoint::parse(url).unwrap().uri("/healthz").unwrap().to_string();
        assert_eq!(uri("http://127.0.0.1:7171"), "http://127.0.0.1:7171/healthz");
        assert_eq!(uri("http://[::1]:7171/"), "http://[::1]:7171/healthz");
        assert_eq!(uri("http://gate.example/plimsoll/"), "http://gate.example/plimsoll/healthz");
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        assert!(matches!(Endpoint::parse("https://plimsoll.example"), Err(ConfigError::HttpsNotSupported { .. })));
        for url in ["", "127.0.0.1:7171", "/projections", "ftp://a", "http://user@a", "http://a?b=c", "http://"] {
            assert!(matches!(Endpoint::parse(url), Err(ConfigError::InvalidUrl { .. })), "{url}");
        }
        let long = format!("http://{}", "a".repeat(URL_BYTES_MAX));
        assert!(matches!(Endpoint::parse(&long), Err(ConfigError::InvalidUrl { .. })));
    }

    proptest! {
        #[test]
        fn decoding_gives_the_artifact_id_back(artifact_id in "[^\\p{Cc}]{1,64}") {
            let path = projection_path(&artifact_id).unwrap();
            let segment = path.strip_prefix("/projections/").unwrap();
            prop_assert!(!segment.contains(['/', '?', '#']));
            let mut decoded = Vec::new();
            let mut bytes = segment.bytes();
            while let Some(byte) = bytes.next() {
                if byte == b'%' {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                } else {
                    decoded.push(byte);
                }
            }
            prop_assert_eq!(String::from_utf8(decoded).unwrap(), artifact_id);
        }
    }
}
