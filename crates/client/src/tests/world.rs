//! Three nodes at different distances, and a client of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::node::{Node, Reply, Seen};
use super::{cursor, transition};
use crate::{Builder, Client, CursorQuery, CursorState, Error, PostOptions, Posted, Switch};

/// Nodes a, b and c, nearer to farther, and a client that knows them in another order.
pub(super) struct World {
    pub(super) a: Arc<Node>,
    pub(super) b: Arc<Node>,
    pub(super) c: Arc<Node>,
    switches: Arc<Mutex<Vec<Switch>>>,
    pub(super) client: Client,
}

impl World {
    pub(super) fn new() -> Self {
        Self::built(|builder| builder)
    }

    pub(super) fn built(finish: impl FnOnce(Builder) -> Builder) -> Self {
        let [a, b, c] = [10, 50, 100].map(Node::at_distance);
        let nodes = [&a, &b, &c].map(Arc::clone);
        let connect = move |host: &str, _: u16| match host {
            "a.test" => nodes[0].accept(),
            "b.test" => nodes[1].accept(),
            _ => nodes[2].accept(),
        };
        let switches = Arc::default();
        let observed: Arc<Mutex<Vec<Switch>>> = Arc::clone(&switches);
        let builder = Client::builder_of(["http://c.test", "http://b.test", "http://a.test"])
            .token("secret")
            .seed(1)
            .connect(connect)
            .on_switch(move |switch| observed.lock().unwrap().push(switch.clone()));
        let client = finish(builder).build().unwrap();
        Self { a, b, c, switches, client }
    }

    /// A world whose client talks to a already.
    pub(super) async fn at_a(finish: impl FnOnce(Builder) -> Builder) -> Self {
        let world = Self::built(finish);
        world.a.expect([Reply::json(200, &cursor())]);
        world.read().await.unwrap();
        // The far ones are heard of, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.a.finished().len(), 1);
        world
    }

    pub(super) async fn post(&self, options: &PostOptions) -> Result<Posted, Error> {
        self.client.post_transition(&transition(), options).await
    }

    pub(super) async fn read(&self) -> Result<CursorState, Error> {
        self.client.cursor("spec/login", &CursorQuery::default()).await
    }

    /// Which nodes answered a read, twice in a row with a survey between the two.
    pub(super) async fn reader_after(&self, pause: Duration) -> Vec<&'static str> {
        tokio::time::sleep(pause).await;
        for node in self.nodes() {
            node.expect([Reply::json(200, &cursor()), Reply::json(200, &cursor())]);
        }
        self.read().await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.read().await.unwrap();
        let names = ["a", "b", "c"].into_iter().zip(self.nodes());
        let readers = names.flat_map(|(name, node)| node.seen().into_iter().map(move |seen| (seen.at, name)));
        let mut readers: Vec<_> = readers.collect();
        readers.sort();
        self.nodes().iter().for_each(|node| node.forget_script());
        readers.into_iter().map(|(_, name)| name).collect()
    }

    pub(super) fn nodes(&self) -> [&Arc<Node>; 3] {
        [&self.a, &self.b, &self.c]
    }

    /// The requests at each node, where every reply was taken.
    pub(super) fn finished(&self) -> [Vec<Seen>; 3] {
        self.nodes().map(|node| node.finished())
    }

    /// The switches told since the last time, as `a to b`.
    pub(super) fn switches(&self) -> Vec<String> {
        let name = |url: &str| url["http://".len()..].trim_end_matches(".test").to_owned();
        self.switches_told().iter().map(|switch| format!("{} to {}", name(&switch.from), name(&switch.to))).collect()
    }

    pub(super) fn switches_told(&self) -> Vec<Switch> {
        std::mem::take(&mut *self.switches.lock().unwrap())
    }
}
