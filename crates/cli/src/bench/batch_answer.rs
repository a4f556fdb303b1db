//! The lines of a batch's answer.

use super::wire::BatchLine;

/// The status of a line, or `None` where the line is not one of a batch's answer.
///
/// Servers write the status first; reading those few bytes spares the generator a JSON parser in most lines. A line that
/// begins otherwise is parsed.
pub(crate) fn status(line: &[u8]) -> Option<u16> {
    quick_status(line).or_else(|| serde_json::from_slice::<BatchLine>(line).ok().map(|line| line.status))
}

fn quick_status(line: &[u8]) -> Option<u16> {
    let digits = line.strip_prefix(br#"{"status":"#)?.trim_ascii_start().get(..4)?;
    let (digits, after) = digits.split_at(3);
    if after != b"," {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The lines of an answer, without the empty one after the last newline.
pub(crate) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_line_is_found_wherever_it_stands() {
        let problem = r#"{"type":"t","title":"t","status":409,"detail":"d"}"#;
        for line in [
            format!(r#"{{"status":409,"body":{problem}}}"#),
            format!(r#"{{"status": 409, "body": {problem}}}"#),
            format!(r#"{{"body":{problem},"status":409}}"#),
        ] {
            assert_eq!(status(line.as_bytes()), Some(409), "{line}");
        }
        assert_eq!(status(b"nonsense"), None);
        assert_eq!(status(br#"{"status":"#), None);
        assert_eq!(lines(b"a\nb\n").count(), 2);
    }
}
