//! Transitions as JSON of constant length, with slots for what differs from one to the next.
//!
//! A post differs from the one before in the artifact's number, a counter and the number of a ref. Each is written with
//! a fixed number of digits, so a request is a copy of the template with a few bytes patched, and its `Content-Length`
//! never changes. The two forms are about 300 bytes long on average.

/// The numbers that make one transition differ from another of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Which artifact.
    pub(crate) artifact: u32,
    /// Which of the run's transitions: unique within the run.
    pub(crate) transition: u64,
    /// Which of the run's keys: the `transition` that opened it.
    pub(crate) key: u64,
}

/// A transition with slots for its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: usize,
    width: usize,
    number: Number,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Artifact,
    TransitionHex,
    KeyHex,
    Forge,
}

/// Hex digits of a transition's or key's number.
const COUNTER_DIGITS: usize = 12;
/// Digits of a forge's number.
const REF_DIGITS: usize = 8;

impl Template {
    /// `GET .../cursor` of an artifact: a whole request.
    pub(crate) fn cursor(prefix: &str, names: &Names, header_lines: &str) -> Self {
        let mut template = Self { bytes: Vec::new(), slots: Vec::new() };
        template.text(&format!("GET {prefix}/projections/bench%2F{}%2F", names.namespace));
        template.slot(names.artifact_digits, Number::Artifact);
        template.text(&format!("/cursor HTTP/1.1\r\n{header_lines}\r\n"));
        template
    }

    /// The JSON of a transition that opens a ref.
    pub(crate) fn pending(names: &Names) -> Self {
        let mut template = Self::transition(names, "drafted", "pending");
        template.text(r#"}]}"#);
        template
    }

    /// The JSON of a transition that resolves a ref.
    pub(crate) fn resolved(names: &Names) -> Self {
        let mut template = Self::transition(names, "in_review", "resolved");
        template.text(r#","number":"#);
        template.slot(REF_DIGITS, Number::Forge);
        template.text(&format!(r#","url":"https://forge.example/{REPOSITORY}/pull/"#));
        template.slot(REF_DIGITS, Number::Forge);
        template.text(r#"","created_at":"2026-04-22T18:04:11Z"}]}"#);
        template
    }

    fn transition(names: &Names, status: &str, kind: &str) -> Self {
        let mut template = Self { bytes: Vec::new(), slots: Vec::new() };
        template.text(&format!(r#"{{"artifact_id":"bench/{}/"#, names.namespace));
        template.slot(names.artifact_digits, Number::Artifact);
        template.text(&format!(r#"","transition_id":"{}"#, names.run_uuid_prefix()));
        template.slot(COUNTER_DIGITS, Number::TransitionHex);
        template.text(&format!(r#"","status":"{status}","produced_refs":[{{"kind":"{kind}","#));
        template.text(&format!(r#""target_repo":"{REPOSITORY}","idempotency_key":"{}"#, names.run_uuid_prefix()));
        template.slot(COUNTER_DIGITS, Number::KeyHex);
        template.text("\"");
        template
    }

    /// The length of the text, whatever the numbers.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the text with these numbers in it.
    pub(crate) fn render(&self, numbers: Numbers, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for slot in &self.slots {
            let digits = &mut out[start + slot.at..][..slot.width];
            match slot.number {
                Number::Artifact => decimal(u64::from(numbers.artifact), digits),
                Number::TransitionHex => hex(numbers.transition, digits),
                Number::KeyHex => hex(numbers.key, digits),
                Number::Forge => decimal(10_000_000 + numbers.key % 90_000_000, digits),
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn slot(&mut self, width: usize, number: Number) {
        self.slots.push(Slot { at: self.bytes.len(), width, number });
        self.bytes.resize(self.bytes.len() + width, b'0');
    }
}

/// The repository that refs are opened in.
const REPOSITORY: &str = "acme/plimsoll-load-generator";

/// What the names of one run's artifacts, transitions and keys are made of.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Keeps the artifacts of one benchmark apart from those of another.
    pub(crate) namespace: String,
    /// Digits of an artifact's number.
    pub(crate) artifact_digits: usize,
    /// When the run began, in milliseconds of Unix time; 48 bits count.
    pub(crate) run_millis: u64,
    /// Random, drawn for this run; 24 bits count.
    pub(crate) run_random: u64,
}

impl Names {
    /// Names for a run over so many artifacts.
    pub(crate) fn new(namespace: &str, artifacts: u32, run_millis: u64, run_random: u64) -> Self {
        let artifact_digits = (artifacts.saturating_sub(1).max(1).ilog10() as usize + 1).max(6);
        Self { namespace: namespace.to_owned(), artifact_digits, run_millis, run_random }
    }

    /// The id of an artifact.
    pub(crate) fn artifact_id(&self, artifact: u32) -> String {
        format!("bench/{}/{artifact:0width$}", self.namespace, width = self.artifact_digits)
    }

    /// All of a UUIDv7 but its last twelve digits.
    fn run_uuid_prefix(&self) -> String {
        let millis = self.run_millis & 0xffff_ffff_ffff;
        let (high, low) = ((self.run_random >> 12) & 0xfff, self.run_random & 0xfff);
        format!("{:08x}-{:04x}-7{high:03x}-8{low:03x}-", millis >> 16, millis & 0xffff)
    }
}

fn decimal(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn hex(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{PostTransition, ProducedRef};
    use super::*;

    fn render(template: &Template, numbers: Numbers) -> String {
        let mut out = Vec::new();
        template.render(numbers, &mut out);
        assert_eq!(out.len(), template.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_post_is_a_transition_of_about_300_bytes() {
        let names = Names::new("load", 100_000, 0x0001_9db7_7b4e_4555, 0x00ab_cdef);
        let numbers = Numbers { artifact: 123, transition: 0x0003_0000_0002, key: 0x0003_0000_0001 };
        let pending: PostTransition = serde_json::from_str(&render(&Template::pending(&names), numbers)).unwrap();
        assert_eq!(pending.artifact_id, "bench/load/000123");
        assert_eq!(pending.artifact_id, names.artifact_id(123));
        assert_eq!(pending.transition_id, "9db77b4e-4555-7abc-8def-000300000002");
        let resolved: PostTransition = serde_json::from_str(&render(&Template::resolved(&names), numbers)).unwrap();
        let ProducedRef::Resolved { idempotency_key, number, url, .. } = &resolved.produced_refs[0] else {
            panic!("{resolved:?}")
        };
        assert_eq!(idempotency_key, "9db77b4e-4555-7abc-8def-000300000001");
        assert!(url.ends_with(&format!("/pull/{number}")), "{url}");
        let mean = (Template::pending(&names).len() + Template::resolved(&names).len()) / 2;
        assert!((280..=320).contains(&mean), "{mean} bytes");
    }

    #[test]
    fn a_cursor_request_names_the_artifact_in_its_path() {
        let names = Names::new("load", 2_000_001, 0, 0);
        let template = Template::cursor("/base", &names, "Host: h\r\n");
        let request = render(&template, Numbers { artifact: 2_000_000, transition: 0, key: 0 });
        assert_eq!(request, "GET /base/projections/bench%2Fload%2F2000000/cursor HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}
