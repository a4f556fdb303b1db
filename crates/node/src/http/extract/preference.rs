//! `Prefer: wait` (RFC 7240) and `Plimsoll-Ack`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::error::ApiError;

/// The longest a request waits (`projections.md`).
const WAIT_SECONDS_MAX: u64 = 60;

static PREFER: HeaderName = HeaderName::from_static("prefer");
static PLIMSOLL_ACK: HeaderName = HeaderName::from_static("plimsoll-ack");

/// How long a client is ready to wait, as far as the node goes along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    seconds: u64,
}

impl Wait {
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The value of `Preference-Applied`.
    pub(crate) fn applied(self) -> HeaderValue {
        HeaderValue::try_from(format!("wait={}", self.seconds)).expect("digits are visible ASCII")
    }
}

/// The wait a client prefers. As RFC 7240 has it, the first one counts, and a preference that cannot be read is none.
pub(crate) fn preferred_wait(headers: &HeaderMap) -> Option<Wait> {
    let lines = headers.get_all(&PREFER).iter().filter_map(|line| line.to_str().ok());
    let preferences =
        lines.flat_map(|line| line.split(',')).map(|preference| preference.split(';').next().unwrap_or(""));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    });
    let digits = waits.next()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse().unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX);
    Some(Wait { seconds })
}

/// How many members' disks a write is to reach before the answer; 1 where the header is not sent.
pub(crate) fn acknowledgements(headers: &HeaderMap) -> Result<u32, ApiError> {
    let mut lines = headers.get_all(&PLIMSOLL_ACK).iter();
    let Some(line) = lines.next() else { return Ok(1) };
    let digits = line.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    match (number, lines.next()) {
        (Some(number), None) => Ok(number),
        _ => Err(ApiError::bad_request("plimsoll-ack", "must be one number of members")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn the_first_wait_counts_and_is_bounded() {
        for (lines, expected) in [
            (vec!["wait=5"], Some(5)),
            (vec!["respond-async, Wait = \"7\"; foo=bar, wait=9"], Some(7)),
            (vec!["return=minimal", "wait=3"], Some(3)),
            (vec!["wait=0"], Some(0)),
            (vec!["wait=61"], Some(60)),
            (vec!["wait=99999999999999999999999"], Some(60)),
            (vec!["wait=-1"], None),
            (vec!["wait=+1"], None),
            (vec!["wait"], None),
            (vec!["wait=x, wait=4"], None),
            (vec![], None),
        ] {
            let wait = preferred_wait(&headers(&PREFER, &lines));
            assert_eq!(wait.map(|wait| wait.seconds), expected, "{lines:?}");
        }
    }

    #[test]
    fn acknowledgements_are_a_number() {
        for (lines, expected) in [(vec![], Some(1)), (vec!["0"], Some(0)), (vec!["3"], Some(3))] {
            assert_eq!(acknowledgements(&headers(&PLIMSOLL_ACK, &lines)).ok(), expected, "{lines:?}");
        }
        for lines in [vec![""], vec!["-1"], vec!["+1"], vec!["all"], vec!["4294967296"], vec!["1", "1"]] {
            assert!(acknowledgements(&headers(&PLIMSOLL_ACK, &lines)).is_err(), "{lines:?}");
        }
    }
}
