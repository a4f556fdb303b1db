//! Imports into a node in memory.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::source::Source;
use crate::exit::Exit;
use crate::fake_node::{FakeNode, Run};

struct Files {
    _directory: TempDir,
    input: PathBuf,
    state: PathBuf,
    refused: PathBuf,
}

impl Files {
    fn new(input: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let files = Self {
            input: file("input.ndjson"),
            state: file("state"),
            refused: file("refused.ndjson"),
            _directory: directory,
        };
        fs::write(&files.input, input).unwrap();
        files
    }

    async fn import(&self, node: &Arc<FakeNode>) -> Run {
        self.import_at(std::slice::from_ref(node), "json").await
    }

    async fn import_at(&self, nodes: &[Arc<FakeNode>], output: &str) -> Run {
        let [input, state, refused] = [&self.input, &self.state, &self.refused].map(|file| file.to_str().unwrap());
        let line = ["--output", output, "import", input, "--resume", state, "--refused", refused];
        FakeNode::run_at(nodes, &line).await
    }
}

fn line(number: usize, status: &str) -> String {
    let transition = json!({"artifact_id": format!("a-{}", number % 7), "transition_id": format!("t-{number}"),
        "status": status, "produced_refs": []});
    format!("{transition}\n")
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| line(number, "s")).collect()
}

fn summary(run: &Run) -> Value {
    serde_json::from_str(&run.answers).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_file_is_imported_in_requests_of_bounded_size() {
    let files = Files::new(&lines(0..22_500));
    let node = FakeNode::new();
    let run = files.import(&node).await;
    assert_eq!(run.exit, Exit::Done);
    assert_eq!((&summary(&run)["accepted"], &summary(&run)["lines"]), (&22_500.into(), &22_500.into()));
    assert_eq!(node.batches(), 3);
}

#[tokio::test(start_paused = true)]
async fn refused_lines_are_reported_and_kept_and_the_others_imported() {
    let bad = line(1, "bad");
    let files = Files::new(&[line(0, "s"), "\n".to_owned(), bad.clone(), "{\n".to_owned(), line(2, "s")].concat());
    let run = files.import(&FakeNode::new()).await;
    assert_eq!(run.exit, Exit::Refused);
    assert_eq!((&summary(&run)["accepted"], &summary(&run)["refused"]), (&2.into(), &2.into()));
    let reported: Vec<Value> = run.remarks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&reported[0]["line"], &reported[0]["transition_id"]), (&3.into(), &"t-1".into()));
    assert_eq!((&reported[1]["line"], &reported[1]["status"]), (&4.into(), &400.into()));
    assert_eq!(fs::read_to_string(&files.refused).unwrap(), format!("{bad}{{\n"));
}

#[tokio::test(start_paused = true)]
async fn conflicts_alone_have_their_exit_code() {
    let files = Files::new(&[line(0, "s"), line(1, "taken")].concat());
    assert_eq!(files.import(&FakeNode::new()).await.exit, Exit::Conflict);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_import_goes_on_where_it_stopped() {
    let files = Files::new(&lines(0..25_000));
    let node = FakeNode::new();
    *node.requests_left.lock().unwrap() = Some(1);
    let run = files.import(&node).await;
    assert_eq!((run.exit, node.transitions_held()), (Exit::Config, 10_000));
    *node.requests_left.lock().unwrap() = None;
    let run = files.import(&node).await;
    assert_eq!((run.exit, node.transitions_held()), (Exit::Done, 25_000));
    assert_eq!((&summary(&run)["accepted"], &summary(&run)["repeated"]), (&25_000.into(), &0.into()));
    let grown = [fs::read_to_string(&files.input).unwrap(), lines(25_000..25_010)].concat();
    fs::write(&files.input, grown).unwrap();
    assert_eq!(summary(&files.import(&node).await)["accepted"], 25_010, "a file may grow");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changed_where_it_was_imported_is_refused() {
    let files = Files::new(&lines(0..10));
    let node = FakeNode::new();
    files.import(&node).await;
    for changed in [lines(1..11), lines(0..9), String::new()] {
        fs::write(&files.input, changed).unwrap();
        let run = files.import(&node).await;
        assert_eq!(run.exit, Exit::Config);
        assert!(run.remarks.contains("has changed"), "{}", run.remarks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_of_another_node_or_token_or_of_nothing_is_refused() {
    let files = Files::new(&lines(0..10));
    let node = FakeNode::new();
    files.import(&node).await;
    let other = FakeNode::named("00000000000000aa");
    let run = files.import(&other).await;
    assert_eq!((run.exit, other.batches()), (Exit::Config, 0));
    assert!(run.remarks.contains("began at the node 00c0ffee00c0ffee, this is 00000000000000aa"));
    let [input, state] = [&files.input, &files.state].map(|file| file.to_str().unwrap());
    let run = node.run(&["import", input, "--resume", state, "--token", "sesame"]).await;
    assert_eq!(run.exit, Exit::Config);
    assert!(run.remarks.contains("another token"));
    fs::write(&files.state, "{}").unwrap();
    assert_eq!(files.import(&node).await.exit, Exit::Config);
}

const NAMES: [&str; 3] = ["00000000000000aa", "00000000000000bb", "00000000000000cc"];

#[tokio::test(start_paused = true)]
async fn an_import_goes_on_at_another_node_where_one_cannot_take_a_line() {
    let files = Files::new(&[line(0, "s"), line(1, "taken"), line(2, "overloaded"), line(3, "s")].concat());
    let [near, far] = [FakeNode::at_distance(NAMES[0], 1), FakeNode::at_distance(NAMES[1], 50)];
    far.is_busy.store(false, SeqCst);
    let run = files.import_at(&[near.clone(), far.clone()], "json").await;
    assert_eq!((run.exit, near.transitions_held(), far.transitions_held()), (Exit::Conflict, 1, 2));
    assert_eq!((&summary(&run)["accepted"], &summary(&run)["refused"]), (&3.into(), &1.into()));
    assert_eq!(fs::read_to_string(&files.refused).unwrap(), line(1, "taken"));
}

#[tokio::test(start_paused = true)]
async fn it_is_resumed_at_any_of_the_nodes_it_began_at_and_at_no_other() {
    let files = Files::new(&lines(0..10));
    let [a, b, c] = NAMES.map(FakeNode::named);
    assert_eq!(files.import_at(&[a.clone(), b.clone()], "json").await.exit, Exit::Done);
    for nodes in [vec![b.clone()], vec![b.clone(), a.clone()], vec![a.clone()]] {
        assert_eq!(summary(&files.import_at(&nodes, "json").await)["lines"], 10);
    }
    for nodes in [vec![c.clone()], vec![a.clone(), c.clone()]] {
        let run = files.import_at(&nodes, "text").await;
        assert_eq!((run.exit, c.batches()), (Exit::Config, 0));
        assert!(run.remarks.contains(&format!("began at the nodes {}, {}, this is {}", NAMES[0], NAMES[1], NAMES[2])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_at_the_beginning_is_left_out() {
    let files = Files::new(&lines(0..10));
    let [a, b, _] = NAMES.map(FakeNode::named);
    a.is_down.store(true, SeqCst);
    let run = files.import_at(&[a.clone(), b.clone()], "text").await;
    assert_eq!((run.exit, b.transitions_held()), (Exit::Done, 10));
    assert!(run.remarks.contains("http://0 does not answer, and is left out."), "{}", run.remarks);
    a.is_down.store(false, SeqCst);
    assert_eq!(files.import_at(&[a, b.clone()], "json").await.exit, Exit::Config, "its data is nobody's promise");
    let state: Value = serde_json::from_slice(&fs::read(&files.state).unwrap()).unwrap();
    assert_eq!(state["origin"].get("others"), None, "a state of one node is as it was");
    assert_eq!(files.import(&b).await.exit, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn the_state_does_not_tell_the_token() {
    let files = Files::new(&lines(0..1));
    let [input, state] = [&files.input, &files.state].map(|file| file.to_str().unwrap());
    FakeNode::new().run(&["import", input, "--resume", state, "--token", "sesame"]).await;
    assert!(!fs::read_to_string(&files.state).unwrap().contains("sesame"));
}

#[tokio::test(start_paused = true)]
async fn a_line_the_node_cannot_take_now_stops_the_import_there() {
    for status in ["rate-limited", "overloaded", "disk-full"] {
        let refused = line(1, "taken");
        let files =
            Files::new(&[line(0, "s"), refused.clone(), line(2, status), line(3, "taken"), line(4, "s")].concat());
        let node = FakeNode::new();
        let run = files.import(&node).await;
        assert_eq!((run.exit, node.transitions_held()), (Exit::Transient, 1), "{status}");
        assert_eq!(fs::read_to_string(&files.refused).unwrap(), refused, "what was refused for good is reported");
        let state: Value = serde_json::from_slice(&fs::read(&files.state).unwrap()).unwrap();
        assert_eq!(state["progress"]["position"]["lines"], 2);
        node.is_busy.store(false, SeqCst);
        let run = files.import(&node).await;
        assert_eq!((run.exit, node.transitions_held()), (Exit::Conflict, 3));
        let sum = summary(&run);
        assert_eq!((&sum["accepted"], &sum["repeated"], &sum["refused"]), (&3.into(), &0.into(), &2.into()));
        assert_eq!(fs::read_to_string(&files.refused).unwrap(), [refused, line(3, "taken")].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_line_without_its_end_is_posted_but_not_noted_as_done() {
    let whole = line(1, "s");
    for cut in [10, whole.len() - 1] {
        let files = Files::new(&[line(0, "s"), whole[..cut].to_owned()].concat());
        let node = FakeNode::new();
        let run = files.import(&node).await;
        let sum = summary(&run);
        assert_eq!(sum["lines"], 2);
        assert_eq!(sum["accepted"].as_u64().unwrap() + sum["refused"].as_u64().unwrap(), 2);
        fs::write(&files.input, [line(0, "s"), whole.clone(), line(2, "s")].concat()).unwrap();
        let run = files.import(&node).await;
        assert_eq!((run.exit, node.transitions_held()), (Exit::Done, 3), "cut after {cut} bytes");
        assert_eq!((&summary(&run)["lines"], &summary(&run)["refused"]), (&3.into(), &0.into()));
        assert_eq!(fs::read_to_string(&files.refused).unwrap(), "");
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_is_cut_off_where_the_state_ends() {
    let files = Files::new(&line(0, "taken"));
    let node = FakeNode::new();
    files.import(&node).await;
    let before = fs::read_to_string(&files.refused).unwrap();
    fs::write(&files.refused, format!("{before}written before a crash")).unwrap();
    fs::write(&files.input, [line(0, "taken"), line(1, "taken")].concat()).unwrap();
    files.import(&node).await;
    assert_eq!(fs::read_to_string(&files.refused).unwrap(), [before, line(1, "taken")].concat());
    fs::write(&files.refused, "").unwrap();
    let run = files.import(&node).await;
    assert_eq!(run.exit, Exit::Config);
    assert!(run.remarks.contains("shorter"), "{}", run.remarks);
}

#[tokio::test(start_paused = true)]
async fn importing_again_from_the_start_changes_nothing() {
    let files = Files::new(&lines(0..10));
    let node = FakeNode::new();
    files.import(&node).await;
    fs::remove_file(&files.state).unwrap();
    let run = files.import(&node).await;
    assert_eq!((&summary(&run)["accepted"], &summary(&run)["repeated"]), (&0.into(), &10.into()));
}

#[tokio::test(start_paused = true)]
async fn the_summary_in_text_is_one_line() {
    let files = Files::new(&lines(0..3));
    let run = FakeNode::new().run(&["import", files.input.to_str().unwrap()]).await;
    assert!(run.answers.starts_with("imported 3 lines in ") && run.answers.lines().count() == 1);
    assert!(run.answers.ends_with("3 accepted, 0 repeated, 0 refused\n"));
}

#[test]
fn a_line_beyond_the_bound_is_refused_and_the_next_one_is_read() {
    let mut input = vec![b'x'; 1024 * 1024];
    input.push(b'\n');
    input.extend(vec![b'y'; 3 * 1024 * 1024]);
    input.extend(b"\r\nlast");
    let mut source = Source::new(Box::new(std::io::Cursor::new(input)), None);
    let chunks: Vec<_> = std::iter::from_fn(|| source.next_chunk().unwrap()).collect();
    let seen: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| &chunk.lines)
        .map(|line| (line.number, line.text.as_ref().map(|text| text.len())))
        .collect();
    assert_eq!(seen, [(1, Some(1024 * 1024)), (2, None), (3, Some(4))]);
    assert_eq!(chunks.iter().map(|chunk| chunk.is_open()).collect::<Vec<_>>(), [false, true]);
    assert_eq!((chunks[1].before(0).offset_bytes, chunks[1].before(0).lines), (4 * 1024 * 1024 + 3, 2));
    assert_eq!(chunks[1].before(0), chunks[0].end());
}

#[test]
fn the_position_before_a_line_is_that_of_a_file_that_ends_there() {
    let text = lines(0..20).replace("}\n", "}\n \n");
    let mut source = Source::new(Box::new(std::io::Cursor::new(text.clone())), None);
    let chunk = source.next_chunk().unwrap().unwrap();
    for index in 0..20 {
        let position = chunk.before(index);
        assert_eq!(position.lines, 2 * index as u64);
        let mut again = Source::new(Box::new(std::io::Cursor::new(text.clone())), None);
        again.skip_to(&position).unwrap();
        assert_eq!(again.next_chunk().unwrap().unwrap().texts(), chunk.texts()[index..]);
    }
}

#[test]
fn a_chunk_of_long_lines_ends_early() {
    let line = [vec![b'x'; 1024 * 1024], b"\n".to_vec()].concat();
    let mut source = Source::new(Box::new(std::io::Cursor::new(line.repeat(6))), None);
    let counts: Vec<usize> =
        std::iter::from_fn(|| source.next_chunk().unwrap()).map(|chunk| chunk.lines.len()).collect();
    assert_eq!(counts, [4, 2]);
}
