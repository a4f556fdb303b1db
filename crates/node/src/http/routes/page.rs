//! The parameters `limit` and `page` of lists. A page is opaque to clients; inside, it is the name of the last item
//! before it, in hex digits, after a letter for the kind of list.

use crate::http::error::ApiError;
use crate::http::extract::Query;

const LIMIT_DEFAULT: usize = 100;

/// The largest page (`projections.md` states none): a thousand lines of a listing are some hundred kilobytes.
const LIMIT_MAX: usize = 1_000;

/// Which list a page is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    History,
    Projections,
}

impl List {
    const fn letter(self) -> char {
        match self {
            Self::History => 'h',
            Self::Projections => 'p',
        }
    }
}

/// How many items a page may hold.
pub(super) fn limit(query: &Query<'_>) -> Result<usize, ApiError> {
    let Some(text) = query.get("limit") else { return Ok(LIMIT_DEFAULT) };
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(ApiError::bad_request("limit", format_args!("must be 1 to {LIMIT_MAX}"))),
    }
}

/// The item before the page that is asked for, as `parse` reads its name.
pub(super) fn page<Place>(
    query: &Query<'_>,
    list: List,
    parse: impl FnOnce(&str) -> Option<Place>,
) -> Result<Option<Place>, ApiError> {
    let Some(text) = query.get("page") else { return Ok(None) };
    match decode(list, text).and_then(|name| parse(&name)) {
        Some(place) => Ok(Some(place)),
        None => Err(ApiError::bad_request("page", "must be the `next` of the page before, of the same list")),
    }
}

/// The page after the item with this name.
pub(super) fn encode(list: List, name: &str) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("four bits are a hex digit");
    let digits = name.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    std::iter::once(list.letter()).chain(digits).collect()
}

fn decode(list: List, page: &str) -> Option<String> {
    let digits = page.strip_prefix(list.letter())?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    let bytes: Option<Vec<u8>> =
        digits.chunks_exact(2).map(|pair| u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_one_list() {
        for name in ["", "a", "grüße/x"] {
            let page = encode(List::Projections, name);
            assert!(page.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{page}");
            assert_eq!(decode(List::Projections, &page).as_deref(), Some(name));
            assert_eq!(decode(List::History, &page), None);
        }
        for page in ["", "x", "p6", "p6G", "p6A", "pff"] {
            assert_eq!(decode(List::Projections, page), None, "{page}");
        }
    }

    #[test]
    fn a_limit_is_bounded() {
        for (uri, expected) in [
            ("/", Some(100)),
            ("/?limit=1", Some(1)),
            ("/?limit=1000", Some(1000)),
            ("/?limit=0", None),
            ("/?limit=1001", None),
            ("/?limit=-1", None),
            ("/?limit=%2B1", None),
            ("/?limit=", None),
        ] {
            let uri = uri.parse().unwrap();
            let query = Query::parse(&uri, &["limit"]).unwrap();
            assert_eq!(limit(&query).ok(), expected, "{uri}");
        }
    }
}
