//! Bodies that are read whole: of a known media type, of bounded size, within a deadline.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use plimsoll_wire::problem::Kind;

use crate::http::error::ApiError;

/// The largest body that is read whole (`projections.md`).
const BODY_BYTES_MAX: usize = 1 << 20;

/// A body that takes longer keeps memory busy for little: 1 MiB in this time is 100 KiB a second.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    Ndjson,
}

impl MediaType {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// Refuses a body of another media type, of another charset than UTF-8, or with a content coding.
pub(crate) fn check_media_type(headers: &HeaderMap, wanted: MediaType) -> Result<(), ApiError> {
    let refused = |detail: String| Err(ApiError::new(Kind::UnsupportedMediaType, detail));
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';');
    let is_wanted = parts.next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted.text()));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if !is_wanted || !is_utf8 {
        return refused(format!("the body must be {0}: send `Content-Type: {0}`, in UTF-8", wanted.text()));
    }
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return refused("the body must not be compressed".to_owned());
    }
    Ok(())
}

/// Reads a whole body of JSON. One that is announced to be too large is not begun.
pub(crate) async fn read_whole(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    check_media_type(headers, MediaType::Json)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(BODY_TIME_MAX, collect(body)).await.map_err(|_| {
        ApiError::new(Kind::SlowBody, format!("the body did not arrive within {} seconds", BODY_TIME_MAX.as_secs()))
    })?;
    whole?.ok_or_else(too_large)
}

/// The body; `None` where it is too large. The usual body is one frame, which is not copied.
async fn collect(mut body: Body) -> Result<Option<Bytes>, ApiError> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| unreadable())?.into_data() else { continue };
        if first.len().max(whole.len()) + data.len() > BODY_BYTES_MAX {
            return Ok(None);
        }
        if first.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Some(if whole.is_empty() { first } else { whole.freeze() }))
}

fn too_large() -> ApiError {
    ApiError::new(Kind::TooLarge, format!("the body may have at most {BODY_BYTES_MAX} bytes"))
}

/// The connection broke within the body, or the body's framing is not HTTP.
pub(crate) fn unreadable() -> ApiError {
    ApiError::new(Kind::BadRequest, "the body cannot be read to its end")
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn json_is_json_in_utf8() {
        for good in ["application/json", "Application/JSON ; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(check_media_type(&headers(good), MediaType::Json).is_ok(), "{good}");
        }
        for bad in ["", "text/json", "application/json-patch+json", "application/json; charset=latin1"] {
            let error = check_media_type(&headers(bad), MediaType::Json).unwrap_err();
            assert_eq!(error.kind(), Kind::UnsupportedMediaType, "{bad}");
        }
        assert!(check_media_type(&HeaderMap::new(), MediaType::Json).is_err());
        let mut compressed = headers("application/json");
        compressed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check_media_type(&compressed, MediaType::Json).is_err());
    }

    fn parts(sizes: &[usize]) -> Body {
        let parts: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(stream::iter(parts))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_bound() {
        let json = headers("application/json");
        let half = BODY_BYTES_MAX / 2;
        assert_eq!(read_whole(&json, parts(&[half, 0, half])).await.unwrap().len(), BODY_BYTES_MAX);
        assert_eq!(read_whole(&json, parts(&[half, half, 1])).await.unwrap_err().kind(), Kind::TooLarge);
        let mut announced = json.clone();
        announced.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1048577"));
        let never = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(read_whole(&announced, never).await.unwrap_err().kind(), Kind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_deadline() {
        let never = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        assert_eq!(read_whole(&headers("application/json"), never).await.unwrap_err().kind(), Kind::SlowBody);
    }
}
