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

/// How old what is read from now on may be.
pub(crate) enum Age {
    /// A node alone is never behind.
    Alone,
    /// A node of a cluster: as it was when the request came, for what came later may not be in the answer.
    Of(Freshness),
}

impl Age {
    /// As of now.
    pub(crate) fn now(app: &App) -> Self {
        match &app.cluster {
            Some(cluster) => Self::Of(cluster.freshness()),
            // Until its directory is migrated, a node stays away from its peers.
            None if app.projections.format().is_old() => Self::Of(Freshness::default()),
            None => Self::Alone,
        }
    }

    /// Tells it in the head of an answer that was made in so much time.
    pub(crate) fn tell(self, took: Duration, headers: &mut HeaderMap) {
        let Self::Of(Freshness { staleness, regions_missing }) = self else {
            headers.insert(STALENESS_MS, NONE);
            return;
        };
        headers.insert(STALENESS_MS, staleness.map_or(UNKNOWN, |staleness| millis(staleness + took)));
        if !regions_missing.is_empty() {
            let names: Vec<&str> = regions_missing.iter().map(|region| region.as_str()).collect();
            let value = HeaderValue::try_from(names.join(", ")).expect("regions are of visible ASCII");
            headers.insert(REGIONS_MISSING, value);
        }
    }
}

/// Rounded up: it is an upper bound.
fn millis(staleness: Duration) -> HeaderValue {
    let millis = staleness.as_nanos().div_ceil(1_000_000);
    HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX))
}
