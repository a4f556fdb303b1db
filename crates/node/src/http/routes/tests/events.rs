use super::*;

/// A stream of events, read block by block.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(node: &Node, call: Call) -> Self {
        let response = node.begin(call).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next block; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next change, past blocks that only have an id: its position, artifact and token.
    async fn change(&mut self) -> (String, String, Option<String>) {
        loop {
            let block = self.next().await.expect("the stream goes on");
            let lines: Vec<&str> = block.lines().collect();
            let [id, "event: change", data] = lines[..] else { continue };
            let data: plimsoll_wire::http::v1::Change =
                serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            return (id.strip_prefix("id: ").unwrap().to_owned(), data.artifact_id, data.committed_version);
        }
    }
}

fn changes() -> Call {
    get("/projections/changes")
}

#[tokio::test]
async fn changes_are_told_from_now_on() {
    let node = Node::new();
    node.accept("old", "t-0", "s").await;
    let mut events = Events::open(&node, changes()).await;
    assert_eq!(events.next().await.unwrap(), "id: 0000000000000007-0000000000000009-1");
    let a = node.accept("a", "t-1", "s").await;
    let (position, artifact, token) = events.change().await;
    assert_eq!((position.as_str(), artifact.as_str()), ("0000000000000007-0000000000000009-2", "a"));
    assert_eq!(token, Some(a));
    node.send(post(&transition_of("theirs", "t-1", "s")).token(OTHER)).await;
    node.send(Call::new(Method::DELETE, "/projections/a")).await;
    let (position, artifact, token) = events.change().await;
    assert_eq!((position.as_str(), artifact.as_str()), ("0000000000000007-0000000000000009-4", "a"));
    assert_eq!(token, None);
}

#[tokio::test]
async fn a_stream_is_resumed() {
    let node = Node::new();
    for number in 1..=5 {
        node.accept(&format!("a-{}", number % 2), &format!("t-{number}"), "s").await;
    }
    let position = |sequence: u64| format!("0000000000000007-0000000000000009-{sequence}");
    let mut events = Events::open(&node, changes().header("last-event-id", &position(0))).await;
    assert_eq!(events.next().await.unwrap(), format!("id: {}", position(0)));
    assert_eq!(events.change().await.0, position(4), "each artifact once, at its latest change");
    assert_eq!(events.change().await.0, position(5));
    let query = format!("/projections/changes?last_event_id={}", position(4));
    let mut events = Events::open(&node, get(&query)).await;
    assert_eq!(events.change().await.1, "a-1");
    let mut events = Events::open(&node, get(&query).header("last-event-id", &position(5))).await;
    assert_eq!(events.next().await.unwrap(), format!("id: {}", position(5)), "the header counts");
    for gone in [
        "0000000000000007-0000000000000009-6",
        "0000000000000007-0000000000000008-1",
        "0000000000000008-0000000000000009-1",
    ] {
        let answer = node.send(changes().header("last-event-id", gone)).await;
        assert_eq!(answer.status, 410);
        answer.problem("position-gone");
    }
    assert_eq!(
        node.send(changes().header("last-event-id", "1")).await.problem("bad-request").unwrap(),
        "last-event-id"
    );
}

#[tokio::test]
async fn a_long_backlog_comes_in_pages() {
    let node = Node::new();
    for number in 0..2_500 {
        node.accept(&format!("{number:04}"), &number.to_string(), "s").await;
    }
    let mut events =
        Events::open(&node, changes().header("last-event-id", "0000000000000007-0000000000000009-0")).await;
    for number in 0..2_500 {
        assert_eq!(events.change().await.1, format!("{number:04}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_carries_the_position() {
    let node = Node::new();
    let began = tokio::time::Instant::now();
    let mut events = Events::open(&node, changes()).await;
    assert_eq!(events.next().await.unwrap(), "id: 0000000000000007-0000000000000009-0");
    node.send(post(&transition_of("theirs", "t-1", "s")).token(OTHER)).await;
    assert_eq!(events.next().await.unwrap(), "id: 0000000000000007-0000000000000009-1");
    assert_eq!(events.next().await.unwrap(), "id: 0000000000000007-0000000000000009-1");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_stream_ends_with_its_node() {
    let node = Node::new();
    let mut events = Events::open(&node, changes()).await;
    events.next().await.unwrap();
    node.stop.send(true).unwrap();
    assert_eq!(events.next().await, None);
    node.send(changes()).await.problem("not-ready");
}

#[tokio::test]
async fn streams_have_a_bound() {
    let node = Node::new();
    let tenant = |name: &str| TenantId::parse(name).unwrap();
    let streams = &node.app.bounds().event_streams;
    let take = |name: &str| std::iter::from_fn(|| streams.enter_for(&tenant(name)).ok()).collect::<Vec<_>>();
    let own = take("one");
    assert_eq!(own.len(), 512);
    node.send(changes()).await.problem("rate-limited");
    let theirs = take("theirs");
    assert_eq!(theirs.len(), 512);
    drop(own.into_iter().next());
    let third = take("third");
    assert!(!third.is_empty());
    node.send(changes()).await.problem("overloaded");
    drop((theirs, third));
    Events::open(&node, changes()).await.next().await.unwrap();
}
