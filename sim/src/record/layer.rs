//! From tracing events to the tape.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::messages::{Payload, Segment};
use super::{TAPE, TEXT_BYTES_MAX, Weight};

/// Writes events on the thread's tape, if there is one.
pub(crate) struct Recorder;

/// A layer that records what [`recorded`](super::recorded) runs, and does nothing otherwise.
pub(crate) fn recorder<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let heard = [("turmoil", LevelFilter::TRACE), ("plimsoll", LevelFilter::INFO)];
    Recorder.with_filter(Targets::new().with_targets(heard))
}

/// Whether events of this thread reach a recorder.
pub(super) fn is_listening() -> bool {
    tracing::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<Recorder>().is_some())
}

/// The name of the host whose span it is in the extensions of.
struct HostName(String);

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "node" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.take("name")) {
            span.extensions_mut().insert(HostName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        TAPE.with_borrow_mut(|tape| {
            let Some(tape) = tape else { return };
            let mut fields = Fields::default();
            let (target, level) = (event.metadata().target(), *event.metadata().level());
            if target == "turmoil" {
                fields.of_network = true;
                event.record(&mut fields);
                return network(tape, fields);
            }
            event.record(&mut fields);
            let host = context.event_scope(event).and_then(|mut scope| {
                scope.find_map(|span| span.extensions().get::<HostName>().map(|HostName(name)| name.clone()))
            });
            if !target.starts_with("plimsoll_sim") {
                return tape.line(host, weight(level), target, &fields);
            }
            match (fields.message.as_str(), fields.get("fault")) {
                ("fault", Some(fault)) => tape.fault(fault.to_owned()),
                ("host", _) => tape.host_is(fields),
                _ => tape.word(host, fields),
            }
        });
    }
}

fn weight(level: Level) -> Weight {
    match level {
        Level::ERROR => Weight::Error,
        Level::WARN => Weight::Warning,
        _ => Weight::Info,
    }
}

fn network(tape: &mut super::Tape, mut fields: Fields) {
    let Some(payload) = fields.payload.take() else {
        if fields.message == "New"
            && let (Some(name), Some(address)) = (fields.take("nodename"), fields.take("addr"))
        {
            tape.host_at(&name, &address, None);
        }
        return;
    };
    // A listener says so of what it answers by itself, from no address: turmoil carries no such segment.
    if payload.text() == "SYN-ACK" {
        return;
    }
    let ends = |name: &str| fields.get(name).and_then(|text| text.parse().ok());
    let (Some(from), Some(to)) = (ends("src"), ends("dst")) else { return };
    match Segment::named(&fields.message) {
        Some(Segment::Sent) => tape.sent(from, to, &payload),
        Some(what) => tape.moved(from, to, payload.hash(), what),
        None => {}
    }
}

/// The fields of an event, texts cut to their bound.
#[derive(Default)]
pub(super) struct Fields {
    /// What the event says.
    pub(super) message: String,
    rest: Vec<(&'static str, String)>,
    /// Whether it is of the simulated network, whose `protocol` is the payload.
    of_network: bool,
    payload: Option<Payload>,
}

impl Fields {
    /// A field as text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.rest.iter().find(|(other, _)| *other == name).map(|(_, text)| text.as_str())
    }

    /// A field as text, which is gone then.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.rest.iter().position(|(other, _)| *other == name)?;
        Some(self.rest.remove(at).1)
    }

    /// The message, and the other fields behind it.
    pub(super) fn text(&self) -> String {
        let mut text = Bounded(self.message.clone());
        for (name, value) in &self.rest {
            // Writing ends at the bound, which is no error here.
            let _ = write!(text, " {name}={value}");
        }
        text.0
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.of_network && field.name() == "protocol" {
            if Segment::named(&self.message).is_some() {
                self.payload = Some(Payload::of(value));
            }
            return;
        }
        let mut text = Bounded(String::new());
        // As above.
        let _ = text.write_fmt(value);
        match field.name() {
            "message" => self.message = text.0,
            name => self.rest.push((name, text.0)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }
}

/// A text that stops growing at its bound.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}
