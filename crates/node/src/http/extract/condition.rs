//! Conditional requests (RFC 9110, section 13). An entity tag is an artifact's token in double quotes.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use plimsoll_domain::projection::{Expectation, Token};

use crate::http::error::ApiError;

/// What `If-Match` or `If-None-Match` holds.
enum Tags<'a> {
    Any,
    List(Vec<Tag<'a>>),
}

struct Tag<'a> {
    is_weak: bool,
    text: &'a [u8],
}

/// What the headers of a write expect of the artifact.
pub(crate) fn expectation(headers: &HeaderMap) -> Result<Expectation, ApiError> {
    let matching = tags(headers, &header::IF_MATCH)?;
    let none_matching = tags(headers, &header::IF_NONE_MATCH)?;
    match (matching, none_matching) {
        (None, None) => Ok(Expectation::Any),
        (Some(Tags::Any), None) => Ok(Expectation::Present),
        (Some(Tags::List(tags)), None) => {
            let strong = tags.iter().filter(|tag| !tag.is_weak);
            let tokens = strong.filter_map(|tag| Token::parse(std::str::from_utf8(tag.text).ok()?).ok());
            Ok(Expectation::OneOf(tokens.collect()))
        }
        (None, Some(Tags::Any)) => Ok(Expectation::Absent),
        (None, Some(Tags::List(_))) => Err(ApiError::bad_request("if-none-match", "can only be * on this route")),
        (Some(_), Some(_)) => Err(ApiError::bad_request("if-none-match", "cannot be sent together with if-match")),
    }
}

/// Whether `If-None-Match` is there and a representation with this token would have to be sent again: `true` means
/// that the client has what there is.
pub(crate) fn matches_none(headers: &HeaderMap, token: &str) -> Result<bool, ApiError> {
    let Some(first) = headers.get(header::IF_NONE_MATCH) else { return Ok(false) };
    let is_token = |tag: &[u8]| tag == token.as_bytes();
    if first.as_bytes().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).is_some_and(is_token) {
        return Ok(true);
    }
    Ok(match tags(headers, &header::IF_NONE_MATCH)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::List(tags)) => tags.iter().any(|tag| is_token(tag.text)),
    })
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Tags<'a>>, ApiError> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes).peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut list = Vec::new();
    for line in lines {
        if line.trim_ascii() == b"*" && headers.get_all(name).iter().count() == 1 {
            return Ok(Some(Tags::Any));
        }
        let malformed = || {
            ApiError::bad_request(
                name.as_str(),
                "must be * or a list of entity tags, each in double quotes, with commas between",
            )
        };
        push_tags(line, &mut list).ok_or_else(malformed)?;
    }
    Ok(Some(Tags::List(list)))
}

/// Reads `#entity-tag`; `None` for anything else.
fn push_tags<'a>(line: &'a [u8], list: &mut Vec<Tag<'a>>) -> Option<()> {
    let mut rest = line.trim_ascii();
    if rest.is_empty() {
        return None;
    }
    loop {
        rest = rest.trim_ascii_start();
        // Empty elements are allowed (RFC 9110, section 5.6.1.2).
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Some(());
        }
        let (is_weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let text = &inner[..end];
        if !text.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
            return None;
        }
        list.push(Tag { is_weak, text });
        rest = inner[end + 1..].trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        lines.iter().fold(HeaderMap::new(), |mut headers, (name, text)| {
            headers.append(HeaderName::from_static(name), value(text));
            headers
        })
    }

    #[test]
    fn a_write_may_expect() {
        let token = Token::parse(TOKEN).unwrap();
        let quoted = format!("\"{TOKEN}\"");
        for (lines, expected) in [
            (vec![], Expectation::Any),
            (vec![("if-match", "*")], Expectation::Present),
            (vec![("if-none-match", " * ")], Expectation::Absent),
            (vec![("if-match", &*quoted)], Expectation::OneOf(vec![token])),
            (vec![("if-match", &*format!(", \"x\" ,{quoted},"))], Expectation::OneOf(vec![token])),
            (vec![("if-match", "\"x\""), ("if-match", &*quoted)], Expectation::OneOf(vec![token])),
            (vec![("if-match", &*format!("W/{quoted}"))], Expectation::OneOf(vec![])),
        ] {
            assert_eq!(expectation(&headers(&lines)).unwrap(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_malformed_condition_is_refused() {
        for lines in [
            vec![("if-match", TOKEN)],
            vec![("if-match", "")],
            vec![("if-match", "\"x")],
            vec![("if-match", "\"x\" \"y\"")],
            vec![("if-match", "\"x\", *")],
            vec![("if-match", "*"), ("if-match", "*")],
            vec![("if-match", "w/\"x\"")],
            vec![("if-match", "\"a b\"")],
            vec![("if-none-match", "\"x\"")],
            vec![("if-match", "*"), ("if-none-match", "*")],
        ] {
            let error = expectation(&headers(&lines)).unwrap_err();
            assert_eq!(error.kind(), plimsoll_wire::problem::Kind::BadRequest, "{lines:?}");
        }
    }

    #[test]
    fn a_reader_may_have_what_there_is() {
        let quoted = format!("\"{TOKEN}\"");
        for (line, expected) in [
            (&*quoted, true),
            (&*format!("W/{quoted}"), true),
            (&*format!("\"x\", {quoted}"), true),
            ("*", true),
            ("\"x\"", false),
        ] {
            assert_eq!(matches_none(&headers(&[("if-none-match", line)]), TOKEN).unwrap(), expected, "{line}");
        }
        assert!(!matches_none(&HeaderMap::new(), TOKEN).unwrap());
        assert!(matches_none(&headers(&[("if-none-match", TOKEN)]), TOKEN).is_err());
    }
}
