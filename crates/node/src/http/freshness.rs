//! How old the answer to a read may be: what the nodes of other regions have, this one may not have yet.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_cluster::status::Freshness;

use super::app::App;

/// Everything any member had so many milliseconds ago is in the answer.
pub(crate) const STALENESS_MS: HeaderName = HeaderName::from_static("plimsoll-staleness-ms");

/// The regions from which nothing has come lately.
pub(crate) const REGIONS_MISSING: HeaderName = HeaderName::from_static("plimsoll-regions-missing");

/// Where some member has not been heard of since the node started.
const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// A node alone is never behind.
const NONE: HeaderValue = HeaderValue::from_static("0");

/// Tells it in the head of an answer.
pub(crate) fn tell(app: &App, headers: &mut HeaderMap) {
    let Some(cluster) = &app.cluster else {
        // Until its directory is migrated, a node stays away from its peers.
        headers.insert(STALENESS_MS, if app.projections.format().is_old() { UNKNOWN } else { NONE });
        return;
    };
    let Freshness { staleness, regions_missing } = cluster.freshness();
    headers.insert(STALENESS_MS, staleness.map_or(UNKNOWN, millis));
    if !regions_missing.is_empty() {
        let names: Vec<&str> = regions_missing.iter().map(|region| region.as_str()).collect();
        let value = HeaderValue::try_from(names.join(", ")).expect("regions are of visible ASCII");
        headers.insert(REGIONS_MISSING, value);
    }
}

/// Rounded up: it is an upper bound.
fn millis(staleness: Duration) -> HeaderValue {
    let millis = staleness.as_nanos().div_ceil(1_000_000);
    HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX))
}
