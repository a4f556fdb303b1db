//! What a node counts, for Prometheus.
//!
//! The one idea: every series is registered when the node starts, from the described routes and the table of problems,
//! so a request only adds to numbers that are there. What can be read from the store is read when somebody asks.
//!
//! The recorder is the node's own, never the process's: two nodes in one process do not count into each other.

mod histogram;
mod peers;
mod series;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use plimsoll_cluster::cluster::Cluster;
use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_store::projections::Projections;
use plimsoll_wire::problem::{Kind, Problem};

use histogram::{Histogram, write_line};
use series::{Series, head};

const REQUESTS: Series = series::counter(
    "plimsoll_http_requests_total",
    "Requests answered, by route, method and class of status; 504 apart.",
);
const WAITS: Series = series::counter("plimsoll_http_waits_total", "Requests that were granted a wait, answered.");
const DURATION: Series = series::histogram(
    "plimsoll_http_request_duration_seconds",
    "Time from a request's head to its answer's; waits apart.",
);
const CONFLICTS: Series =
    series::counter("plimsoll_conflicts_total", "Conflicts met, by the rule of the merge that decided them.");
const FORGOTTEN: Series =
    series::counter("plimsoll_forgotten_facts_total", "Facts of retired artifacts that were forgotten.");
const HORIZON: Series = series::gauge(
    "plimsoll_horizon_timestamp_seconds",
    "What was retired by then has been forgotten; 0 before the first time.",
);

/// The route of a request that met none.
const NO_ROUTE: &str = "none";

/// Classes of status, 1xx to 5xx. The last one is that of a status alone, which tells that something has not come yet,
/// and nothing about the node: among the 5xx it would raise alarms.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "504"];

/// The place of a status in [`CLASSES`].
fn class(status: StatusCode) -> usize {
    match status {
        StatusCode::GATEWAY_TIMEOUT => CLASSES.len() - 1,
        status => usize::from(status.as_u16() / 100).clamp(1, CLASSES.len() - 1) - 1,
    }
}

/// See the module.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    requests: Box<[RequestMetrics]>,
    /// The places in `requests` of each route's methods. The last place is for what meets none.
    routes: matchit::Router<Vec<(Method, usize)>>,
    accepted: Counter,
    repeated: Counter,
    refused: Box<[Counter]>,
    connections: Gauge,
    streams: Gauge,
    waiters: Gauge,
    store: StoreGauges,
    tenants: Box<[TenantGauges]>,
}

/// What is counted of the requests of one route and method. These are not the recorder's: a request costs three
/// additions to neighbours in memory, where the recorder's would be twice as many, scattered.
pub(crate) struct RequestMetrics {
    method: String,
    route: String,
    answers: [AtomicU64; CLASSES.len()],
    duration: Histogram,
    /// Answers to requests that were granted a wait: their time is in no histogram.
    waits: AtomicU64,
}

impl RequestMetrics {
    fn new(method: &str, route: &str) -> Self {
        Self {
            method: method.to_owned(),
            route: route.to_owned(),
            answers: Default::default(),
            duration: Histogram::default(),
            waits: AtomicU64::new(0),
        }
    }

    /// The path of the route, as it is described.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Counts an answer; `duration` is until its head was ready, `None` where it is the client's that asked to wait.
    pub(crate) fn answered(&self, status: StatusCode, duration: Option<Duration>) {
        self.answers[class(status)].fetch_add(1, Ordering::Relaxed);
        match duration {
            Some(duration) => self.duration.record(duration),
            None => {
                self.waits.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As in the text format, without braces.
    fn labels(&self) -> String {
        format!("method=\"{}\",route=\"{}\"", self.method, self.route)
    }
}

struct StoreGauges {
    durable: Gauge,
    queue: Gauge,
    facts: Gauge,
    disk: Gauge,
    free: Gauge,
    failed: Gauge,
}

struct TenantGauges {
    tenant: TenantId,
    transitions: Gauge,
    bytes: Gauge,
}

/// Something that is open, counted until it is dropped.
#[must_use]
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Metrics {
    /// Registers everything: the requests of the routes, each a method and a path as the router matches it, and the
    /// usage of the tenants.
    pub(crate) fn new(
        node: NodeId,
        routes: impl IntoIterator<Item = (Method, String)>,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let register = Register { recorder: &recorder };
        register.describe();
        register
            .gauge("plimsoll_build_info", &[("version", env!("CARGO_PKG_VERSION")), ("node", &node.to_string())])
            .set(1.0);
        let mut requests = Vec::new();
        let mut by_path: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (method, path) in routes {
            let metrics = RequestMetrics::new(method.as_str(), &path);
            by_path.entry(path).or_default().push((method, requests.len()));
            requests.push(metrics);
        }
        requests.push(RequestMetrics::new("any", NO_ROUTE));
        let mut routes = matchit::Router::new();
        for (path, methods) in by_path {
            routes.insert(path, methods).expect("the HTTP router, of the same library, took these paths");
        }
        let write = |outcome| register.counter("plimsoll_writes_total", &[("outcome", outcome)]);
        let refused = |kind: &Kind| register.counter("plimsoll_writes_refused_total", &[("problem", kind.name())]);
        Self {
            handle: recorder.handle(),
            requests: requests.into(),
            routes,
            accepted: write("accepted"),
            repeated: write("repeated"),
            refused: Kind::ALL.iter().map(refused).collect(),
            connections: register.gauge("plimsoll_http_connections", &[]),
            streams: register.gauge("plimsoll_event_streams", &[]),
            waiters: register.gauge("plimsoll_waiters", &[]),
            store: StoreGauges {
                durable: register.gauge("plimsoll_durable_sequence", &[]),
                queue: register.gauge("plimsoll_write_queue_requests", &[]),
                facts: register.gauge("plimsoll_store_facts", &[]),
                disk: register.gauge("plimsoll_store_disk_bytes", &[]),
                free: register.gauge("plimsoll_disk_free_bytes", &[]),
                failed: register.gauge("plimsoll_store_failed", &[]),
            },
            tenants: tenants.into_iter().map(|tenant| register.tenant(tenant)).collect(),
        }
    }

    /// Where a request is counted: for [`Metrics::at`].
    pub(crate) fn place(&self, method: &Method, path: &str) -> usize {
        // An answer to HEAD is made by the handler of GET.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let matched = self.routes.at(path).ok();
        let found = matched.and_then(|matched| matched.value.iter().find(|(known, _)| known == method));
        found.map_or(self.requests.len() - 1, |(_, place)| *place)
    }

    /// What is counted at a place.
    pub(crate) fn at(&self, place: usize) -> &RequestMetrics {
        &self.requests[place]
    }

    /// A transition or a retirement was accepted, or had been before.
    pub(crate) fn accepted(&self, accepted: &plimsoll_store::Accepted) {
        if accepted.repeated { self.repeated.increment(1) } else { self.accepted.increment(1) }
    }

    /// A transition or a retirement was refused, of a batch also.
    pub(crate) fn refused(&self, problem: &Problem) {
        let kind = problem.known_kind().unwrap_or(Kind::Internal);
        if let Some(place) = Kind::ALL.iter().position(|known| *known == kind) {
            self.refused[place].increment(1);
        }
    }

    /// Counts a connection until the result is dropped.
    pub(crate) fn connection(&self) -> Open {
        Open::new(&self.connections)
    }

    /// Counts a stream of events until the result is dropped.
    pub(crate) fn stream(&self) -> Open {
        Open::new(&self.streams)
    }

    /// Counts a request that waits for a change until the result is dropped.
    pub(crate) fn waiter(&self) -> Open {
        Open::new(&self.waiters)
    }

    /// Everything in the text format, with what the store says now. What it cannot say is `NaN`.
    pub(crate) fn render(
        &self,
        projections: &Projections,
        free_bytes: Option<u64>,
        cluster: Option<&Cluster>,
    ) -> String {
        let progress = projections.progress();
        self.store.durable.set(float(progress.durable));
        self.store.queue.set(float(projections.queue_length() as u64));
        self.store.facts.set(projections.fingerprint().map_or(f64::NAN, |fingerprint| float(fingerprint.count)));
        self.store.disk.set(projections.disk_bytes().map_or(f64::NAN, float));
        self.store.free.set(free_bytes.map_or(f64::NAN, float));
        self.store.failed.set(if progress.failure.is_some() { 1.0 } else { 0.0 });
        for gauges in &self.tenants {
            let usage = projections.usage(&gauges.tenant);
            gauges.transitions.set(usage.as_ref().map_or(f64::NAN, |usage| float(usage.facts)));
            gauges.bytes.set(usage.as_ref().map_or(f64::NAN, |usage| float(usage.bytes)));
        }
        let mut text = in_order(&self.handle.render());
        self.render_requests(&mut text);
        render_conflicts(projections, &mut text);
        render_forgetting(projections, &mut text);
        if let Some(cluster) = cluster {
            peers::render(cluster, &mut text);
        }
        text
    }

    fn render_requests(&self, text: &mut String) {
        head(text, &REQUESTS);
        for requests in &self.requests {
            let labels = requests.labels();
            for (class, answers) in CLASSES.iter().zip(&requests.answers) {
                let answers = answers.load(Ordering::Relaxed);
                write_line(text, format_args!("{}{{{labels},status=\"{class}\"}} {answers}", REQUESTS.name));
            }
        }
        head(text, &WAITS);
        for requests in &self.requests {
            let waits = requests.waits.load(Ordering::Relaxed);
            if waits > 0 {
                write_line(text, format_args!("{}{{{}}} {waits}", WAITS.name, requests.labels()));
            }
        }
        head(text, &DURATION);
        for requests in &self.requests {
            requests.duration.render(DURATION.name, &requests.labels(), text);
        }
    }
}

/// The families of a metrics page, and the samples of each, in the order of their texts: the library has them in another one in
/// each process.
fn in_order(page: &str) -> String {
    let mut families: Vec<Vec<&str>> = page
        .split("\n\n")
        .map(|family| family.lines().collect())
        .filter(|family: &Vec<_>| !family.is_empty())
        .collect();
    for family in &mut families {
        family.sort_by_key(|line| (!line.starts_with('#'), if line.starts_with('#') { "" } else { *line }));
    }
    families.sort();
    families.iter().flat_map(|family| family.iter().copied().chain([""])).map(|line| format!("{line}\n")).collect()
}

/// What two nodes accepted that cannot both stand, as far as this node met it.
fn render_conflicts(projections: &Projections, text: &mut String) {
    let counts = projections.conflict_counts();
    head(text, &CONFLICTS);
    write_line(text, format_args!("{}{{rule=\"3\"}} {}", CONFLICTS.name, counts.disputes()));
    write_line(text, format_args!("{}{{rule=\"6\"}} {}", CONFLICTS.name, counts.reuses()));
}

/// How far the node is with forgetting.
fn render_forgetting(projections: &Projections, text: &mut String) {
    head(text, &FORGOTTEN);
    write_line(text, format_args!("{} {}", FORGOTTEN.name, projections.forgotten()));
    // While it forgets it is between two horizons, for some seconds.
    if let Some(horizon) = projections.horizon() {
        head(text, &HORIZON);
        write_line(text, format_args!("{} {}", HORIZON.name, horizon.until.get() / 1_000_000_000));
    }
}

/// Counts exceed what a float tells apart only above 2^53.
#[expect(clippy::cast_precision_loss, reason = "the text format has floats only")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// Registers series on a recorder.
struct Register<'a> {
    recorder: &'a PrometheusRecorder,
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Register<'_> {
    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    fn tenant(&self, tenant: TenantId) -> TenantGauges {
        let labels = [("tenant", tenant.as_str())];
        let transitions = self.gauge("plimsoll_tenant_transitions", &labels);
        let bytes = self.gauge("plimsoll_tenant_bytes", &labels);
        TenantGauges { tenant, transitions, bytes }
    }

    fn describe(&self) {
        let counters = [
            ("plimsoll_writes_total", "Writes accepted, and writes that had been accepted before."),
            ("plimsoll_writes_refused_total", "Writes refused, by the name of the problem."),
        ];
        for (name, text) in counters {
            self.recorder.describe_counter(KeyName::from(name), Some(Unit::Count), SharedString::from(text));
        }
        let gauges = [
            ("plimsoll_build_info", "Always 1; the labels tell the version and the node.", Unit::Count),
            ("plimsoll_http_connections", "Open connections.", Unit::Count),
            ("plimsoll_event_streams", "Open streams of server-sent events.", Unit::Count),
            ("plimsoll_waiters", "Requests that wait for a projection to change.", Unit::Count),
            ("plimsoll_durable_sequence", "Changes this node has on its disk.", Unit::Count),
            ("plimsoll_write_queue_requests", "Requests that wait for the writer.", Unit::Count),
            ("plimsoll_store_facts", "Transitions and tombstones of all tenants.", Unit::Count),
            ("plimsoll_store_disk_bytes", "What the store occupies on its disk.", Unit::Bytes),
            ("plimsoll_disk_free_bytes", "What the data disk has left.", Unit::Bytes),
            ("plimsoll_store_failed", "1 once the store takes no more writes until a restart.", Unit::Count),
            ("plimsoll_tenant_transitions", "Transitions and tombstones a tenant keeps.", Unit::Count),
            ("plimsoll_tenant_bytes", "Bytes of the transitions a tenant keeps.", Unit::Bytes),
        ];
        for (name, text, unit) in gauges {
            self.recorder.describe_gauge(KeyName::from(name), Some(unit), SharedString::from(text));
        }
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(label, value)| Label::new(*label, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::app::App;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    #[test]
    fn counts_are_told_with_their_labels() {
        let (app, _writer) = App::in_memory();
        let tenant = TenantId::parse("a").unwrap();
        let routes = [(Method::GET, "/x/{id}".to_owned()), (Method::POST, "/x/{id}".to_owned())];
        let metrics = Metrics::new(NodeId::new(7), routes, [tenant]);
        let second = Some(Duration::from_secs(1));
        metrics.at(metrics.place(&Method::GET, "/x/a")).answered(StatusCode::OK, second);
        metrics.at(metrics.place(&Method::HEAD, "/x/a")).answered(StatusCode::NOT_MODIFIED, second);
        metrics.at(metrics.place(&Method::DELETE, "/x/a")).answered(StatusCode::METHOD_NOT_ALLOWED, second);
        metrics.at(metrics.place(&Method::GET, "/x")).answered(StatusCode::NOT_FOUND, second);
        metrics.at(metrics.place(&Method::POST, "/x/a")).answered(StatusCode::GATEWAY_TIMEOUT, None);
        metrics.refused(&Problem::new(Kind::DiskFull, ""));
        let waiter = metrics.waiter();
        let text = metrics.render(&app.projections, Some(5), None);
        has(&text, r#"plimsoll_http_requests_total{method="GET",route="/x/{id}",status="2xx"} 1"#);
        has(&text, r#"plimsoll_http_requests_total{method="GET",route="/x/{id}",status="3xx"} 1"#);
        has(&text, r#"plimsoll_http_requests_total{method="POST",route="/x/{id}",status="5xx"} 0"#);
        has(&text, r#"plimsoll_http_requests_total{method="POST",route="/x/{id}",status="504"} 1"#);
        has(&text, r#"plimsoll_http_waits_total{method="POST",route="/x/{id}"} 1"#);
        assert!(!text.contains(r#"plimsoll_http_request_duration_seconds_count{method="POST""#));
        has(&text, r#"plimsoll_http_requests_total{method="any",route="none",status="4xx"} 2"#);
        has(&text, r#"plimsoll_http_request_duration_seconds_count{method="GET",route="/x/{id}"} 2"#);
        has(&text, r#"plimsoll_writes_refused_total{problem="disk-full"} 1"#);
        has(&text, r#"plimsoll_writes_total{outcome="accepted"} 0"#);
        has(&text, r#"plimsoll_tenant_transitions{tenant="a"} 0"#);
        has(&text, "plimsoll_disk_free_bytes 5");
        has(&text, "plimsoll_waiters 1");
        drop(waiter);
        has(&metrics.render(&app.projections, None, None), "plimsoll_waiters 0");
        has(&metrics.render(&app.projections, None, None), "plimsoll_disk_free_bytes NaN");
    }

    #[test]
    fn two_nodes_count_apart() {
        let (app, _writer) = App::in_memory();
        let [one, other] = [1, 2].map(|number| Metrics::new(NodeId::new(number), [], []));
        let _connection = one.connection();
        has(&one.render(&app.projections, None, None), "plimsoll_http_connections 1");
        has(&other.render(&app.projections, None, None), "plimsoll_http_connections 0");
    }
}
