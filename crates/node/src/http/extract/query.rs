//! Paths and query strings.

use std::borrow::Cow;

use http::Uri;
use plimsoll_domain::id::ArtifactId;
use plimsoll_wire::problem::Kind;

use crate::http::error::ApiError;

/// More of a name a client made up is not told back.
const NAME_CHARACTERS_MAX: usize = 64;

/// The artifact a path names, in the segment after `/projections/`.
///
/// The router has matched the path as it was sent. So an id may hold an encoded `/`, and one that is named like a
/// route (`changes`, `cursors`, `transitions`) is reached with one of its letters encoded.
pub(crate) fn artifact_in_path(uri: &Uri) -> Result<ArtifactId, ApiError> {
    let rest = uri.path().split_once("/projections/").map_or("", |(_, rest)| rest);
    let segment = rest.split_once('/').map_or(rest, |(segment, _)| segment);
    let text = decode(segment, Plus::IsItself).map_err(|broken| ApiError::bad_request("artifact_id", broken.what()))?;
    ArtifactId::parse(text)
        .map_err(|rule| ApiError::new(Kind::InvalidField, format!("artifact_id {rule}")).in_field("artifact_id"))
}

/// What a segment of a path says, where it can be read. It need not be an artifact's id.
pub(crate) fn segment_text(segment: &str) -> Option<Cow<'_, str>> {
    decode(segment, Plus::IsItself).ok()
}

/// The parameters of a query string, all of them known.
pub(crate) struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query string that may have the parameters `known`, each once.
    pub(crate) fn parse(uri: &'a Uri, known: &[&'static str]) -> Result<Self, ApiError> {
        let mut parameters = Vec::new();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, Plus::IsSpace).map_err(|broken| bad_query(&format!("a name {}", broken.what())))?;
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(unknown(&name, known));
            };
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(ApiError::bad_request(name, "stands in the query more than once"));
            }
            let value = decode(value, Plus::IsSpace).map_err(|broken| ApiError::bad_request(name, broken.what()))?;
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// Refuses every parameter.
    pub(crate) fn none(uri: &Uri) -> Result<(), ApiError> {
        match uri.query() {
            None => Ok(()),
            Some(_) => Query::parse(uri, &[]).map(|_| ()),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

fn unknown(name: &str, known: &[&str]) -> ApiError {
    let name: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bad_query(&format!("there is no parameter {name:?} here; known are: {known}")).in_field(name)
}

fn bad_query(detail: &str) -> ApiError {
    ApiError::new(Kind::BadRequest, format!("the query cannot be read: {detail}"))
}

/// What a `+` stands for: HTML forms write a space so, paths do not.
#[derive(Clone, Copy)]
enum Plus {
    IsItself,
    IsSpace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Encoding,
    Utf8,
}

impl Broken {
    const fn what(self) -> &'static str {
        match self {
            Self::Encoding => "is not percent-encoded: a '%' needs two hex digits after it",
            Self::Utf8 => "is not UTF-8 when it is percent-decoded",
        }
    }
}

fn decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, Broken> {
    let is_special = |byte: &u8| *byte == b'%' || (*byte == b'+' && matches!(plus, Plus::IsSpace));
    if !text.bytes().any(|byte| is_special(&byte)) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(Broken::Encoding);
                u8::try_from(digit()? << 4 | digit()?).map_err(|_| Broken::Encoding)?
            }
            b'+' if is_special(&byte) => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Broken::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(path: &str) -> Result<String, (Kind, Option<String>)> {
        artifact_in_path(&path.parse().unwrap()).map(String::from).map_err(|error| (error.kind(), error.problem.field))
    }

    #[test]
    fn a_path_names_an_artifact() {
        for (path, expected) in [
            ("/projections/spec-login", "spec-login"),
            ("/projections/acme%2Fweb%20spec/cursor", "acme/web spec"),
            ("/projections/gr%C3%B6%c3%9fe/transitions?limit=1", "größe"),
            ("/projections/a+b", "a+b"),
            ("/projections/%63hanges", "changes"),
            ("/base/projections/x/cursor", "x"),
        ] {
            assert_eq!(artifact(path), Ok(expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_path_that_names_none_is_refused() {
        let field = Some("artifact_id".to_owned());
        for path in
            ["/projections/%", "/projections/%4", "/projections/%zz/cursor", "/projections/%ff", "/projections/%+1"]
        {
            assert_eq!(artifact(path), Err((Kind::BadRequest, field.clone())), "{path}");
        }
        for path in ["/projections/%00", "/projections/%0A/cursor", &format!("/projections/{}", "a".repeat(257))] {
            assert_eq!(artifact(path), Err((Kind::InvalidField, field.clone())), "{path}");
        }
    }

    #[test]
    fn a_query_holds_known_parameters_once() {
        let uri: Uri = "/projections?status=in+review%2B&limit=".parse().unwrap();
        let query = Query::parse(&uri, &["status", "limit", "page"]).unwrap();
        assert_eq!((query.get("status"), query.get("limit"), query.get("page")), (Some("in review+"), Some(""), None));
        for (uri, field) in [
            ("/?a=1&a=2", Some("a")),
            ("/?b=1", Some("b")),
            ("/?a=%f", Some("a")),
            ("/?%ff", None),
            ("/?%61=%ff", Some("a")),
        ] {
            let uri = uri.parse().unwrap();
            let error = Query::parse(&uri, &["a"]).err().expect("the query is refused");
            assert_eq!((error.kind(), error.problem.field.as_deref()), (Kind::BadRequest, field), "{uri}");
        }
        assert!(Query::none(&"/?".parse().unwrap()).is_ok());
        assert!(Query::none(&"/?x".parse().unwrap()).is_err());
    }
}
