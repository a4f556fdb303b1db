//! What a client does and is told, shown with real clients and real nodes.

mod apart;
mod together;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::join_all;
use plimsoll_client::wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_client::{CursorQuery, CursorState, PostOptions, Posted};
use serde_json::{Value, json};

use super::nodes::{SECRET, Site};
use crate::failure::Failure;
use crate::printer::Printer;

/// 848 transitions of a real repository's pull requests, in time order.
const TRACE: &str = include_str!("../../data/submitqueue.ndjson");

/// The artifact the show is about.
const ARTIFACT: &str = "spec-login-flow";

/// How long a node may take to hear of a transition: far longer than it does on one machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stage. It is never without a site.
pub(super) struct Stage<'a> {
    sites: Vec<Site>,
    printer: &'a mut Printer,
}

impl<'a> Stage<'a> {
    pub(super) fn new(sites: Vec<Site>, printer: &'a mut Printer) -> Self {
        assert!(!sites.is_empty(), "a show has a node");
        Self { sites, printer }
    }

    /// The whole show. `place` tells where the data is.
    pub(super) async fn play(mut self, place: &str) -> Result<(), Failure> {
        self.introduce(place)?;
        together::joined(&self.sites).await?;
        self.import().await?;
        let opened = self.opening().await?;
        self.show_one_node(&opened).await?;
        if self.sites.len() > 1 {
            self.show_each_node(&opened.transition_id).await?;
            self.show_apart(&opened.transition_id).await?;
        }
        self.leave_open()
    }

    fn first(&self) -> &Site {
        &self.sites[0]
    }

    fn say(&mut self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.printer.answer(value, text)?;
        self.printer.flush()
    }

    fn tell(&mut self, title: &str, status: u16, body: &Value) -> Result<(), Failure> {
        let pretty = serde_json::to_string_pretty(body).context("an answer cannot be written as JSON")?;
        let value = json!({"shows": title, "status": status, "body": body});
        self.say(&value, || format!("{title}\n  {status}\n  {}\n", pretty.replace('\n', "\n  ")))
    }

    fn introduce(&mut self, place: &str) -> Result<(), Failure> {
        let nodes: Vec<Value> = self.sites.iter().map(|site| json!({"region": site.region, "url": site.url})).collect();
        let value = json!({"url": self.first().url, "token": SECRET, "data": place, "nodes": nodes});
        let text = match self.sites.as_slice() {
            [only] => format!("A node serves at {}, with its store in {place}.\n", only.url),
            sites => {
                let lines: String = sites.iter().map(|site| format!("  {:<3} {}\n", site.region, site.url)).collect();
                format!(
                    "{} nodes in as many regions serve one store, with their data in {place}.\n{lines}",
                    sites.len()
                )
            }
        };
        self.say(&value, || text)
    }

    async fn import(&mut self) -> Result<(), Failure> {
        let parts = parts(TRACE, self.sites.len())?;
        let posts = self.sites.iter().zip(&parts).map(|(site, lines)| site.client.post_batch(lines));
        let mut statuses = Vec::new();
        for posted in join_all(posts).await {
            let answers = posted
                .map_err(|failure| Failure::Request { tried: "import the trace".to_owned(), error: failure.error })?;
            statuses.extend(answers.iter().map(|answer| answer.status));
        }
        let with = |status: u16| statuses.iter().filter(|with| **with == status).count();
        let (accepted, repeated) = (with(201), with(200));
        let counts = json!({"accepted": accepted, "repeated": repeated});
        let trace = format!(
            "Imported a real trace, the pull requests of uber/submitqueue: {accepted} transitions accepted, \
             {repeated} known already."
        );
        if self.sites.len() == 1 {
            return self.say(&json!({"imported": counts}), || format!("{trace}\n"));
        }
        let equal = together::equal(&self.sites).await?;
        self.say(&json!({"imported": counts, "equal": equal.value()}), || {
            format!("{trace}\nEach node took a part of it; {} ms later each had all of it.\n", equal.after.as_millis())
        })
    }

    async fn show_one_node(&mut self, opened: &PostTransition) -> Result<(), Failure> {
        let title =
            "1. A transition: smugglr says that a spec went into review, and that its pull request is being opened.";
        self.post(title, opened).await?;
        self.post("2. The same again, as a retry whose first answer was lost: nothing changes.", opened).await?;
        let unknown = PostTransition {
            transition_id: format!("{}-unknown", opened.transition_id),
            produced_refs: vec![ProducedRef::Resolved {
                target_repo: "acme/web".to_owned(),
                idempotency_key: "nobody-opened-this".to_owned(),
                number: 96,
                url: "https://forge.example/acme/web/pull/96".to_owned(),
                created_at: "2026-04-22T18:04:11Z".to_owned(),
            }],
            ..opened.clone()
        };
        self.post("3. A resolved ref under a key that nobody opened: refused.", &unknown).await?;
        if let Some(cursor) = cursor(self.first(), &CursorQuery::default()).await? {
            self.tell("4. The cursor: ctrl asks whether what it shows is stale.", 200, &cursor)?;
        }
        Ok(())
    }

    /// A transition that this store has not seen: a kept data directory has seen those of earlier shows.
    async fn opening(&self) -> Result<PostTransition, Failure> {
        let before = cursor(self.first(), &CursorQuery::default()).await?;
        let after = before.as_ref().and_then(|cursor| cursor["committed_version"].as_str()).map(str::to_owned);
        let show = after.as_deref().map_or("first", |token| token.get(..29).unwrap_or(token));
        Ok(PostTransition {
            artifact_id: ARTIFACT.to_owned(),
            transition_id: format!("show-{show}"),
            status: "in_review".to_owned(),
            produced_refs: vec![ProducedRef::Pending {
                target_repo: "acme/web".to_owned(),
                idempotency_key: format!("open-{show}"),
            }],
            committed_version: after,
        })
    }

    async fn post(&mut self, title: &str, transition: &PostTransition) -> Result<(), Failure> {
        match self.first().client.post_transition(transition, &PostOptions::default()).await {
            Ok(Posted::Accepted(body)) => self.tell(title, 201, &json!(body)),
            Ok(Posted::Repeated(body)) => self.tell(title, 200, &json!(body)),
            Err(error) => match error.problem() {
                Some(problem) => self.tell(title, problem.status, &json!(problem)),
                None => Err(Failure::Request { tried: "post a transition".to_owned(), error }),
            },
        }
    }

    /// The cursor at each node, once the transition is there.
    async fn show_each_node(&mut self, transition_id: &str) -> Result<(), Failure> {
        let title = "5. The cursor at each node, once the transition is there: the same token everywhere.";
        let mut rows = Vec::with_capacity(self.sites.len());
        for site in &self.sites {
            rows.push(row(site, transition_id).await?);
        }
        self.say_rows(title, &rows, Value::Null, "")
    }

    /// Tells of each node, and of all together what is in `facts` and `line`, if anything.
    fn say_rows(&mut self, title: &str, rows: &[Row], facts: Value, line: &str) -> Result<(), Failure> {
        let nodes: Vec<Value> = rows.iter().map(Row::value).collect();
        let mut value = json!({"shows": title, "nodes": nodes});
        if !facts.is_null() {
            value["equal"] = facts;
        }
        let lines: String = rows.iter().map(|row| format!("  {}\n", row.text())).collect();
        self.say(&value, || format!("{title}\n{lines}{line}"))
    }

    fn leave_open(&mut self) -> Result<(), Failure> {
        let (url, other) = (self.first().url.clone(), &self.sites[self.sites.len() - 1].url);
        let curl = format!("curl -H 'Authorization: Bearer {SECRET}'");
        let mut tries = vec![
            format!("{curl} {other}/projections/{ARTIFACT}/cursor"),
            format!("{curl} '{url}/projections?status=merged&limit=3'"),
        ];
        if self.sites.len() > 1 {
            tries.push(format!("{curl} {other}/cluster"));
        }
        tries.push(format!("{curl} -N {url}/projections/changes"));
        let status = format!("plimsoll --url {other} --token {SECRET} status --watch");
        let urls: Vec<&str> = self.sites.iter().map(|site| site.url.as_str()).collect();
        let value = json!({"url": url, "urls": urls, "token": SECRET, "docs": format!("{url}/docs"), "try": tries});
        let nodes = match urls.len() {
            1 => "The node stays",
            _ => "The nodes stay",
        };
        let text = format!(
            "{nodes} up until Ctrl-C.\n\n  url    {}\n  token  {SECRET}\n  docs   {url}/docs\n\nTry:\n\n  {status}\n\n  {}\n",
            urls.join("\n         "),
            tries.join("\n\n  ")
        );
        self.say(&value, || text)
    }
}

/// What a node says of the artifact.
struct Row {
    region: String,
    url: String,
    status: String,
    token: String,
}

impl Row {
    fn value(&self) -> Value {
        let Self { region, url, status, token } = self;
        json!({"region": region, "url": url, "status": status, "committed_version": token})
    }

    fn text(&self) -> String {
        format!("{:<3} {:<17} {}", self.region, self.status, self.token)
    }
}

/// What a node says of the artifact once it has a transition.
async fn row(site: &Site, transition_id: &str) -> Result<Row, Failure> {
    let query = CursorQuery { wait: PATIENCE, contains: Some(transition_id.to_owned()), ..CursorQuery::default() };
    cursor(site, &query).await?;
    let projection = site.client.projection(ARTIFACT).await.map_err(Failure::request(format!("read {ARTIFACT}")))?;
    Ok(Row {
        region: site.region.clone(),
        url: site.url.clone(),
        status: projection.status,
        token: projection.committed_version,
    })
}

/// The artifact's cursor; `None` where it is not projected.
async fn cursor(site: &Site, query: &CursorQuery) -> Result<Option<Value>, Failure> {
    match site.client.cursor(ARTIFACT, query).await {
        Ok(CursorState::Current(cursor)) => Ok(Some(json!(cursor))),
        Ok(CursorState::Unchanged) => Ok(None),
        Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => Ok(None),
        Err(error) => Err(Failure::Request { tried: format!("read the cursor of {ARTIFACT}"), error }),
    }
}

/// The lines of a trace in so many parts. Those of one artifact stay in one part, in their order: of two transitions the
/// later decides the status, and a ref is opened before it is resolved.
fn parts(trace: &'static str, count: usize) -> Result<Vec<Vec<Bytes>>, Failure> {
    let mut parts = vec![Vec::new(); count];
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for line in trace.lines() {
        let transition: PostTransition = serde_json::from_str(line).context("the trace holds a line that is none")?;
        let next = places.len() % count;
        let place = *places.entry(transition.artifact_id).or_insert(next);
        parts[place].push(Bytes::from_static(line.as_bytes()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn artifact(line: &Bytes) -> String {
        serde_json::from_slice::<PostTransition>(line).unwrap().artifact_id
    }

    #[test]
    fn each_node_takes_a_part_and_no_artifact_is_in_two() {
        for count in [1, 2, 3, 9] {
            let parts = parts(TRACE, count).unwrap();
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 848);
            let artifacts: Vec<BTreeSet<String>> =
                parts.iter().map(|part| part.iter().map(artifact).collect()).collect();
            assert!(artifacts.iter().all(|part| !part.is_empty()));
            let all: BTreeSet<&String> = artifacts.iter().flatten().collect();
            assert_eq!(artifacts.iter().map(BTreeSet::len).sum::<usize>(), all.len(), "in {count} parts");
        }
    }

    #[test]
    fn the_lines_of_an_artifact_keep_their_order() {
        let order = |lines: &[Bytes], of: &str| -> Vec<Bytes> {
            lines.iter().filter(|line| artifact(line) == of).cloned().collect()
        };
        let whole = parts(TRACE, 1).unwrap().remove(0);
        for part in parts(TRACE, 3).unwrap() {
            let first = artifact(&part[0]);
            assert_eq!(order(&part, &first), order(&whole, &first));
        }
    }
}
