//! Watching over the certificates: renewed files are taken up, and what runs out is told in time.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::timestamp::UnixNanos;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::context::Context;
use crate::security::Security;
use crate::tls::{Reloaded, Severity, Tls, warning_of};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

impl Cluster {
    /// When the first of this node's certificates runs out, in nanoseconds since 1970; `None` without certificates.
    #[must_use]
    pub fn certificates_end(&self) -> Option<UnixNanos> {
        match &self.context.security {
            Security::Plain => None,
            Security::Tls(tls) => tls.current().certificates().map(|(_, certificate)| certificate.not_after).min(),
        }
    }
}

/// Runs for ever; does nothing where there are no certificates.
pub(crate) async fn watch(context: Arc<Context>) {
    let Security::Tls(tls) = context.security.clone() else { return };
    let mut told = None;
    let mut trouble = None;
    loop {
        match tls.reload() {
            Ok(Reloaded::Unchanged) => trouble = None,
            Ok(Reloaded::Changed) => {
                trouble = None;
                tracing::info!("renewed certificates were taken up");
            }
            Err(error) => {
                let text = error.to_string();
                if trouble.as_ref() != Some(&text) {
                    tracing::error!(%error, "renewed certificates cannot be used; those before stay in use");
                }
                trouble = Some(text);
            }
        }
        let worst = worst(&tls, UnixNanos::new(context.now()));
        if worst.as_ref().map(|(severity, ..)| *severity) != told {
            if let Some((severity, file, days)) = &worst {
                tracing::warn!(file, days_left = days, severity = severity.name(), "a certificate runs out");
            }
            told = worst.map(|(severity, ..)| severity);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// The certificate that most needs to be renewed: how much, its file, and its days.
fn worst(tls: &Tls, now: UnixNanos) -> Option<(Severity, &'static str, i64)> {
    let current = tls.current();
    let warned = current.certificates().filter_map(|(file, certificate)| {
        let days = certificate.days_left(now);
        Some((warning_of(days)?, file, days))
    });
    warned.max_by_key(|(severity, ..)| *severity)
}
