//! JSON bodies: parsed once when they are right; looked at again, to say what is wrong, only when they are not.

use plimsoll_domain::projection::Submission;
use plimsoll_wire::http::v1::PostTransition;
use plimsoll_wire::problem::Kind;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::http::error::ApiError;

/// More of what a client made up is not told back.
const DETAIL_CHARACTERS_MAX: usize = 300;

/// Reads a transition, whole and valid.
pub(crate) fn submission(text: &[u8]) -> Result<Submission, ApiError> {
    let post: PostTransition = from_json(text)?;
    Ok(Submission::parse(post.into())?)
}

/// Reads a JSON object.
pub(crate) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    // A derived reader of a struct would take an array, too.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(explain::<T>(text));
    }
    serde_json::from_slice(text).map_err(|_| explain::<T>(text))
}

/// Why a text is not a `T`. What is not JSON at all is said to be that, whatever else is wrong before.
fn explain<T: DeserializeOwned>(text: &[u8]) -> ApiError {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return not_json(&error);
    }
    if text.trim_ascii_start().first() != Some(&b'{') {
        return ApiError::new(Kind::InvalidField, "the body must be a JSON object");
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) if error.inner().is_data() => {
            let message = error.inner().to_string();
            let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            let field = field(&error.path().to_string(), message);
            ApiError::new(Kind::InvalidField, shorten(&format!("{field}: {message}"))).in_field(shorten(&field))
        }
        Err(error) => not_json(error.inner()),
        Ok(_) => ApiError::new(Kind::NotJson, "the body is not one JSON text"),
    }
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(Kind::NotJson, shorten(&format!("the body is not JSON: {error}")))
}

/// The field an error is about: the path to it, and the name in the message where the path ends at its object.
fn field(path: &str, message: &str) -> String {
    let object = path.trim_end_matches(['.', '?']);
    let name = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| name);
    match name {
        None => object.to_owned(),
        Some(name) if object.is_empty() => name.to_owned(),
        Some(name) if object == name || object.ends_with(&format!(".{name}")) => object.to_owned(),
        Some(name) => format!("{object}.{name}"),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"artifact_id":"a","transition_id":"t","status":"s","produced_refs":[
        {"kind":"pending","target_repo":"r","idempotency_key":"k"},
        {"kind":"resolved","target_repo":"r","idempotency_key":"k","number":1,"url":"u",
            "created_at":"2026-04-22T18:04:11Z"}
    ]}"#;

    fn refusal(text: &str) -> (Kind, String) {
        let error = submission(text.as_bytes()).expect_err("the text is refused");
        (error.kind(), error.problem.field.unwrap_or_default())
    }

    #[test]
    fn what_is_right_is_read() {
        assert!(submission(GOOD.as_bytes()).is_ok());
        assert!(submission(GOOD.replace("]}", r#"],"committed_version":null}"#).as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_json_is_said_to_be_that() {
        for text in ["", " ", "{", "nonsense", "{\"a\":}", "\u{feff}{}", &format!("{GOOD} x"), r#"{"unknown": "#] {
            assert_eq!(refusal(text).0, Kind::NotJson, "{text}");
        }
        assert_eq!(submission(b"{\"artifact_id\":\"\xff\"}").unwrap_err().kind(), Kind::NotJson);
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (from, to, field) in [
            (r#""status":"s","#, "", "status"),
            (r#""status":"s""#, r#""status":"s","status":"s""#, "status"),
            (r#""status":"s""#, r#""status":1"#, "status"),
            (r#""status":"s""#, r#""status":null"#, "status"),
            (r#""status":"s""#, r#""status":"s","extra":1"#, "extra"),
            (r#""status":"s""#, r#""status":"s","committed_version":7"#, "committed_version"),
            (r#""status":"s""#, r#""status":"s","committed_version":"x""#, "committed_version"),
            (r#""status":"s""#, r#""status":"""#, "status"),
            (r#""pending""#, r#""open""#, "produced_refs[0].kind"),
            (r#""kind":"pending","#, "", "produced_refs[0].kind"),
            (r#""pending""#, r#""resolved""#, "produced_refs[0].number"),
            (r#""resolved""#, r#""pending""#, "produced_refs[1].number"),
            (r#""number":1"#, r#""number":"1""#, "produced_refs[1].number"),
            (r#""number":1"#, r#""number":0"#, "produced_refs[1].number"),
            (r#""number":1"#, r#""number":-1"#, "produced_refs[1].number"),
            (r#""number":1"#, r#""number":1,"more":1"#, "produced_refs[1].more"),
            (r#""number":1"#, r#""number":1,"number":1"#, "produced_refs[1].number"),
            (r#"{"kind":"pending","target_repo":"r","idempotency_key":"k"}"#, "[]", "produced_refs[0]"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(refusal(&text), (Kind::InvalidField, field.to_owned()), "{text}");
        }
        for text in ["[]", "1", "\"x\"", "null", r#"["a","t","s",[]]"#] {
            assert_eq!(refusal(text), (Kind::InvalidField, String::new()), "{text}");
        }
    }

    #[test]
    fn a_refusal_does_not_tell_back_all_that_was_sent() {
        let error = submission(format!(r#"{{"{}":1}}"#, "x".repeat(100_000)).as_bytes()).unwrap_err();
        assert!(serde_json::to_vec(&error.problem).unwrap().len() < 2_000);
    }
}
