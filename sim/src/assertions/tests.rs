//! Tests of the assertions.

use super::*;

fn verdict() -> Verdict {
    let millis = |range: std::ops::RangeInclusive<u64>| range.map(Duration::from_millis).collect();
    Verdict {
        posts: [("eu", 100, 99), ("us", 100, 80), ("ap", 0, 0)]
            .map(|(region, posted, acknowledged)| (region.to_owned(), Posts { posted, acknowledged }))
            .into(),
        samples: [
            ((Measure::CursorLag, "eu".to_owned()), millis(1..=1_000)),
            ((Measure::CursorLag, "us".to_owned()), millis(2_001..=3_000)),
        ]
        .into(),
        converged: Some(Duration::from_millis(4_500)),
        ..Verdict::default()
    }
}

fn judged(line: &str, verdict: &Verdict) -> (bool, String) {
    let mut scenario = Scenario::standard(3, Duration::from_secs(5));
    scenario.assertions = vec![parse(line).unwrap()];
    let judged = judge(&scenario, verdict).remove(0);
    (judged.holds, judged.to_string())
}

#[track_caller]
fn holds(line: &str, told: &str) {
    assert_eq!(judged(line, &verdict()), (true, told.to_owned()));
}

#[track_caller]
fn fails(line: &str, told: &str) {
    assert_eq!(judged(line, &verdict()), (false, told.to_owned()));
}

#[test]
fn a_run_converges_in_time() {
    holds("converges within \"5s\"", "converges within 5s: took 4.5s");
    fails("converges within 4s", "converges within 4s: took 4.5s");
    let never = Verdict { converged: None, ..verdict() };
    assert_eq!(judged("converges within 4s", &never).1, "converges within 4s: did not within the calm of 2m");
}

#[test]
fn nothing_acknowledged_is_lost() {
    holds("no_lost_acks", "no_lost_acks: none is lost");
    let lost = Verdict { lost: (1..=7).map(|nth| format!("e1-{nth}")).collect(), ..verdict() };
    let told = "no_lost_acks: 7 acknowledged are not at every node: e1-1, e1-2, e1-3, e1-4, e1-5, …";
    assert_eq!(judged("no_lost_acks", &lost), (false, told.to_owned()));
}

#[test]
fn percentiles_are_of_nearest_rank_and_lie_below() {
    holds("cursor_lag p99 below 991ms in eu", "cursor_lag p99 below 991ms in eu: is 990ms, of 1000 measured");
    fails("cursor_lag p99 below 990ms in eu", "cursor_lag p99 below 990ms in eu: is 990ms, of 1000 measured");
    holds("cursor_lag p99.9 below 1s in eu", "cursor_lag p99.9 below 1s in eu: is 999ms, of 1000 measured");
    holds("cursor_lag p0 below 2ms", "cursor_lag p0 below 2ms: is 1ms, of 2000 measured");
    holds("cursor_lag p50 below 1.5s", "cursor_lag p50 below 1.5s: is 1s, of 2000 measured");
    fails("cursor_lag p100 below 3s", "cursor_lag p100 below 3s: is 3s, of 2000 measured");
    fails("read_latency p50 below 3s", "read_latency p50 below 3s: nothing was measured");
}

#[test]
fn a_part_is_acknowledged() {
    holds("acknowledged at least \"99%\" in eu", "acknowledged at least 99% in eu: 99 of 100 are, 99%");
    fails("acknowledged at least 0.9", "acknowledged at least 90%: 179 of 200 are, 89.5%");
    fails("acknowledged at least 0 in ap", "acknowledged at least 0% in ap: nothing was posted");
}

#[test]
fn what_is_no_assertion_is_told_with_its_place() {
    let cases = [
        ("", 0..0, "must begin with converges"),
        ("converge within 5s", 0..8, "must begin with converges"),
        ("converges in 5s", 10..12, "`within` is expected here"),
        ("converges within soon", 17..21, "a duration in whole milliseconds"),
        ("converges within 0s", 17..19, "a duration in whole milliseconds"),
        ("converges within 5s always", 20..26, "nothing more is expected"),
        ("converges within \"5s", 17..20, "the quote is not closed"),
        ("cursor_lag p101 below 5s", 11..15, "a percentile from p0 to p100"),
        ("cursor_lag p-1 below 5s", 11..14, "a percentile from p0 to p100"),
        ("cursor_lag 99 below 5s", 11..13, "a percentile from p0 to p100"),
        ("cursor_lag p99 below 5s at eu", 24..26, "`in` and a region"),
        ("cursor_lag p99 below 5s in", 26..26, "a region is expected"),
        ("acknowledged at least 101%", 22..26, "a part, as"),
        ("no_lost_acks at all", 13..15, "nothing more is expected"),
    ];
    for (line, at, rule) in cases {
        let wrong = parse(line).unwrap_err();
        assert!(wrong.at == at && wrong.rule.starts_with(rule), "{line}: {wrong:?}");
    }
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let check = |line: &str| check(line, &parse(line).unwrap(), &["eu", "us"], Duration::from_secs(60));
    assert_eq!(check("cursor_lag p99 below 2s in \"mars\"").unwrap_err().at, 28..32);
    assert!(check("converges within 61s").unwrap_err().rule.contains("at most `calm`, which is 1m"));
    assert_eq!(check("converges within 1m"), Ok(()));
}
