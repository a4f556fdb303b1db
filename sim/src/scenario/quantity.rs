//! Durations, rates and parts as people write them.

use std::time::Duration;

/// What a duration must be; for the text of a rule.
pub(crate) const DURATION: &str = "a duration in whole milliseconds, as \"250ms\", \"1.5s\", \"2m\" or \"1h\"";

/// What a bandwidth must be.
pub(crate) const BANDWIDTH: &str = "a bandwidth, as \"500kB/s\", \"10MB/s\" or \"100Mbit/s\"";

const UNITS_MS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

const UNITS_BANDWIDTH: [(&str, f64); 7] = [
    ("kbit/s", 125.0),
    ("Mbit/s", 125_000.0),
    ("Gbit/s", 125_000_000.0),
    ("kB/s", 1_000.0),
    ("MB/s", 1_000_000.0),
    ("GB/s", 1_000_000_000.0),
    ("B/s", 1.0),
];

/// A number without a sign: digits, and perhaps a full stop and digits.
fn number(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit());
    text.parse().ok().filter(|_| is_number && text.len() <= 15)
}

/// A duration: a number and `ms`, `s`, `m` or `h`. None if it is none, or not of whole milliseconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number_text, unit) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic())?);
    let (_, unit_ms) = UNITS_MS.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number_text.split_once('.').unwrap_or((number_text, "0"));
    number(number_text)?;
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let parts = part.parse::<u64>().ok()?.checked_mul(*unit_ms)?;
    let millis = whole.parse::<u64>().ok()?.checked_mul(*unit_ms)?.checked_add(parts / scale)?;
    (parts % scale == 0).then(|| Duration::from_millis(millis))
}

/// A duration that may be negative, in milliseconds.
pub(crate) fn signed_millis(text: &str) -> Option<i64> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    i64::try_from(duration(rest)?.as_millis()).ok().map(|millis| sign * millis)
}

/// Bytes a second.
pub(crate) fn bandwidth(text: &str) -> Option<u64> {
    let (unit, factor) = UNITS_BANDWIDTH.iter().find(|(unit, _)| text.ends_with(unit))?;
    let bytes = number(text.strip_suffix(unit)?.trim_end())? * factor;
    // No rate that a link can have is beyond what a float holds exactly.
    (bytes <= 1e15).then_some(bytes as u64)
}

/// A part: `99.9%`, or `0.999`.
pub(crate) fn part(text: &str) -> Option<f64> {
    let part = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim_end())? / 100.0,
        None => number(text)?,
    };
    (0.0..=1.0).contains(&part).then_some(part)
}

/// A duration as a file has it, exact to the millisecond above one second, to the microsecond below one millisecond.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let micros = duration.as_micros();
    match (micros, micros / 1_000) {
        (0, _) => "0ms".to_owned(),
        (_, 0) => format!("{micros}us"),
        (_, millis) if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        (_, millis) if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        (_, millis) if millis > 1_000 => {
            let part = format!("{:03}", millis % 1_000);
            format!("{}.{}s", millis / 1_000, part.trim_end_matches('0'))
        }
        (_, millis) => format!("{millis}ms"),
    }
}

/// A part as percent, cut off after two places, so that what is not everything is not told as 100 %.
pub(crate) fn percent(part: f64) -> String {
    format!("{}%", (part * 1e4 + 1e-9).floor() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [("250ms", 250), ("1.5s", 1_500), ("2m", 120_000), ("0.25h", 900_000), ("0s", 0)] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5ms", "1e3s", "-1s", "+1s", ".5s", "5.s", "1.2.3s", "9999999999999999h"] {
            assert_eq!(millis(text), None, "{text}");
        }
        assert_eq!(signed_millis("-1.5s"), Some(-1_500));
    }

    #[test]
    fn what_is_shown_reads_as_it_was() {
        for text in ["250ms", "1s", "1.5s", "2m", "90s", "61.001s", "2.655s", "0ms"] {
            assert_eq!(shown(duration(text).unwrap()), text);
        }
        assert_eq!(shown(Duration::from_micros(40)), "40us");
    }

    #[test]
    fn bandwidths_are_of_bytes_or_bits() {
        assert_eq!(bandwidth("10MB/s"), Some(10_000_000));
        assert_eq!(bandwidth("1.5 kB/s"), Some(1_500));
        assert_eq!(bandwidth("8Mbit/s"), Some(1_000_000));
        assert_eq!(bandwidth("64B/s"), Some(64));
        for text in ["10MB", "MB/s", "fast", "-1MB/s", "1e9GB/s", "999999999GB/s"] {
            assert_eq!(bandwidth(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_percent_or_fractions() {
        assert_eq!(part("50%"), Some(0.5));
        assert_eq!(part("0.99"), Some(0.99));
        assert_eq!([part("101%"), part("1.1"), part("-1%"), part("%")], [None; 4]);
        assert_eq!([percent(0.999_99), percent(1.0), percent(0.29)], ["99.99%", "100%", "29%"].map(str::to_owned));
    }
}
