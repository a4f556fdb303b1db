//! Which of its endpoints a client talks to: a pure decision over what was measured and what failed.
//!
//! The idea is *home*. Home is the nearest endpoint, and stays it until another is clearly nearer, so that two that are
//! about as near do not take turns. The client talks to home. While home is away (it failed, or says that it is not
//! ready), the client talks to the nearest of the others and stays with that one; it goes back as soon as home answers
//! again. What "near" means is a smoothed round trip; what has none is farther than all that has one.
//!
//! Time is an argument, and so is every measurement: the driver is [`Fleet`](crate::fleet::Fleet).

use std::time::Duration;

use tokio::time::Instant;

/// The most endpoints a client takes. They are one store's nodes: one or a few a region.
pub const ENDPOINTS_MAX: usize = 16;

/// How old measurements may be.
pub(crate) const SURVEY_INTERVAL: Duration = Duration::from_secs(30);

/// The same while home is away: how long the client stays at the farther one although home is back.
pub(crate) const RETURN_INTERVAL: Duration = Duration::from_secs(5);

/// A new round trip counts one fourth: of the last four measurements one that is off does not move the client.
const SMOOTHING: u32 = 4;

/// Clearly nearer is below three fourths of the other's round trip,
const NEARER_NUMERATOR: u32 = 3;
const NEARER_DENOMINATOR: u32 = 4;

/// and by so much: nobody feels less, and within one machine room it is noise.
const NEARER_BY: Duration = Duration::from_millis(2);

/// The longest an endpoint is left alone, whatever it asks: then it is asked whether it is ready.
const REST_MAX: Duration = Duration::from_mins(10);

/// One of a client's endpoints, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointIndex(u8);

impl EndpointIndex {
    pub(crate) const FIRST: Self = Self(0);

    /// The endpoint at a place in the list.
    pub(crate) fn new(place: usize) -> Self {
        assert!(place < ENDPOINTS_MAX, "a client has at most {ENDPOINTS_MAX} endpoints, {place} is not one of them");
        Self(place as u8)
    }

    pub(crate) fn place(self) -> usize {
        self.0.into()
    }
}

/// Some of a client's endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EndpointSet(u16);

impl EndpointSet {
    pub(crate) const fn insert(&mut self, endpoint: EndpointIndex) {
        self.0 |= 1 << endpoint.0;
    }

    pub(crate) const fn contains(self, endpoint: EndpointIndex) -> bool {
        self.0 & 1 << endpoint.0 != 0
    }
}

/// What a look at an endpoint found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// It takes requests, and answers after this long.
    Ready(Duration),
    /// It does not answer, or asks for no requests.
    NotReady,
}

/// The client talks to another endpoint than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) from: EndpointIndex,
    pub(crate) to: EndpointIndex,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    round_trip: Option<Duration>,
    is_away: bool,
    /// It asked to be left alone so long: until then it is not back, whatever it says.
    rests_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Survey {
    Never,
    Running,
    Done(Instant),
}

/// What is known about the endpoints, and the choice that follows.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    standings: Vec<Standing>,
    home: Option<EndpointIndex>,
    current: Option<EndpointIndex>,
    survey: Survey,
}

impl Roster {
    pub(crate) fn new(count: usize) -> Self {
        assert!((1..=ENDPOINTS_MAX).contains(&count), "a client has 1 to {ENDPOINTS_MAX} endpoints, not {count}");
        Self { standings: vec![Standing::default(); count], home: None, current: None, survey: Survey::Never }
    }

    /// The endpoint to talk to.
    pub(crate) fn current(&self) -> EndpointIndex {
        self.current.unwrap_or(EndpointIndex::FIRST)
    }

    /// Whether that is a choice: an endpoint was heard of, or none answers.
    pub(crate) const fn has_choice(&self) -> bool {
        self.current.is_some()
    }

    /// All endpoints, the best to try first: those that are not away, and the nearer ones, before the others.
    pub(crate) fn order(&self) -> Vec<EndpointIndex> {
        let mut order: Vec<EndpointIndex> = (0..self.standings.len()).map(EndpointIndex::new).collect();
        order.sort_by_key(|endpoint| (!self.is_up(*endpoint), self.distance(*endpoint)));
        order
    }

    /// Begins a survey if one is due; tells whether it did.
    pub(crate) fn begin_survey(&mut self, now: Instant) -> bool {
        let interval = if self.home == self.current { SURVEY_INTERVAL } else { RETURN_INTERVAL };
        let is_due = match self.survey {
            Survey::Never => true,
            Survey::Running => false,
            Survey::Done(at) => now.saturating_duration_since(at) >= interval,
        };
        if is_due {
            self.survey = Survey::Running;
        }
        is_due
    }

    /// Ends a survey, whatever it has found. Where nothing answers, the first endpoint is as good as any.
    pub(crate) fn end_survey(&mut self, now: Instant) {
        self.survey = Survey::Done(now);
        self.current.get_or_insert(EndpointIndex::FIRST);
        self.home.get_or_insert(EndpointIndex::FIRST);
    }

    /// Takes note of what a survey found at an endpoint.
    pub(crate) fn sampled(&mut self, endpoint: EndpointIndex, sample: Sample, now: Instant) -> Option<Turn> {
        match sample {
            Sample::NotReady => self.standing_mut(endpoint).is_away = true,
            Sample::Ready(round_trip) => {
                let standing = self.standing_mut(endpoint);
                let smoothed = |before| before - before / SMOOTHING + round_trip / SMOOTHING;
                standing.round_trip = Some(standing.round_trip.map_or(round_trip, smoothed));
                self.bring_back(endpoint, now);
            }
        }
        self.settle()
    }

    /// Takes note that a request failed at an endpoint in a way that tells of the endpoint.
    pub(crate) fn failed(&mut self, endpoint: EndpointIndex, rest: Option<Duration>, now: Instant) -> Option<Turn> {
        let standing = self.standing_mut(endpoint);
        standing.is_away = true;
        standing.rests_until = standing.rests_until.max(rest.map(|rest| now + rest.min(REST_MAX)));
        self.settle()
    }

    /// Takes note that a request succeeded at an endpoint.
    pub(crate) fn succeeded(&mut self, endpoint: EndpointIndex, now: Instant) -> Option<Turn> {
        self.bring_back(endpoint, now);
        self.settle()
    }

    pub(crate) fn is_up(&self, endpoint: EndpointIndex) -> bool {
        !self.standings[endpoint.place()].is_away
    }

    fn bring_back(&mut self, endpoint: EndpointIndex, now: Instant) {
        let standing = self.standing_mut(endpoint);
        if standing.rests_until.is_none_or(|until| until <= now) {
            standing.rests_until = None;
            standing.is_away = false;
        }
    }

    fn standing_mut(&mut self, endpoint: EndpointIndex) -> &mut Standing {
        &mut self.standings[endpoint.place()]
    }

    fn distance(&self, endpoint: EndpointIndex) -> (Duration, EndpointIndex) {
        (self.standings[endpoint.place()].round_trip.unwrap_or(Duration::MAX), endpoint)
    }

    fn is_clearly_nearer(&self, candidate: EndpointIndex, than: EndpointIndex) -> bool {
        let ((near, _), (far, _)) = (self.distance(candidate), self.distance(than));
        near < far / NEARER_DENOMINATOR * NEARER_NUMERATOR && far - near >= NEARER_BY
    }

    /// Chooses anew.
    fn settle(&mut self) -> Option<Turn> {
        let before = self.current;
        // One that was not heard of is worth a try when another fails, but it is no first choice.
        let may_be = |endpoint: &EndpointIndex| {
            self.is_up(*endpoint) && (before.is_some() || self.standings[endpoint.place()].round_trip.is_some())
        };
        let nearest = self.order().into_iter().find(may_be)?;
        let is_home_up = self.home.is_some_and(|home| self.is_up(home));
        let keeps = |endpoint: &EndpointIndex| self.is_up(*endpoint) && !self.is_clearly_nearer(nearest, *endpoint);
        let current = self.home.into_iter().chain(before).find(keeps).unwrap_or(nearest);
        self.current = Some(current);
        if is_home_up || self.home.is_none() {
            self.home = self.current;
        }
        before.filter(|from| *from != current).map(|from| Turn { from, to: current })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: EndpointIndex = EndpointIndex(0);
    const B: EndpointIndex = EndpointIndex(1);
    const C: EndpointIndex = EndpointIndex(2);

    fn ready(milliseconds: u64) -> Sample {
        Sample::Ready(Duration::from_millis(milliseconds))
    }

    /// A at 10 ms, B at 50 ms, C at 100 ms.
    fn surveyed(now: Instant) -> Roster {
        let mut roster = Roster::new(3);
        for (endpoint, milliseconds) in [(B, 50), (A, 10), (C, 100)] {
            roster.sampled(endpoint, ready(milliseconds), now);
        }
        roster.end_survey(now);
        roster
    }

    #[test]
    fn the_first_to_answer_is_a_choice_and_a_clearly_nearer_one_a_better_one() {
        let now = Instant::now();
        let mut roster = Roster::new(3);
        assert!(!roster.has_choice());
        assert_eq!(roster.sampled(B, ready(50), now), None, "there was no other before");
        assert!(roster.has_choice());
        assert_eq!(roster.sampled(A, ready(10), now), Some(Turn { from: B, to: A }));
        assert_eq!(roster.sampled(C, ready(100), now), None);
        assert_eq!(roster.order(), [A, B, C]);
    }

    #[test]
    fn where_nothing_answers_it_is_the_first() {
        let now = Instant::now();
        let mut roster = Roster::new(2);
        roster.sampled(A, Sample::NotReady, now);
        roster.sampled(B, Sample::NotReady, now);
        assert!(!roster.has_choice());
        roster.end_survey(now);
        assert_eq!((roster.has_choice(), roster.current()), (true, A));
        assert_eq!(roster.succeeded(B, now), Some(Turn { from: A, to: B }));
    }

    #[test]
    fn it_stays_until_another_is_clearly_nearer() {
        let now = Instant::now();
        let mut roster = surveyed(now);
        for _ in 0..20 {
            assert_eq!(roster.sampled(B, ready(8), now), None, "8 ms are not below three fourths of 10 ms");
        }
        let mut turns = (0..20).filter_map(|_| roster.sampled(B, ready(1), now));
        assert_eq!(turns.next(), Some(Turn { from: A, to: B }));
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn one_measurement_that_is_off_does_not_move_it() {
        let now = Instant::now();
        let mut roster = surveyed(now);
        assert_eq!(roster.sampled(A, ready(120), now), None, "10 ms become 37.5 ms, and 50 ms are B's");
        let turn = (0..5).find_map(|_| roster.sampled(A, ready(120), now));
        assert_eq!(turn, Some(Turn { from: A, to: B }));
    }

    #[test]
    fn after_a_failure_it_goes_to_the_nearest_of_the_others_and_back_when_home_is() {
        let now = Instant::now();
        let mut roster = surveyed(now);
        assert_eq!(roster.failed(A, None, now), Some(Turn { from: A, to: B }));
        assert_eq!(roster.order(), [B, C, A]);
        assert_eq!(roster.sampled(B, ready(60), now), None);
        assert_eq!(roster.sampled(A, Sample::NotReady, now), None);
        assert_eq!(roster.failed(B, None, now), Some(Turn { from: B, to: C }));
        assert_eq!(roster.sampled(B, ready(40), now), Some(Turn { from: C, to: B }), "it is clearly nearer than C");
        assert_eq!(roster.sampled(A, ready(10), now), Some(Turn { from: B, to: A }));
    }

    #[test]
    fn it_goes_back_home_also_where_the_other_is_about_as_near() {
        let now = Instant::now();
        let mut roster = Roster::new(2);
        roster.sampled(B, ready(10), now);
        roster.sampled(A, ready(10), now);
        roster.end_survey(now);
        assert_eq!(roster.failed(B, None, now), Some(Turn { from: B, to: A }));
        assert_eq!(roster.sampled(B, ready(11), now), Some(Turn { from: A, to: B }));
    }

    #[test]
    fn one_that_asked_to_be_left_alone_is_not_back_before() {
        let now = Instant::now();
        let mut roster = surveyed(now);
        roster.failed(A, Some(Duration::from_secs(7)), now);
        let soon = now + Duration::from_secs(6);
        assert_eq!((roster.sampled(A, ready(10), soon), roster.succeeded(A, soon)), (None, None));
        let later = now + Duration::from_secs(7);
        assert_eq!(roster.sampled(A, ready(10), later), Some(Turn { from: B, to: A }));
    }

    #[test]
    fn a_survey_is_due_at_first_and_then_at_an_interval_that_is_shorter_away_from_home() {
        let began = Instant::now();
        let mut roster = Roster::new(2);
        assert!(roster.begin_survey(began));
        assert!(!roster.begin_survey(began + SURVEY_INTERVAL), "one at a time");
        roster.sampled(A, ready(10), began);
        roster.sampled(B, ready(50), began);
        roster.end_survey(began);
        assert!(!roster.clone().begin_survey(began + SURVEY_INTERVAL - Duration::from_millis(1)));
        assert!(roster.clone().begin_survey(began + SURVEY_INTERVAL));
        roster.failed(A, None, began);
        assert!(!roster.clone().begin_survey(began + RETURN_INTERVAL - Duration::from_millis(1)));
        assert!(roster.begin_survey(began + RETURN_INTERVAL));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Sampled(usize, Option<u64>),
        Failed(usize, Option<u64>),
        Succeeded(usize),
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let event = prop_oneof![
            (0..3_usize, proptest::option::weighted(0.8, 1..200_u64)).prop_map(|(at, ms)| Event::Sampled(at, ms)),
            (0..3_usize, proptest::option::weighted(0.2, 0..20_u64)).prop_map(|(at, rest)| Event::Failed(at, rest)),
            (0..3_usize).prop_map(Event::Succeeded),
        ];
        proptest::collection::vec((0..10_u64, event), 1..60)
    }

    proptest! {
        #[test]
        fn it_talks_to_one_that_is_up_and_changes_for_a_reason_only(events in events()) {
            let mut roster = Roster::new(3);
            let mut now = Instant::now();
            for (pause, event) in events {
                now += Duration::from_secs(pause);
                let before = roster.clone();
                let turn = match event {
                    Event::Sampled(at, Some(ms)) => roster.sampled(EndpointIndex::new(at), ready(ms), now),
                    Event::Sampled(at, None) => roster.sampled(EndpointIndex::new(at), Sample::NotReady, now),
                    Event::Failed(at, rest) => roster.failed(EndpointIndex::new(at), rest.map(Duration::from_secs), now),
                    Event::Succeeded(at) => roster.succeeded(EndpointIndex::new(at), now),
                };
                let is_any_up = roster.order().iter().any(|endpoint| roster.is_up(*endpoint));
                prop_assert!(!is_any_up || !roster.has_choice() || roster.is_up(roster.current()));
                prop_assert_eq!(before.has_choice() && before.current() != roster.current(), turn.is_some());
                if let Some(Turn { from, to }) = turn {
                    prop_assert_eq!((from, to), (before.current(), roster.current()));
                    let is_home = before.home == Some(to);
                    prop_assert!(!roster.is_up(from) || is_home || roster.is_clearly_nearer(to, from));
                }
                if let Some(home) = roster.home.filter(|home| roster.is_up(*home)) {
                    prop_assert_eq!(roster.current(), home, "away from home only while it is away");
                }
            }
        }
    }
}
