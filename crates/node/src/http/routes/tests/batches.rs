use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::*;

fn batch(body: impl Into<Body>) -> Call {
    Call::new(Method::POST, "/projections/transitions/batch").header("content-type", "application/x-ndjson").body(body)
}

fn line(artifact: &str, transition: &str) -> String {
    transition_of(artifact, transition, "s").to_string() + "\n"
}

/// A body that is sent piece by piece.
fn open_body() -> (mpsc::UnboundedSender<String>, Body) {
    let (pieces, received) = mpsc::unbounded_channel::<String>();
    let received = stream::unfold(received, |mut received| async {
        received.recv().await.map(|piece| (Ok::<_, std::io::Error>(Bytes::from(piece)), received))
    });
    (pieces, Body::from_stream(received))
}

fn parsed(text: &[u8]) -> Vec<Value> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn statuses(answer: &Answer) -> Vec<u64> {
    parsed(&answer.body).iter().map(|line| line["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_line_is_answered_as_a_single_call() {
    let node = Node::new();
    let mut conflict = transition_of("a", "t-9", "s");
    conflict["produced_refs"] = json!([resolved("unknown", 1)]);
    let text = [
        line("a", "t-1"),
        "\n".to_owned(),
        line("a", "t-1"),
        "nonsense\n".to_owned(),
        line("", "t-2"),
        format!("{conflict}\n"),
        format!("{}\n", transition_of("other", "t-1", "s")),
        line("b", "t-3").trim_end().to_owned(),
    ]
    .concat();
    let answer = node.send(batch(text)).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(statuses(&answer), [201, 200, 400, 422, 409, 409, 201]);
    let lines = parsed(&answer.body);
    let token = node.send(get("/projections/a/cursor")).await.text("committed_version");
    assert_eq!(
        lines[1]["body"],
        json!({"artifact_id": "a", "transition_id": "t-1", "committed_version": token, "updated_at": &token[..35]}),
    );
    assert_eq!(lines[3]["body"]["field"], "artifact_id");
    assert_eq!(lines[4]["body"]["type"], "urn:plimsoll:problem:unknown-pending-ref");
    assert!(answer.body.starts_with(b"{\"status\":201,"));
    assert_eq!(node.send(batch("")).await.body.len(), 0);
}

#[tokio::test]
async fn a_long_batch_keeps_its_order() {
    let node = Node::new();
    let pieces: Vec<_> =
        (0..5_000).map(|number| Ok::<_, std::io::Error>(Bytes::from(line("a", &format!("t-{number}"))))).collect();
    let answer = node.send(batch(Body::from_stream(stream::iter(pieces)))).await;
    assert_eq!(statuses(&answer), vec![201; 5_000]);
    let lines = parsed(&answer.body);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["body"]["transition_id"], format!("t-{number}"));
    }
    assert_eq!(node.send(get("/projections/a")).await.text("transition_id"), "t-4999");
}

#[tokio::test]
async fn answers_come_while_lines_are_sent() {
    let node = Node::new();
    let (pieces, body) = open_body();
    pieces.send(line("a", "t-1")).unwrap();
    let mut answers = node.begin(batch(body)).await.into_body().into_data_stream();
    for number in 2..5 {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(parsed(&answer)[0]["status"], 201);
        pieces.send(line("a", &format!("t-{number}"))).unwrap();
    }
    drop(pieces);
    assert!(answers.next().await.is_some());
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_batch_is_refused_as_a_whole_where_it_cannot_begin() {
    let node = Node::new();
    for (call, status, problem) in [
        (batch("").header("plimsoll-ack", "x"), 400, "bad-request"),
        (batch("").header("if-match", "*"), 400, "bad-request"),
        (Call::new(Method::POST, "/projections/transitions/batch").body("{}"), 415, "unsupported-media-type"),
        (post_text("").header("x", "y"), 400, "not-json"),
    ] {
        let answer = node.send(call).await;
        assert_eq!(answer.status, status);
        answer.problem(problem);
    }
    let places: Vec<_> = std::iter::from_fn(|| node.app.bounds().batches.enter().ok()).collect();
    node.send(batch(line("a", "t"))).await.problem("overloaded");
    drop(places);
    let answer = node.send(batch(line("a", "t")).header("plimsoll-ack", "2")).await;
    assert_eq!(parsed(&answer.body)[0]["body"]["type"], "urn:plimsoll:problem:under-replicated");
}

#[tokio::test]
async fn a_client_that_falls_silent_is_told_so() {
    let node = Node::new();
    let (pieces, body) = open_body();
    pieces.send(line("a", "t-1")).unwrap();
    let mut answers = node.begin(batch(body)).await.into_body().into_data_stream();
    assert_eq!(parsed(&answers.next().await.unwrap().unwrap())[0]["status"], 201);
    pieces.send("{\"artifact_id\"".to_owned()).unwrap();
    tokio::time::pause();
    let end = answers.next().await.unwrap().unwrap();
    assert_eq!(parsed(&end)[0]["body"]["type"], "urn:plimsoll:problem:slow-body");
    assert!(answers.next().await.is_none());

    let (_pieces, body) = open_body();
    let answer = node.send(batch(body)).await;
    assert_eq!(answer.status, 408);
    answer.problem("slow-body");
}

#[tokio::test]
async fn a_node_that_stops_ends_batches() {
    let node = Node::new();
    let (pieces, body) = open_body();
    pieces.send(line("a", "t-1")).unwrap();
    let mut answers = node.begin(batch(body)).await.into_body().into_data_stream();
    assert_eq!(parsed(&answers.next().await.unwrap().unwrap())[0]["status"], 201);
    node.stop.send(true).unwrap();
    assert_eq!(parsed(&answers.next().await.unwrap().unwrap())[0]["status"], 503);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_line_that_trickles_in_has_its_time() {
    let node = Node::new();
    let (pieces, body) = open_body();
    pieces.send(line("a", "t-1")).unwrap();
    let mut answers = node.begin(batch(body)).await.into_body().into_data_stream();
    assert_eq!(parsed(&answers.next().await.unwrap().unwrap())[0]["status"], 201);
    tokio::time::pause();
    let trickle = tokio::spawn(async move {
        while pieces.send("{".to_owned()).is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let began = tokio::time::Instant::now();
    let end = answers.next().await.unwrap().unwrap();
    assert_eq!(parsed(&end)[0]["body"]["type"], "urn:plimsoll:problem:slow-body");
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(answers.next().await.is_none());
    drop(answers);
    trickle.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_flows_at_its_rate() {
    let (node, writer) = Node::without_writer(rate(1, 5));
    std::thread::spawn(move || writer.run());
    let lines: String = (0..14).map(|number| line("a", &number.to_string())).collect();
    let began = tokio::time::Instant::now();
    let answer = node.send(batch(lines)).await;
    assert_eq!(statuses(&answer), [201; 14]);
    assert_eq!(began.elapsed().as_secs(), 10, "the burst has room for the request and four lines");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_rate() {
    let (node, _writer) = Node::without_writer(rate(1, 1));
    let mut answers = node.begin(batch(line("a", "1"))).await.into_body().into_data_stream();
    let began = tokio::time::Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.stop.send(true).unwrap();
    };
    let (end, ()) = tokio::join!(answers.next(), stop);
    assert_eq!(parsed(&end.unwrap().unwrap())[0]["body"]["type"], "urn:plimsoll:problem:not-ready");
    assert!(answers.next().await.is_none());
    assert_eq!(began.elapsed(), Duration::from_millis(500));
}

#[tokio::test]
async fn a_group_that_is_refused_as_a_whole_ends_the_batch() {
    let (node, writer) = Node::without_writer(None);
    drop(writer);
    let (pieces, body) = open_body();
    pieces.send(line("a", "t-1") + "nonsense\n" + &line("a", "t-2")).unwrap();
    let mut answers = node.begin(batch(body)).await.into_body().into_data_stream();
    let told = parsed(&answers.next().await.unwrap().unwrap());
    assert_eq!(told.iter().map(|line| line["status"].as_u64().unwrap()).collect::<Vec<_>>(), [503, 400, 503]);
    assert!(answers.next().await.is_none(), "although the client has not ended");
}

#[tokio::test]
async fn a_full_disk_ends_a_batch_and_leaves_no_gap() {
    let full = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&full);
    let free_bytes = Arc::new(move || Some(if seen.load(Ordering::Relaxed) { 0 } else { 2 }));
    // The disk is looked at again as time goes by.
    let time = AtomicU64::new(1_776_881_051_000_000_000);
    let wall_clock = Arc::new(move || UnixNanos::new(time.fetch_add(100_000_000, Ordering::Relaxed)));
    let (node, writer) = Node::on_disk(None, free_bytes, wall_clock);
    std::thread::spawn(move || writer.run());
    let pieces = (0..10_000).map(move |number| {
        if number == 5_000 {
            full.store(true, Ordering::Relaxed);
        }
        Ok::<_, std::io::Error>(Bytes::from(line("a", &number.to_string())))
    });
    let answer = node.send(batch(Body::from_stream(stream::iter(pieces)))).await;
    let statuses = statuses(&answer);
    let accepted = statuses.iter().take_while(|status| **status == 201).count();
    assert!((1..10_000).contains(&accepted), "{accepted}");
    assert!(statuses.len() < 10_000 && accepted < statuses.len());
    assert!(statuses[accepted..].iter().all(|status| *status == 507 || *status == 503), "nothing after a refusal");
}
