//! Messages under way, and what became of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::{FLYING_MAX, Fate, IdIndex};

/// Bytes of a segment that are looked at for ids.
const SCANNED_MAX: usize = 64 * 1_024;

/// Bytes of the first line that are kept.
const FIRST_LINE_MAX: usize = 80;

/// What turmoil says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// It is on the way, unless something else is said of it at once.
    Sent,
    /// It has reached its host.
    Delivered,
    /// It will not.
    Dropped,
    /// It stands still.
    Held,
}

impl Segment {
    /// By what turmoil calls it.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "Send" => Some(Self::Sent),
            "Delivered" => Some(Self::Delivered),
            "Drop" => Some(Self::Dropped),
            "Hold" => Some(Self::Held),
            _ => None,
        }
    }
}

/// What a segment carries, read back from how turmoil displays it: `TCP SYN`, or `TCP [0x1, 0xA2]`.
#[derive(Debug, Default)]
pub(super) struct Payload {
    name: String,
    hash: u64,
    bytes: u64,
    scanned: Vec<u8>,
    digits: Option<u8>,
    is_in_list: bool,
}

impl Payload {
    /// Reads it.
    pub(super) fn of(displayed: fmt::Arguments<'_>) -> Self {
        let mut payload = Self { hash: 0xcbf2_9ce4_8422_2325, ..Self::default() };
        // This writer never fails.
        let _ = payload.write_fmt(displayed);
        payload
    }

    /// Two payloads of one connection with the same one are taken for one.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What begins it, in words.
    pub(super) fn text(&self) -> String {
        if !self.is_in_list {
            return self.name.trim_start_matches("TCP").trim().to_owned();
        }
        let is_http =
            [&b"HTTP/"[..], b"GET ", b"POST ", b"PUT ", b"DELETE "].iter().any(|http| self.scanned.starts_with(http));
        let first = self.scanned.split(|byte| byte.is_ascii_control()).next().filter(|_| is_http).unwrap_or_default();
        let text = String::from_utf8_lossy(&first[..first.len().min(FIRST_LINE_MAX)]);
        text.trim_end_matches(" HTTP/1.1").trim_start_matches("HTTP/1.1 ").to_owned()
    }

    /// What may be an id in it.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.scanned)
    }

    fn end_byte(&mut self) {
        if let Some(byte) = self.digits.take() {
            self.bytes += 1;
            if self.scanned.len() < SCANNED_MAX {
                self.scanned.push(byte);
            }
        }
    }
}

/// The longest runs of what ids are made of; a run may begin with the length of what follows it, so each also without its first.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let is_of_id = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let runs = bytes.split(move |byte| !is_of_id(byte)).filter(|run| !run.is_empty());
    runs.flat_map(|run| [run, &run[1..]]).filter_map(|run| std::str::from_utf8(run).ok())
}

impl fmt::Write for Payload {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            match byte {
                b'[' => self.is_in_list = true,
                _ if !self.is_in_list => self.name.push(char::from(byte)),
                b',' | b']' => self.end_byte(),
                b'x' => self.digits = Some(0),
                digit => {
                    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
                    if let (Some(byte), Some(value)) = (self.digits, value) {
                        self.digits = Some((byte << 4) | value);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A segment under way.
#[derive(Debug, Clone)]
pub(super) struct Flying {
    /// When it was sent.
    pub(super) sent: Duration,
    /// What became of it up to now.
    pub(super) fate: Fate,
    /// See [`Payload::hash`].
    pub(super) hash: u64,
    /// See [`Payload::bytes`].
    pub(super) bytes: u64,
    /// See [`Payload::text`].
    pub(super) text: String,
    /// Ids in it.
    pub(super) concerns: Vec<IdIndex>,
}

/// Two ends of a connection, the sender's first.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// All segments under way, by connection, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sky {
    flying: BTreeMap<Ends, VecDeque<Flying>>,
    count: usize,
}

impl Sky {
    /// One more; `false` if there is no room for it.
    pub(super) fn send(&mut self, ends: Ends, flying: Flying) -> bool {
        if self.count == FLYING_MAX {
            return false;
        }
        self.count += 1;
        self.flying.entry(ends).or_default().push_back(flying);
        true
    }

    /// Takes out the oldest of those that are the same.
    pub(super) fn land(&mut self, ends: Ends, hash: u64) -> Option<Flying> {
        let all = self.flying.get_mut(&ends)?;
        let flying = all.iter().position(|flying| flying.hash == hash).and_then(|at| all.remove(at));
        if all.is_empty() {
            self.flying.remove(&ends);
        }
        self.count -= usize::from(flying.is_some());
        flying
    }

    /// The newest: what is said of a segment when it is sent is said of it.
    pub(super) fn newest(&mut self, ends: Ends) -> Option<&mut Flying> {
        self.flying.get_mut(&ends)?.back_mut()
    }

    /// All that never landed.
    pub(super) fn into_all(self) -> impl Iterator<Item = (Ends, Flying)> {
        self.flying.into_iter().flat_map(|(ends, all)| all.into_iter().map(move |flying| (ends, flying)))
    }
}
