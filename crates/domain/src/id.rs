//! The names of things: each is parsed once, at the edge, into a type that cannot be wrong.
//!
//! The bounds are those of `projections.md` where it states one. Names that become part of a store's key hold no
//! control characters, so that a zero byte can separate them there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A rule that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextRule {
    /// Too short or too long, counted in bytes of UTF-8.
    #[error("must be 1 to {max} bytes of UTF-8, and is {actual}")]
    Length {
        /// The most bytes allowed.
        max: usize,
        /// The bytes there are.
        actual: usize,
    },
    /// A control character (Unicode category Cc).
    #[error("must not contain control characters; there is U+{code:04X} at byte {at}")]
    Control {
        /// The character.
        code: u32,
        /// Where it is.
        at: usize,
    },
    /// A character outside printable ASCII (0x20 to 0x7e).
    #[error("must be printable ASCII; there is U+{code:04X} at byte {at}")]
    NotPrintableAscii {
        /// The character.
        code: u32,
        /// Where it is.
        at: usize,
    },
    /// A character that the name of a tenant, a region or a cluster may not have.
    #[error("must consist of a-z, 0-9, '-', '_' and '.'; there is U+{code:04X} at byte {at}")]
    NotName {
        /// The character.
        code: u32,
        /// Where it is.
        at: usize,
    },
}

fn check_length(text: &str, max: usize) -> Result<(), TextRule> {
    if text.is_empty() || text.len() > max {
        return Err(TextRule::Length { max, actual: text.len() });
    }
    Ok(())
}

/// Checks a text of 1 to `max` bytes without control characters.
pub(crate) fn check_plain(text: &str, max: usize) -> Result<(), TextRule> {
    check_length(text, max)?;
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => Err(TextRule::Control { code: character.into(), at }),
        None => Ok(()),
    }
}

fn check_printable_ascii(text: &str, max: usize) -> Result<(), TextRule> {
    check_length(text, max)?;
    match text.char_indices().find(|(_, character)| !(' '..='~').contains(character)) {
        Some((at, character)) => Err(TextRule::NotPrintableAscii { code: character.into(), at }),
        None => Ok(()),
    }
}

fn check_name(text: &str, max: usize) -> Result<(), TextRule> {
    check_length(text, max)?;
    let allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    match text.char_indices().find(|(_, character)| !allowed(*character)) {
        Some((at, character)) => Err(TextRule::NotName { code: character.into(), at }),
        None => Ok(()),
    }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $max:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes it may have.
            pub const BYTES_MAX: usize = $max;

            /// Parses it.
            ///
            /// # Errors
            /// The first rule the text breaks.
            pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, TextRule> {
                let text = text.into();
                $check(&text, Self::BYTES_MAX)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

    };
}

text_newtype! {
    /// Names a thing tracked in git: 1 to 256 bytes of UTF-8, no control characters. It may contain `/`.
    ArtifactId, 256, check_plain
}

text_newtype! {
    /// Names one transition within its tenant, for ever: 1 to 128 bytes of printable ASCII.
    TransitionId, 128, check_printable_ascii
}

text_newtype! {
    /// What an artifact is at, in the client's own vocabulary: 1 to 64 bytes.
    Status, 64, check_length
}

text_newtype! {
    /// An isolated namespace: 1 to 64 bytes of `a-z`, `0-9`, `-`, `_` and `.`.
    TenantId, 64, check_name
}

text_newtype! {
    /// Where a node is, as its operator calls it: 1 to 32 bytes of `a-z`, `0-9`, `-`, `_` and `.`. Facts cross from one
    /// region to another as seldom as they can.
    Region, 32, check_name
}

text_newtype! {
    /// The nodes that replicate each other: 1 to 64 bytes of `a-z`, `0-9`, `-`, `_` and `.`. A node of another cluster
    /// is turned away.
    ClusterName, 64, check_name
}

/// A node, for the life of its data directory: the tie-break of every stamp. Outside it is 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The node with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is not 16 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 16 lower-case hex digits")]
pub struct NotHex;

impl FromStr for NodeId {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        parse_hex(text.as_bytes()).map(Self)
    }
}

/// Reads exactly 16 lower-case hex digits, so that each number has one text.
pub(crate) fn parse_hex(digits: &[u8]) -> Result<u64, NotHex> {
    if digits.len() != 16 {
        return Err(NotHex);
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(NotHex),
        };
        Ok(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_ids_keep_their_bounds() {
        assert!(ArtifactId::parse("spec/login flow/é").is_ok());
        assert!(ArtifactId::parse("a".repeat(256)).is_ok());
        assert_eq!(ArtifactId::parse(""), Err(TextRule::Length { max: 256, actual: 0 }));
        assert_eq!(ArtifactId::parse("é".repeat(129)), Err(TextRule::Length { max: 256, actual: 258 }));
        assert_eq!(ArtifactId::parse("a\u{0}"), Err(TextRule::Control { code: 0, at: 1 }));
        assert_eq!(ArtifactId::parse("é\u{85}"), Err(TextRule::Control { code: 0x85, at: 2 }));
    }

    #[test]
    fn transition_ids_are_printable_ascii() {
        assert!(TransitionId::parse("a b~").is_ok());
        assert_eq!(TransitionId::parse("aé"), Err(TextRule::NotPrintableAscii { code: 0xe9, at: 1 }));
        assert_eq!(TransitionId::parse("a\u{7f}"), Err(TextRule::NotPrintableAscii { code: 0x7f, at: 1 }));
    }

    #[test]
    fn a_node_id_has_one_text() {
        let node = NodeId::new(0x00c0_ffee_00c0_ffee);
        assert_eq!(node.to_string(), "00c0ffee00c0ffee");
        assert_eq!("00c0ffee00c0ffee".parse(), Ok(node));
        assert_eq!("00C0FFEE00C0FFEE".parse::<NodeId>(), Err(NotHex));
        assert_eq!("c0ffee".parse::<NodeId>(), Err(NotHex));
    }
}
