//! `plimsoll tls` over directories.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::exit::Exit;
use crate::fake_node::{FakeNode, Run};

/// A directory in which commands run: `@x` in a command line stands for `x` below it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a CA, and a node's directory of it.
    async fn with_node() -> Self {
        let place = Self::new();
        place.done("ca --out @ca").await;
        place.done("node --ca @ca --out @a --host a.example --host 10.0.0.1").await;
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn run(&self, line: &str) -> Run {
        let root = format!("{}/", self.0.path().display());
        let words: Vec<String> = line.split(' ').map(|word| word.replace('@', &root)).collect();
        let words: Vec<&str> = ["tls"].into_iter().chain(words.iter().map(String::as_str)).collect();
        FakeNode::new().run(&words).await
    }

    async fn done(&self, line: &str) -> String {
        let run = self.run(line).await;
        assert_eq!(run.exit, Exit::Done, "{}", run.remarks);
        run.answers
    }

    /// What a command says that is refused as a matter of configuration.
    async fn refused(&self, line: &str) -> String {
        let run = self.run(line).await;
        assert_eq!((run.exit, run.answers.as_str()), (Exit::Config, ""));
        run.remarks
    }

    /// Names and contents of the files in a directory.
    fn files(&self, name: &str) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.path(name)).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

#[tokio::test]
async fn a_ca_and_a_node_of_it_make_a_directory_a_node_can_use() {
    let place = Place::with_node().await;
    let shown = place.done("show @a").await;
    assert!(shown.contains("CN=plimsoll CA") && shown.contains("a.example, 10.0.0.1"), "{shown}");
    assert!(shown.contains("364 days left") || shown.contains("365 days left"), "{shown}");
    let ca = place.done("show @ca").await;
    assert!(ca.contains("3649 days left") || ca.contains("3650 days left"), "{ca}");
    assert_eq!(place.files("a")[CA_FILE], place.files("ca")[CA_FILE]);
    assert_eq!(place.files("a").into_keys().collect::<Vec<_>>(), [CA_FILE, NODE_KEY_FILE, NODE_FILE]);
    assert_eq!(place.files("ca").into_keys().collect::<Vec<_>>(), [CA_KEY_FILE, CA_FILE]);
}

#[tokio::test]
async fn only_their_owner_can_read_keys() {
    let place = Place::with_node().await;
    assert_eq!((place.mode("ca/ca.key"), place.mode("a/node.key")), (0o600, 0o600));
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_half_done() {
    let place = Place::with_node().await;
    let before = (place.files("ca"), place.files("a"));
    let refusal = place.refused("ca --out @ca").await;
    assert!(refusal.contains("ca.key is there already") && refusal.contains("--out"), "{refusal}");
    let refusal = place.refused("node --ca @ca --out @a --host b").await;
    assert!(refusal.contains("node.key is there already"), "{refusal}");
    assert_eq!((place.files("ca"), place.files("a")), before);
    for file in [CA_FILE, NODE_FILE] {
        let directory = format!("with-{file}");
        fs::create_dir(place.path(&directory)).unwrap();
        fs::write(place.path(&directory).join(file), "mine").unwrap();
        place.refused(&format!("node --ca @ca --out @{directory} --host b")).await;
        assert_eq!(place.files(&directory), BTreeMap::from([(file.to_owned(), "mine".to_owned())]));
    }
}

#[tokio::test]
async fn a_node_may_share_the_directory_of_its_ca() {
    let place = Place::with_node().await;
    place.done("node --ca @ca --out @ca --host b").await;
    place.done("show @ca").await;
    assert_eq!(place.files("ca").len(), 4);
}

#[tokio::test]
async fn programs_get_json() {
    let place = Place::new();
    let made: Value = serde_json::from_str(&place.done("ca --out @ca --name Tokyo --output json").await).unwrap();
    assert_eq!((&made["name"], &made["files"]), (&json!("Tokyo"), &json!(["ca.pem", "ca.key"])));
    let line = "node --ca @ca --out @a --host a ::1 --days 20 --output json";
    let made: Value = serde_json::from_str(&place.done(line).await).unwrap();
    assert_eq!(made["hosts"], json!(["a", "::1"]));
    let shown: Value = serde_json::from_str(&place.done("show @a --output json").await).unwrap();
    assert_eq!(shown["problem"], Value::Null);
    let [ca, node] = &shown["certificates"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&ca["file"], &ca["subject"], &ca["is_ca"]), (&json!("ca.pem"), &json!("CN=Tokyo"), &json!(true)));
    assert_eq!((&node["file"], &node["names"]), (&json!("node.pem"), &json!(["a", "::1"])));
    assert_eq!((&node["warning"], &node["not_after"]), (&json!("notice"), &made["not_after"]));
    assert!(node["days_left"].as_i64().is_some_and(|days| days == 19 || days == 20), "{node}");
}

#[tokio::test]
async fn a_directory_that_no_node_could_use_is_shown_and_refused() {
    let place = Place::with_node().await;
    place.done("node --ca @ca --out @b --host b").await;
    fs::copy(place.path("b/node.key"), place.path("a/node.key")).unwrap();
    let run = place.run("show @a").await;
    assert_eq!(run.exit, Exit::Config);
    assert!(run.answers.contains("CN=a.example"), "{}", run.answers);
    assert!(run.remarks.contains("is not the key of the certificate"), "{}", run.remarks);
    let refusal = place.refused("show @nowhere").await;
    assert!(refusal.contains("nowhere/ca.pem"), "{refusal}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_written() {
    let place = Place::with_node().await;
    for (line, reason) in [
        ("node --ca @ca --out @b --host a:7272", "\"a:7272\" is neither"),
        ("node --ca @a --out @b --host b", "ca.key"),
        ("node --ca @nowhere --out @b --host b", "plimsoll tls ca"),
    ] {
        let refusal = place.refused(line).await;
        assert!(refusal.contains(reason), "{refusal}");
    }
    assert!(!place.path("b").exists());
}

#[test]
fn what_is_left_is_said_in_words() {
    for (days, warning, expected) in [
        (30, None, "30 days left"),
        (7, Some(Severity::Notice), "7 days left, renew it soon"),
        (1, Some(Severity::Warning), "1 day left, RENEW IT"),
        (0, Some(Severity::Critical), "less than a day left, RENEW IT NOW"),
        (-1, Some(Severity::Expired), "EXPIRED"),
    ] {
        assert_eq!(left(days, warning), expected);
    }
}
