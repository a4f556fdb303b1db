//! Readings of the hybrid logical clock, and their one text form.
//!
//! A [`Timestamp`] is a time in whole nanoseconds and the node that issued it. The time carries physical time and the
//! logical counter together: where physical time does not advance, the next reading is one nanosecond later (the
//! "l.c in one word" form of Kulkarni et al., "Logical Physical Clocks", OPODIS 2014, section 6). Whole nanoseconds
//! are what makes the text lossless: two different readings never share an RFC 3339 text, and texts sort as readings.

use std::fmt;

use thiserror::Error;
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

use crate::id::{NodeId, parse_hex};

/// Nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Reaches the year 2554.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNanos(u64);

impl UnixNanos {
    /// The length of [`UnixNanos`]'s text.
    pub const TEXT_BYTES: usize = 35;

    /// That many nanoseconds after the epoch.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The number of nanoseconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The text, RFC 3339 with always nine fraction digits and `+00:00`: texts sort, byte by byte, as times do.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = Vec::with_capacity(Self::TEXT_BYTES);
        self.write_text(&mut text);
        String::from_utf8(text).expect("digits and punctuation are ASCII")
    }

    fn write_text(self, out: &mut Vec<u8>) {
        let at = OffsetDateTime::from_unix_timestamp_nanos(self.0.into())
            .expect("64 bits of nanoseconds end in the year 2554, within the library's range");
        let year = u32::try_from(at.year()).expect("1970 to 2554");
        for (number, digits, after) in [
            (year, 4, b'-'),
            (u8::from(at.month()).into(), 2, b'-'),
            (at.day().into(), 2, b'T'),
            (at.hour().into(), 2, b':'),
            (at.minute().into(), 2, b':'),
            (at.second().into(), 2, b'.'),
            (at.nanosecond(), 9, b'+'),
        ] {
            write_digits(out, number, digits);
            out.push(after);
        }
        out.extend_from_slice(b"00:00");
    }

    fn parse_text(text: &[u8]) -> Option<Self> {
        let template = b"dddd-dd-ddTdd:dd:dd.ddddddddd+00:00";
        let fits = text.len() == template.len()
            && text.iter().zip(template).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            });
        if !fits {
            return None;
        }
        let number = |from: usize, to: usize| {
            text[from..to].iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'))
        };
        let small = |from: usize, to: usize| u8::try_from(number(from, to)).ok();
        let year = i32::try_from(number(0, 4)).ok()?;
        let date = Date::from_calendar_date(year, Month::try_from(small(5, 7)?).ok()?, small(8, 10)?).ok()?;
        let time = Time::from_hms_nano(small(11, 13)?, small(14, 16)?, small(17, 19)?, number(20, 29)).ok()?;
        let nanos = OffsetDateTime::new_in_offset(date, time, UtcOffset::UTC).unix_timestamp_nanos();
        u64::try_from(nanos).ok().map(Self)
    }
}

fn write_digits(out: &mut Vec<u8>, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).expect("a remainder of ten"));
    }
}

impl fmt::Display for UnixNanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_text())
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A reading of the hybrid logical clock. Readings are totally ordered: by time, then by node.
///
/// No node issues two readings with the same time, so no two readings are equal unless they are the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// The time.
    pub time: UnixNanos,
    /// The node that issued it.
    pub node: NodeId,
}

/// A text that is not a timestamp in its fixed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be <time>/<node>: RFC 3339 with nine fraction digits and +00:00, then 16 hex digits")]
pub struct NotATimestamp;

impl Timestamp {
    /// The length of [`Timestamp`]'s text.
    pub const TEXT_BYTES: usize = UnixNanos::TEXT_BYTES + 1 + 16;

    /// Reads `<time>/<node>`, exactly as [`fmt::Display`] writes it.
    ///
    /// # Errors
    /// [`NotATimestamp`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotATimestamp> {
        let bytes = text.as_bytes();
        if bytes.len() != Self::TEXT_BYTES || bytes[UnixNanos::TEXT_BYTES] != b'/' {
            return Err(NotATimestamp);
        }
        let time = UnixNanos::parse_text(&bytes[..UnixNanos::TEXT_BYTES]).ok_or(NotATimestamp)?;
        let node = parse_hex(&bytes[UnixNanos::TEXT_BYTES + 1..]).map_err(|_| NotATimestamp)?;
        Ok(Self { time, node: NodeId::new(node) })
    }

    /// Appends the text to `out`.
    pub(crate) fn write_text(self, out: &mut Vec<u8>) {
        self.time.write_text(out);
        out.push(b'/');
        write_hex(out, self.node.number());
    }
}

/// Appends 16 hex digits to `out`.
pub(crate) fn write_hex(out: &mut Vec<u8>, number: u64) {
    for byte in number.to_be_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(Self::TEXT_BYTES);
        self.write_text(&mut text);
        formatter.write_str(std::str::from_utf8(&text).expect("digits and punctuation are ASCII"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_the_one_of_the_contract() {
        let stamp =
            Timestamp { time: UnixNanos::new(1_776_881_051_000_000_001), node: NodeId::new(0x00c0_ffee_00c0_ffee) };
        assert_eq!(stamp.to_string(), "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee");
    }

    #[test]
    fn the_last_nanosecond_has_a_text() {
        assert_eq!(UnixNanos::new(u64::MAX).to_text(), "2554-07-21T23:34:33.709551615+00:00");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "2026-04-22T18:04:11.000000001Z/00c0ffee00c0ffee",
            "2026-04-22T18:04:11.000000001+01:00/00c0ffee00c0ffee",
            "2026-02-30T18:04:11.000000001+00:00/00c0ffee00c0ffee",
            "2026-04-22T18:04:60.000000001+00:00/00c0ffee00c0ffee",
            "1969-12-31T23:59:59.999999999+00:00/00c0ffee00c0ffee",
            "9999-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee",
            "2026-04-22T18:04:11.000000001+00:00/00C0FFEE00C0FFEE",
            "2026-04-22T18:04:11.000000001+00:00-00c0ffee00c0ffee",
            "",
        ] {
            assert_eq!(Timestamp::parse(text), Err(NotATimestamp), "{text}");
        }
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        (any::<u64>(), any::<u64>())
            .prop_map(|(time, node)| Timestamp { time: UnixNanos::new(time), node: NodeId::new(node) })
    }

    proptest! {
        #[test]
        fn texts_are_lossless(stamp in timestamps()) {
            prop_assert_eq!(Timestamp::parse(&stamp.to_string()), Ok(stamp));
        }

        #[test]
        fn texts_sort_as_timestamps(left in timestamps(), right in timestamps()) {
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn neighbours_have_different_texts(time in 0..u64::MAX) {
            prop_assert!(UnixNanos::new(time).to_text() < UnixNanos::new(time + 1).to_text());
        }
    }
}
