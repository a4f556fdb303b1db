//! What the page is given: the recording, in the short form that its `model.js` reads. Times are microseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Caption, spans};
use crate::assertions;
use crate::plan::Plan;
use crate::record::{Fate, HostIndex, IdIndex, Message, Recording, Weight};
use crate::verdict::{Broken, Verdict};

/// All of it.
pub(super) fn of(caption: &Caption, plan: &Plan, verdict: &Verdict, recording: &Recording) -> Value {
    let mut texts = Texts::default();
    let messages: Vec<Value> = recording.messages.iter().map(|message| of_message(message, &mut texts)).collect();
    json!({
        "caption": of_caption(caption, plan, verdict),
        "hosts": hosts(plan, recording),
        "ids": recording.ids,
        "texts": texts.all,
        "messages": messages,
        "spans": faults(plan, verdict, recording),
        "words": words(recording),
        "lines": lines(recording),
        "broken": broken(plan, verdict, recording),
        "leftOut": {
            "messages": recording.left_out.messages,
            "faults": recording.left_out.faults,
            "clients' words": recording.left_out.words,
            "log lines": recording.left_out.lines,
            "ids": recording.left_out.ids,
        },
    })
}

/// Texts that come again and again, each once.
#[derive(Default)]
struct Texts<'a> {
    all: Vec<&'a str>,
    places: BTreeMap<&'a str, usize>,
}

impl<'a> Texts<'a> {
    fn place(&mut self, text: &'a str) -> usize {
        *self.places.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() - 1
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn of_caption(caption: &Caption, plan: &Plan, verdict: &Verdict) -> Value {
    let posts = verdict.all_posts();
    json!({
        "scenario": plan.scenario.name,
        // A number of JavaScript has 53 bits.
        "seed": plan.seed.to_string(),
        "build": caption.build,
        "replay": caption.replay,
        "nodes": plan.scenario.nodes(),
        "faults": plan.faults.len(),
        "posted": posts.posted,
        "acknowledged": posts.acknowledged,
        "reads": verdict.reads,
        "lasting": micros(plan.scenario.lasting),
        "lasted": micros(verdict.lasted),
        "converged": verdict.converged.map(micros),
    })
}

/// Where a host is, is known from the plan: nodes by their numbers, clients by the region they are named after.
fn hosts(plan: &Plan, recording: &Recording) -> Value {
    let regions = plan.scenario.region_of_each();
    let of_node = |name: &str| {
        let number: usize = name.strip_prefix('n')?.parse().ok()?;
        regions.get(number.checked_sub(1)?)
    };
    let of_clients = |name: &str| {
        let region = name.strip_prefix("clients-")?;
        regions.iter().find(|other| *other == region)
    };
    let host = |host: &crate::record::Host| {
        let region = host.region.as_ref().or_else(|| of_node(&host.name)).or_else(|| of_clients(&host.name));
        json!({"name": host.name, "region": region, "isNode": of_node(&host.name).is_some()})
    };
    recording.hosts.iter().map(host).collect()
}

fn of_message<'a>(message: &'a Message, texts: &mut Texts<'a>) -> Value {
    let fate = match message.fate {
        Fate::Delivered => 0,
        Fate::Lost => 1,
        Fate::Held => 2,
        Fate::Open => 3,
    };
    let Message { sent, arrived, from, to, ports, text, bytes, segments, concerns, .. } = message;
    let (sent, arrived) = (micros(*sent), arrived.map(micros));
    json!([sent, arrived, from, to, fate, texts.place(text), bytes, segments, concerns, ports.0, ports.1])
}

fn faults(plan: &Plan, verdict: &Verdict, recording: &Recording) -> Value {
    let place = |number: &u8| recording.hosts.iter().position(|host| host.name == format!("n{number}"));
    let span = |span: &spans::Span| {
        let hosts: Vec<HostIndex> = span.hosts.iter().filter_map(place).collect();
        json!([micros(span.from), micros(span.until), span.kind, hosts, span.text])
    };
    spans::of(plan, &recording.faults, verdict.lasted).iter().map(span).collect()
}

fn words(recording: &Recording) -> Value {
    let word = |word: &crate::record::Word| {
        let crate::record::Word { at, host, name, id, artifact, node, outcome, text } = word;
        json!([micros(*at), host, name, id, artifact, node, outcome, text])
    };
    recording.words.iter().map(word).collect()
}

fn lines(recording: &Recording) -> Value {
    let line = |line: &crate::record::Line| {
        let weight = match line.weight {
            Weight::Info => 0,
            Weight::Warning => 1,
            Weight::Error => 2,
        };
        json!([micros(line.at), line.host, weight, line.text, line.concerns])
    };
    recording.lines.iter().map(line).collect()
}

/// Promises that were broken, with the ids and the hosts they name, and assertions that do not hold.
fn broken(plan: &Plan, verdict: &Verdict, recording: &Recording) -> Value {
    let of = |promise: &str, what: &str| {
        let words: Vec<&str> = crate::record::words_of(what).collect();
        let ids: Vec<IdIndex> = places(&words, recording.ids.iter());
        let hosts: Vec<HostIndex> = places(&words, recording.hosts.iter().map(|host| &host.name));
        json!({"promise": promise, "what": what, "ids": ids, "hosts": hosts})
    };
    let promises = verdict.broken.iter().map(|Broken { promise, what }| of(promise, what));
    let judged = assertions::judge(&plan.scenario, verdict).into_iter().filter(|judged| !judged.holds);
    promises.chain(judged.map(|judged| of("assertion", &judged.to_string()))).collect()
}

fn places<'a>(words: &[&str], all: impl Iterator<Item = &'a String>) -> Vec<usize> {
    all.enumerate().filter(|(_, name)| words.contains(&name.as_str())).map(|(place, _)| place).collect()
}
