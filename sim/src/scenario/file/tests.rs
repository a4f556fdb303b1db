//! Tests of scenario files.

use super::fault::ACTIONS;
use super::swarm::KINDS;
use super::*;
use crate::faults::{Event, Fault, Kind};
use crate::scenario::ready::READY;
use crate::scenario::{Assertion, DiskKind, Link, Measure};

const HEAD: &str = "name = \"x\"\n";

const REGIONS: &str = "[[region]]\nname = \"eu\"\nnodes = 2\n[[region]]\nname = \"us\"\n";

fn of(rest: &str) -> Result<Scenario, String> {
    read("x.toml", &format!("{HEAD}{REGIONS}{rest}")).map_err(|problems| problems.to_string())
}

/// The events of a fault, as they are told.
fn events(fault: &str) -> Vec<String> {
    let scenario = of(&format!("[[fault]]\n{fault}")).unwrap();
    scenario.schedule.iter().map(|Event { at, fault }| format!("{} {fault}", at.as_millis())).collect()
}

#[track_caller]
fn refused(rest: &str, expected: &str) {
    let told = of(rest).unwrap_err();
    assert!(told.contains(expected), "{expected:?} is not in\n{told}");
}

#[test]
fn little_has_to_be_said() {
    let scenario = of("").unwrap();
    let standard = Scenario::standard(3, Duration::from_secs(20));
    assert_eq!((scenario.nodes(), scenario.region_of_each().join(" ")), (3, "eu eu us".to_owned()));
    assert_eq!((scenario.lasting, scenario.calm), (standard.lasting, standard.calm));
    assert_eq!((scenario.links, scenario.workload), (standard.links, standard.workload));
    assert_eq!((scenario.swarm, scenario.schedule, scenario.assertions), (None, vec![], vec![]));
    assert_eq!(scenario.settings, Settings::none());
}

#[test]
fn all_of_a_scenario_can_be_said() {
    let text = format!(
        "{HEAD}lasting = \"30s\"\ncalm = \"1m\"\nassert = ['converges within \"5s\"', \"cursor_lag p99.9 below 2s in eu\"]\n{REGIONS}\
         [links]\nwithin = {{ latency = \"2ms\" }}\nbetween = {{ loss = 0.01, bandwidth = \"10MB/s\" }}\n\
         [[links.pair]]\nregions = [\"us\", \"eu\"]\njitter = \"7ms\"\n\
         [node]\ndisk = \"redb\"\nretention_s = 5\npulse_ms = \"1000\"\n\
         [workload]\nartifacts = 7\nposts = 1\nresolves = 0.5\nimports = 3\n\
         [swarm]\nat_most = 3\nkinds = [\"crash\", \"cut\"]\n"
    );
    let scenario = read("x.toml", &text).unwrap();
    let between = Link { loss: 0.01, bandwidth: Some(10_000_000), ..Link::of_millis(40) };
    assert_eq!(scenario.links.of("eu", "eu"), Link::of_millis(2));
    assert_eq!(scenario.links.of("us", "eu"), Link { jitter: Duration::from_millis(7), ..between });
    assert_eq!((scenario.links.between, scenario.settings.disk), (between, DiskKind::Redb));
    let product = [("pulse_ms", "1000"), ("retention_s", "5")].map(|(key, text)| (key.to_owned(), text.to_owned()));
    assert_eq!(scenario.settings.product, product.into());
    let Workload { artifacts, posts, resolves, imports, reads, .. } = scenario.workload;
    assert_eq!((artifacts, posts, resolves, imports, reads), (7, 1.0, 0.5, 3, 5.0));
    let swarm = scenario.swarm.unwrap();
    assert_eq!((swarm.at_most, swarm.kinds), (3, [Kind::Crash, Kind::Cut].into()));
    let lag = Assertion::Percentile {
        measure: Measure::CursorLag,
        percentile: 99.9,
        below: Duration::from_secs(2),
        region: Some("eu".to_owned()),
    };
    assert_eq!(scenario.assertions, [Assertion::Converges { within: Duration::from_secs(5) }, lag]);
}

#[test]
fn regions_stand_for_their_hosts() {
    let cut = events("at = \"1s\"\nuntil = \"2s\"\ncut = [\"eu\", \"us\"]");
    assert_eq!(cut, ["1000 cut n1 n3", "1000 cut n2 n3", "2000 mend n1 n3", "2000 mend n2 n3"]);
    let others = events("at = \"1s\"\ncut_one_way = [\"us\", \"others\"]");
    assert_eq!(others, ["1000 cut n3 to n1, one way", "1000 cut n3 to n2, one way"]);
    assert_eq!(events("at = \"1s\"\nstop = \"all\"").len(), 3);
    assert_eq!(events("at = \"1s\"\nstop = [\"n3\", \"us\", \"n1\"]"), ["1000 stop n1", "1000 stop n3"]);
}

#[test]
fn every_fault_can_be_said() {
    let cases = [
        ("hold = [\"n1\", \"n2\"]", "1000 hold what is between n1 and n2; 2000 mend n1 n2"),
        ("mend = [\"n1\", \"n2\"]", "1000 mend n1 n2"),
        (
            "link = [\"n2\", \"n3\"]\nlatency = \"90ms\"\nloss = 0.2",
            "1000 link n2 n3 takes 90ms to 90ms, loses 0.2; 2000 link n2 n3 as ever",
        ),
        ("link_as_ever = [\"n2\", \"n3\"]", "1000 link n2 n3 as ever"),
        ("crash = \"n1\"\nkept = 2", "1000 crash n1, 2 unsynced writes kept; 2000 restart n1"),
        ("stop = \"n1\"", "1000 stop n1; 2000 restart n1"),
        ("restart = \"n1\"", "1000 restart n1"),
        ("wipe = \"n1\"", "1000 wipe n1; 2000 restart n1"),
        ("backup = \"n1\"", "1000 back up n1"),
        ("restore = \"n1\"", "1000 restore n1 from its backup; 2000 restart n1"),
        (
            "disk_full = \"n1\"",
            "1000 disk of n1 full; 2000 disk of n1 has room; 2000 crash n1, 0 unsynced writes kept; 2000 restart n1",
        ),
        ("disk_room = \"n1\"", "1000 disk of n1 has room"),
        ("disk_low = \"n1\"", "1000 disk of n1 low; 2000 disk of n1 not low"),
        ("disk_not_low = \"n1\"", "1000 disk of n1 not low"),
        ("sync_fails = \"n1\"", "1000 next sync of n1 fails; 2000 crash n1, 0 unsynced writes kept; 2000 restart n1"),
        ("slow_disk = \"n1\"\nsync = \"90ms\"", "1000 disk of n1 syncs in 90 ms; 2000 disk of n1 syncs in 1 ms"),
        ("clock = \"n1\"\nahead = \"-1.5s\"", "1000 clock of n1 -1500 ms ahead; 2000 clock of n1 0 ms ahead"),
        ("drift = \"n1\"\nppm = -500", "1000 clock of n1 gains -500 ppm; 2000 clock of n1 0 ms ahead"),
        ("freeze = \"n1\"", "1000 clock of n1 stands still; 2000 clock of n1 0 ms ahead"),
        ("stall = \"n1\"", "1000 stall n1; 2000 resume n1"),
        ("resume = \"n1\"", "1000 resume n1"),
        ("leave = \"n1\"", "1000 n1 leaves"),
        ("forget = \"n3\"\ntold = \"eu\"", "1000 n1 forgets n3; 1000 n2 forgets n3"),
        ("version = \"n1\"\nnewest = 1", "1000 n1 speaks up to version 1; 2000 n1 speaks all versions"),
        ("version = \"n1\"\nnewest = \"all\"", "1000 n1 speaks all versions; 2000 n1 speaks all versions"),
        (
            "flap = [\"n1\", \"n2\"]\nevery = \"800ms\"",
            "1000 cut n1 n2; 1400 mend n1 n2; 1800 cut n1 n2; 2000 mend n1 n2",
        ),
    ];
    for (fault, expected) in cases {
        let until = if expected.contains("2000") { "until = \"2s\"\n" } else { "" };
        assert_eq!(events(&format!("at = \"1s\"\n{until}{fault}")).join("; "), expected);
    }
}

#[test]
fn hosts_are_restarted_one_after_the_other() {
    let rolled = events("at = \"1s\"\nrolling = \"eu\"\nevery = \"3s\"\ndown = \"2s\"\nnewest = \"all\"");
    let expected = "1000 n1 speaks all versions; 1000 stop n1; 3000 restart n1; \
                    4000 n2 speaks all versions; 4000 stop n2; 6000 restart n2";
    assert_eq!(rolled.join("; "), expected);
}

#[test]
fn an_error_tells_its_place_its_key_its_rule_and_its_line() {
    let told = of("[links]\nbetween = { latency = \"20s\" }").unwrap_err();
    let expected = "x.toml:8:23: links.between.latency: must be from 1ms to 10s\n  |\n\
                    8 | between = { latency = \"20s\" }\n  |                       ^^^^^";
    assert_eq!(told, expected);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = read(
        "x.toml",
        "nam = \"x\"\ncalm = \"0s\"\n[[region]]\nname = \"EU\"\nnodes = 0\n[swarm]\nkinds = [\"cuts\"]\n",
    );
    let told = told.unwrap_err();
    let places: Vec<(usize, &str)> = told.told.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    let expected =
        [(1, ""), (1, "nam"), (2, "calm"), (4, "region.name"), (5, "region.nodes"), (6, "swarm"), (7, "swarm.kinds")];
    assert_eq!(places, expected, "{told}");
    assert!(told.told[1].rule.contains("perhaps `name` is meant"), "{told}");
}

#[test]
fn a_file_that_is_not_toml_is_told_line_by_line() {
    let told = read("x.toml", "name = \nlasting = \"5s\nname = 1\n").unwrap_err();
    assert!(told.told.len() >= 2 && told.told[0].line == 1 && told.told[1].line == 2, "{told}");
}

#[test]
fn nodes_are_two_to_a_hundred() {
    let nodes = |nodes: u32| read("x", &format!("name = \"x\"\n[[region]]\nname = \"a\"\nnodes = {nodes}"));
    assert!(nodes(1).unwrap_err().to_string().contains("at least 2 nodes"));
    assert!(nodes(100).is_ok());
    let many = "[[region]]\nname = \"a\"\nnodes = 60\n[[region]]\nname = \"b\"\nnodes = 60\n[[fault]]\nat = \"1s\"\nstop = \"n9\"";
    let told = read("x", &format!("name = \"x\"\n{many}")).unwrap_err();
    assert!(told.told.len() == 1 && told.to_string().contains("at most 100 nodes"), "{told}");
}

#[test]
fn settings_keep_the_rules_of_the_product() {
    refused(
        "[node]\ncash_mib = 8",
        "8:1: node.cash_mib: is no setting of the product; see docs/configuration.md; perhaps `cache_mib`",
    );
    refused("[node]\ncache_mib = 7", "8:13: node.cache_mib: must be a whole number from 8 to 1048576");
    refused("[node]\nengine = \"redb\"", "node.engine: is for the simulation to say");
    refused("[node]\ntokens = [\"a:b\"]", "node.tokens: is for the simulation to say");
    refused("[node]\ncache_mib = 1.5", "must be a text, a whole number, true or false, and is a number");
    refused(
        "[node]\nretention_s = 2\nmax_drift_ms = 1000",
        "7:1: node: retention_s: must be more than twice max_drift_ms",
    );
    refused("[node]\ndisk = \"tape\"", "must be one of memory, redb");
    assert!(of("[node]\nretention_s = 2\nmax_drift_ms = 900").is_ok());
}

#[test]
fn what_contradicts_itself_is_refused() {
    refused("[[fault]]\nat = \"21s\"\nstop = \"n1\"", "fault.at: is beyond the end of the run, which is lasting 20s");
    refused("[[fault]]\nat = \"5s\"\nuntil = \"5s\"\nstop = \"n1\"", "fault.until: must be after `at`");
    refused("[[fault]]\nat = \"5s\"\nuntil = \"7s\"\nleave = \"n1\"", "`leave` is not mended");
    refused("[[fault]]\nat = \"5s\"\nstop = \"n4\"", "there is no host n4: there are n1 to n3");
    refused(
        "[[fault]]\nat = \"5s\"\nstop = \"usa\"",
        "`usa` is neither a host, as n1, nor a region, nor `all`; perhaps `us`",
    );
    refused("[[fault]]\nat = \"5s\"\ncut = [\"n1\", \"eu\"]", "the two sides must have no host in common");
    refused("[[fault]]\nat = \"5s\"\ncut = [\"all\", \"others\"]", "the two sides must have no host in common");
    refused("[[fault]]\nat = \"5s\"\ncut = \"n1\"", "fault.cut: must be a list, and is a text");
    refused(
        "[[fault]]\nat = \"5s\"\nstop = \"n1\"\ncrash = \"n2\"",
        "has both `crash` and `stop`: make two faults of it",
    );
    refused("[[fault]]\nat = \"5s\"\ncrashes = \"n1\"", "does not say what goes wrong: one of cut,");
    refused("[[fault]]\nat = \"5s\"\nstop = \"n1\"\nkept = 1", "fault.kept: is no key here; there are at, until, stop");
    refused("[[fault]]\nat = \"5s\"\nlink = [\"eu\", \"us\"]", "says nothing of the link");
    refused("[[fault]]\nat = \"5s\"\nflap = [\"eu\", \"us\"]\nevery = \"1s\"", "a link flaps `until` a time");
    refused("[[fault]]\nat = \"1s\"\nrolling = \"all\"\nevery = \"9.5s\"", "the last host is started at 21s");
    refused("[[fault]]\nat = \"1s\"\nforget = \"n1\"\ntold = \"eu\"", "cannot be told to forget itself");
    refused("[[fault]]\nat = \"1s\"\nversion = \"n1\"\nnewest = 99", "must be a version from 1 to ");
    refused(
        "[[links.pair]]\nregions = [\"eu\", \"us\"]\n[[links.pair]]\nregions = [\"us\", \"eu\"]",
        "is said of these two regions before",
    );
    refused("[[links.pair]]\nregions = [\"eu\", \"mars\"]", "there is no region `mars`");
    refused("[[links.pair]]\nregions = [\"eu\", \"eu\"]", "for one there is `within`");
    refused("[[region]]\nname = \"n7\"", "must not be called as hosts are");
    refused("[[region]]\nname = \"eu\"", "there is another region of this name");
    refused("[workload]\nresolves = 0.7\nretires = 0.6", "together they must be at most 1");
    refused("[workload]\nwithout = [\"e1-1\", \"e1 2\"]", "8:20: workload.without: must be the id of a transition");
    refused("[workload]\nwithout = \"e1-1\"", "must be a list, and is a text");
    refused("[swarm]\nkinds = [\"cut\"]\nwithout = [\"crash\"]", "only one of them can be said");
    refused("[swarm]\nassert = [\"no_lost_acks\"]", "swarm.assert: stands at the top of the file");
}

#[test]
fn an_assertion_is_marked_where_it_is_wrong() {
    let told = |line: &str| read("x.toml", &format!("{HEAD}assert = [{line}]\n{REGIONS}")).unwrap_err().to_string();
    assert!(
        told("'cursor_lag p99 below \"2s\" in \"mars\"'").starts_with("x.toml:2:42: assert: there is no region `mars`")
    );
    assert!(told("\"cursor_lag p99 under 2s\"").starts_with("x.toml:2:27: assert: `below` is expected here"));
    assert!(told("\"\\u0063ursor_lag p99 under 2s\"").starts_with("x.toml:2:11: assert: `below` is expected"));
    assert!(told("5").starts_with("x.toml:2:11: assert: must be a text in quotes"));
}

#[test]
fn nothing_is_written_out_without_end() {
    let flaps = "[[fault]]\nat = \"0s\"\nuntil = \"1h\"\nflap = [\"a\", \"others\"]\nevery = \"100ms\"";
    let text = format!(
        "name = \"x\"\nlasting = \"1h\"\n[[region]]\nname = \"a\"\nnodes = 50\n[[region]]\nname = \"b\"\nnodes = 50\n{flaps}"
    );
    assert!(read("x", &text).unwrap_err().to_string().contains("more than 100000 events"));
    assert!(read("x", &" ".repeat(FILE_BYTES_MAX + 1)).is_err());
    let ids = "\"e1-1\",".repeat(UNPOSTED_MAX + 1);
    assert!(of(&format!("[workload]\nwithout = [{ids}]")).unwrap_err().contains("must be at most 100000"));
}

#[test]
fn every_kind_can_be_named() {
    assert_eq!(KINDS.map(|(_, kind)| kind), Kind::ALL);
    let without = of("[swarm]\nwithout = [\"wipe\", \"restore\"]").unwrap().swarm.unwrap();
    assert_eq!(without.kinds.len(), Kind::ALL.len() - 2);
}

#[test]
fn ready_scenarios_are_sound_and_tell_what_they_are() {
    for ready in READY {
        let scenario = read(ready.name, ready.text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(scenario.name, ready.name);
        assert!(ready.text.starts_with("# ") && ready.meaning().ends_with('.'), "{}", ready.name);
        assert!(!scenario.assertions.is_empty(), "{}", ready.name);
    }
}

#[test]
fn an_upgrade_begins_before_the_first_start() {
    let scenario = read("x", crate::scenario::ready::named("rolling-upgrade").unwrap().text).unwrap();
    assert!(matches!(scenario.schedule[0].fault, Fault::Version { host: 1, newest: Some(_) }));
    assert_eq!(scenario.schedule[0].at, Duration::ZERO);
}

#[test]
fn the_page_has_every_key() {
    let page = include_str!("../../../../docs/scenarios.md");
    let actions = ACTIONS.map(|(name, _)| format!("\n| `{name}` |"));
    let measures = assertions::MEASURES.map(|(name, _)| format!("\n| `{name} pN below D` |"));
    let kinds = KINDS.map(|(name, _)| format!("`{name}`"));
    for key in actions.iter().chain(&measures).chain(&kinds).chain(&KEPT.map(|key| format!("`{key}`"))) {
        assert!(page.contains(key.as_str()), "{key:?} is not in docs/scenarios.md");
    }
}
