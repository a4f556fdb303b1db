//! What was recorded up to now.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::layer::Fields;
use super::messages::{Ends, Flying, Payload, Segment, Sky, words};
use super::{
    CONCERNS_MAX, FAULTS_MAX, Fate, Happening, Host, HostIndex, IDS_MAX, IdIndex, LINES_MAX, LeftOut, Line,
    MESSAGES_MAX, Message, Recording, WORDS_MAX, Weight, Word,
};
use crate::trace::now;

/// The newest of a kind, and how many older ones there were.
#[derive(Debug)]
struct Ring<T> {
    kept: VecDeque<T>,
    left_out: u64,
    most: usize,
}

impl<T> Ring<T> {
    fn of(most: usize) -> Self {
        Self { kept: VecDeque::new(), left_out: 0, most }
    }

    fn push(&mut self, one: T) {
        if self.kept.len() == self.most {
            self.kept.pop_front();
            self.left_out += 1;
        }
        self.kept.push_back(one);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tape {
    hosts: Vec<Host>,
    by_name: BTreeMap<String, HostIndex>,
    by_address: BTreeMap<IpAddr, HostIndex>,
    ids: Vec<String>,
    by_id: BTreeMap<String, IdIndex>,
    sky: Sky,
    messages: Ring<Message>,
    faults: Ring<Happening>,
    words: Ring<Word>,
    lines: Ring<Line>,
    unknown: LeftOut,
}

impl Default for Tape {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
            ids: Vec::new(),
            by_id: BTreeMap::new(),
            sky: Sky::default(),
            messages: Ring::of(MESSAGES_MAX),
            faults: Ring::of(FAULTS_MAX),
            words: Ring::of(WORDS_MAX),
            lines: Ring::of(LINES_MAX),
            unknown: LeftOut::default(),
        }
    }
}

impl Tape {
    fn host(&mut self, name: &str) -> HostIndex {
        if let Some(host) = self.by_name.get(name) {
            return *host;
        }
        self.hosts.push(Host { name: name.to_owned(), region: None });
        self.by_name.insert(name.to_owned(), self.hosts.len() - 1);
        self.hosts.len() - 1
    }

    /// A host is at an address, and in a region.
    pub(super) fn host_at(&mut self, name: &str, address: &str, region: Option<String>) {
        let host = self.host(name);
        if let Ok(address) = address.parse() {
            self.by_address.insert(address, host);
        }
        if region.is_some() {
            self.hosts[host].region = region;
        }
    }

    /// What the world says of a host.
    pub(super) fn host_is(&mut self, mut fields: Fields) {
        if let Some(name) = fields.take("name") {
            let address = fields.take("address").unwrap_or_default();
            self.host_at(&name, &address, fields.take("region"));
        }
    }

    fn id(&mut self, id: &str) -> Option<IdIndex> {
        if let Some(known) = self.by_id.get(id) {
            return Some(*known);
        }
        if self.ids.len() == IDS_MAX {
            self.unknown.ids += 1;
            return None;
        }
        self.ids.push(id.to_owned());
        self.by_id.insert(id.to_owned(), self.ids.len() - 1);
        Some(self.ids.len() - 1)
    }

    fn known<'a>(&self, words: impl Iterator<Item = &'a str>) -> Vec<IdIndex> {
        let mut known: Vec<IdIndex> = Vec::new();
        for id in words.filter_map(|word| self.by_id.get(word)) {
            if known.len() < CONCERNS_MAX && !known.contains(id) {
                known.push(*id);
            }
        }
        known
    }

    /// A segment was sent.
    pub(super) fn sent(&mut self, from: SocketAddr, to: SocketAddr, payload: &Payload) {
        let concerns = self.known(payload.words());
        let (hash, bytes, text) = (payload.hash(), payload.bytes(), payload.text());
        let flying = Flying { sent: now(), fate: Fate::Delivered, hash, bytes, text, concerns };
        if !self.sky.send((from, to), flying) {
            self.unknown.messages += 1;
        }
    }

    /// Something became of a segment.
    pub(super) fn moved(&mut self, from: SocketAddr, to: SocketAddr, hash: u64, what: Segment) {
        let ends = (from, to);
        match what {
            Segment::Sent => {}
            Segment::Delivered => {
                if let Some(flying) = self.sky.land(ends, hash) {
                    self.message(ends, flying, Some(now()));
                }
            }
            Segment::Held | Segment::Dropped => {
                let fate = if what == Segment::Held { Fate::Held } else { Fate::Lost };
                if let Some(flying) = self.sky.newest(ends).filter(|flying| flying.hash == hash) {
                    flying.fate = fate;
                }
            }
        }
    }

    fn host_of(&mut self, address: IpAddr) -> HostIndex {
        self.by_address.get(&address).copied().unwrap_or_else(|| {
            let host = self.host(&address.to_string());
            self.by_address.insert(address, host);
            host
        })
    }

    fn message(&mut self, (from, to): Ends, flying: Flying, arrived: Option<Duration>) {
        let Flying { sent, fate, bytes, text, concerns, .. } = flying;
        let ports = (from.port(), to.port());
        let (from, to) = (self.host_of(from.ip()), self.host_of(to.ip()));
        let message = Message { sent, arrived, from, to, ports, fate, text, bytes, segments: 1, concerns };
        let is_near = |other: &&mut Message| other.arrived == arrived && other.sent == sent;
        // What arrives in one tick is at the end, all connections of it.
        let newest = self.messages.kept.iter_mut().rev().take(32).filter(is_near);
        match { newest }.find(|other| other.is_of_one_with(&message)) {
            Some(other) => other.take_up(message),
            None => self.messages.push(message),
        }
    }

    /// Something went wrong, or was mended.
    pub(super) fn fault(&mut self, text: String) {
        self.faults.push(Happening { at: now(), text });
    }

    /// A client has said something.
    pub(super) fn word(&mut self, host: Option<String>, fields: Fields) {
        let posted: Value =
            fields.get("transition").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let of_transition = |field: &str| posted[field].as_str().map(ToOwned::to_owned);
        let text_of = |name: &str| fields.get(name).map(ToOwned::to_owned);
        let artifact = text_of("artifact").or_else(|| of_transition("artifact_id")).or_else(|| artifact_in(&fields));
        let id = text_of("id").or_else(|| of_transition("transition_id"));
        let node = text_of("node").or_else(|| text_of("host"));
        let node = node.map(|node| if node.starts_with('n') { node } else { format!("n{node}") });
        let word = Word {
            at: now(),
            host: host.map(|host| self.host(&host)),
            id: id.and_then(|id| self.id(&id)),
            artifact: artifact.and_then(|artifact| self.id(&artifact)),
            node: node.map(|node| self.host(&node)),
            outcome: text_of("outcome"),
            text: fields.text(),
            name: fields.message,
        };
        self.words.push(word);
    }

    /// A node has logged something.
    pub(super) fn line(&mut self, host: Option<String>, weight: Weight, target: &str, fields: &Fields) {
        let text = format!("{}: {}", target.trim_start_matches("plimsoll_"), fields.text());
        let concerns = self.known(words(text.as_bytes()));
        let host = host.map(|host| self.host(&host));
        self.lines.push(Line { at: now(), host, weight, text, concerns });
    }

    /// The run has ended.
    pub(super) fn ended(mut self) -> Recording {
        for (ends, mut flying) in std::mem::take(&mut self.sky).into_all() {
            if flying.fate == Fate::Delivered {
                flying.fate = Fate::Open;
            }
            self.message(ends, flying, None);
        }
        let left_out = LeftOut {
            messages: self.unknown.messages + self.messages.left_out,
            faults: self.faults.left_out,
            words: self.words.left_out,
            lines: self.lines.left_out,
            ids: self.unknown.ids,
        };
        let mut messages = Vec::from(self.messages.kept);
        messages.sort_by_key(|message| message.sent);
        Recording {
            hosts: self.hosts,
            ids: self.ids,
            messages,
            faults: self.faults.kept.into(),
            words: self.words.kept.into(),
            lines: self.lines.kept.into(),
            left_out,
        }
    }
}

/// A transition that was cut short is no JSON any more. Its artifact is named first.
fn artifact_in(fields: &Fields) -> Option<String> {
    let (_, after) = fields.get("transition")?.split_once(r#""artifact_id":""#)?;
    after.split_once('"').map(|(artifact, _)| artifact.to_owned())
}

impl Message {
    /// Whether both are of one connection, and of one fate.
    fn is_of_one_with(&self, other: &Self) -> bool {
        let of = |message: &Self| (message.from, message.to, message.ports, message.fate);
        of(self) == of(other)
    }

    fn take_up(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.segments += other.segments;
        if self.text.is_empty() {
            self.text = other.text;
        }
        for id in other.concerns {
            if self.concerns.len() < CONCERNS_MAX && !self.concerns.contains(&id) {
                self.concerns.push(id);
            }
        }
    }
}
