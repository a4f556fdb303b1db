//! Where requests go: the host, the head lines that every request shares, and who is asking.

use anyhow::{Context as _, Result, bail};
use axum::http::Uri;

/// A server to load.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The URL as it was given.
    pub(crate) url: String,
    /// The host to connect to.
    pub(crate) host: String,
    /// The port to connect to.
    pub(crate) port: u16,
    /// What stands before `/projections` in a path: empty, or begins with a slash and does not end with one.
    pub(crate) prefix: String,
    /// `Host`, and `Authorization` where there is a token: whole header lines.
    pub(crate) header_lines: String,
}

impl Target {
    /// Parses a `http://` URL. `token` becomes a bearer token.
    pub(crate) fn parse(url: &str, token: Option<&str>) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => bail!("bench speaks plain HTTP only: measure the node itself, not TLS ({url})"),
            _ => bail!("{url} must begin with http://"),
        }
        let authority = uri.authority().with_context(|| format!("{url} names no host"))?;
        let mut header_lines = format!("Host: {authority}\r\n");
        if let Some(token) = token {
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                bail!("a token has printable ASCII characters only");
            }
            header_lines.push_str("Authorization: Bearer ");
            header_lines.push_str(token);
            header_lines.push_str("\r\n");
        }
        Ok(Self {
            url: url.to_owned(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            header_lines,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_prefix_and_header_lines() {
        let target = Target::parse("http://[::1]:7171/tenant/", Some("abc")).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.prefix.as_str()), ("::1", 7171, "/tenant"));
        assert_eq!(target.header_lines, "Host: [::1]:7171\r\nAuthorization: Bearer abc\r\n");
        let target = Target::parse("http://node.example", None).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.prefix.as_str()), ("node.example", 80, ""));
    }

    #[test]
    fn what_it_cannot_load_is_refused() {
        for url in ["https://node.example", "node.example:80", "ftp://node.example", "http://"] {
            assert!(Target::parse(url, None).is_err(), "{url}");
        }
        assert!(Target::parse("http://node.example", Some("a\r\nb")).is_err());
    }
}
