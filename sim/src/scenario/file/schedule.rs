//! All `[[fault]]` of a file, as events in order of time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::{self, ACTIONS, Action, Context, Turn};
use super::reader::{Reader, hint};
use crate::faults::{Event, Fault};
use crate::scenario::quantity::shown;

/// So many events a schedule has at most, once regions and repetitions are written out.
const EVENTS_MAX: usize = 100_000;

const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

const DOWN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

/// Ways in which a link flaps.
const WAYS: [(&str, bool); 2] = [("cut", true), ("hold", false)];

/// Reads all faults.
pub(super) fn read(faults: Vec<Reader<'_>>, context: &Context<'_>) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for mut table in faults {
        if let Some(more) = one(&mut table, context) {
            events.extend(more);
            if events.len() > EVENTS_MAX {
                table.wrong(format!("these are more than {EVENTS_MAX} events in all"));
                break;
            }
            table.finish();
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

fn one(table: &mut Reader<'_>, context: &Context<'_>) -> Option<Vec<Event>> {
    let within = Duration::ZERO..=context.lasting;
    let at = table.required("at").and_then(|item| {
        let at = item.duration(Duration::ZERO..=Duration::MAX)?;
        if !within.contains(&at) {
            item.wrong(format!("is beyond the end of the run, which is lasting {}", shown(context.lasting)));
        }
        within.contains(&at).then_some(at)
    });
    let until = until(table, at, context.lasting);
    let action = action(table)?;
    match action.1 {
        Action::Flap => flap(table, at, until.ok()?, context),
        Action::Rolling => rolling(table, at, until.ok()?, context),
        _ => {
            let Turn { begin, end } = fault::read(table, action, context)?;
            let (at, until) = (at?, until.ok()?);
            if until.is_some() && end.is_none() {
                table.wrong(format!("`{}` is not mended, so it has no `until`", action.0));
            }
            let event = |at| move |fault| Event { at, fault };
            let mended = until.zip(end).map(|(until, end)| end.into_iter().map(event(until)));
            Some(begin.into_iter().map(event(at)).chain(mended.into_iter().flatten()).collect())
        }
    }
}

/// When it is mended, if that is said; an error if it is said wrongly.
fn until(table: &mut Reader<'_>, at: Option<Duration>, lasting: Duration) -> Result<Option<Duration>, ()> {
    let Some(item) = table.item("until") else { return Ok(None) };
    let until = item.duration(Duration::ZERO..=Duration::MAX).ok_or(())?;
    if until > lasting {
        item.wrong(format!("is beyond the end of the run, which is lasting {}", shown(lasting)));
        return Err(());
    }
    if at.is_some_and(|at| until <= at) {
        item.wrong("must be after `at`");
        return Err(());
    }
    Ok(Some(until))
}

fn action(table: &Reader<'_>) -> Option<(&'static str, Action)> {
    let found: Vec<(&str, Action)> = ACTIONS.into_iter().filter(|(key, _)| table.has(key)).collect();
    match found.as_slice() {
        [action] => return Some(*action),
        [(one, _), (other, _), ..] => {
            table.wrong(format!("has both `{one}` and `{other}`: make two faults of it"));
        }
        [] => {
            let names: Vec<&str> = ACTIONS.iter().map(|(key, _)| *key).collect();
            let unknown = table.all().into_iter().map(|(key, _)| key).find(|key| !["at", "until"].contains(key));
            let meant = unknown.map_or_else(String::new, |key| hint(key, &names));
            table.wrong(format!("does not say what goes wrong: one of {}{meant}", names.join(", ")));
        }
    }
    None
}

/// A link that comes and goes: in each period it is broken for the first half.
fn flap(
    table: &mut Reader<'_>,
    at: Option<Duration>,
    until: Option<Duration>,
    context: &Context<'_>,
) -> Option<Vec<Event>> {
    let pairs = table.required("flap").and_then(|item| context.places.pairs(&item));
    let every = table.required("every").and_then(|item| item.duration(EVERY));
    let is_cut = table.item("by").map_or(Some(true), |item| item.one_of(&WAYS));
    if until.is_none() {
        table.wrong("a link flaps `until` a time, which is missing");
    }
    let (at, until, pairs, every, is_cut) = (at?, until?, pairs?, every?, is_cut?);
    let turns = until.saturating_sub(at).as_millis().div_ceil(every.as_millis());
    if turns.saturating_mul(2 * pairs.len() as u128) > EVENTS_MAX as u128 {
        table.wrong(format!("this is more than {EVENTS_MAX} events"));
        return None;
    }
    let mut events = Vec::new();
    let mut now = at;
    while now < until {
        for (one, other) in pairs.iter().copied() {
            let fault = if is_cut { Fault::Cut(one, other) } else { Fault::Hold(one, other) };
            let mended = (now + every / 2).min(until);
            events.extend([Event { at: now, fault }, Event { at: mended, fault: Fault::Mend(one, other) }]);
        }
        now += every;
    }
    Some(events)
}

/// Nodes that are stopped and started one after the other, perhaps of another version afterwards.
fn rolling(
    table: &mut Reader<'_>,
    at: Option<Duration>,
    until: Option<Duration>,
    context: &Context<'_>,
) -> Option<Vec<Event>> {
    let hosts = table.required("rolling").and_then(|item| context.places.hosts(item));
    let every = table.required("every").and_then(|item| item.duration(EVERY));
    let down = table.item("down").map_or(Some(Duration::from_secs(1)), |item| item.duration(DOWN));
    let newest = table.item("newest").map(|item| fault::newest(&item));
    if until.is_some() {
        table.wrong("`rolling` ends with its last host, so it has no `until`");
    }
    let (mut begin, hosts, every, down) = (at?, hosts?, every?, down?);
    if down > every {
        table.wrong("`down` must be at most `every`: a host is started before the next is stopped");
    }
    let mut events = Vec::new();
    for host in hosts {
        if let Some(newest) = newest {
            events.push(Event { at: begin, fault: Fault::Version { host, newest: newest? } });
        }
        events.push(Event { at: begin, fault: Fault::Stop(host) });
        events.push(Event { at: begin + down, fault: Fault::Restart(host) });
        begin += every;
    }
    if let Some(last) = events.last().filter(|last| last.at > context.lasting) {
        let (last, lasting) = (shown(last.at), shown(context.lasting));
        table.wrong(format!(
            "the last host is started at {last}, beyond the end of the run, which is lasting {lasting}"
        ));
    }
    Some(events)
}
