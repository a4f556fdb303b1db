//! A node is cut off from the others: both sides go on, and are equal again afterwards.

use plimsoll_client::PostOptions;
use plimsoll_client::wire::http::v1::PostTransition;
use serde_json::Value;

use super::super::nodes::Site;
use super::{ARTIFACT, Row, Stage, row, together};
use crate::failure::Failure;

impl Stage<'_> {
    /// Cuts the last node off and heals the cut. `show` begins the names of the transitions.
    pub(super) async fn show_apart(&mut self, show: &str) -> Result<(), Failure> {
        let (region, cut) = (self.last().region.clone(), self.last().client.clone());
        cut.set_cut(true).await.map_err(Failure::request("cut a node off"))?;
        together::parted(&self.sites).await?;
        let title =
            format!("6. {region} is cut off, and a transition is posted on either side: both go on, and differ.");
        let sides = [(format!("{show}-here"), "approved"), (format!("{show}-there"), "changes_requested")];
        post(self.first(), &sides[0]).await?;
        post(self.last(), &sides[1]).await?;
        let rows = self.rows(|is_last| &sides[usize::from(is_last)].0).await?;
        self.say_rows(&title, &rows, Value::Null, "")?;
        cut.set_cut(false).await.map_err(Failure::request("heal the cut"))?;
        let equal = together::equal(&self.sites).await?;
        let title = format!("7. The cut is healed: {} ms later all nodes are equal.", equal.after.as_millis());
        let rows = self.rows(|_| &sides[0].0).await?;
        self.say_rows(&title, &rows, equal.value(), &format!("  each with {}\n", equal.text()))
    }

    fn last(&self) -> &Site {
        &self.sites[self.sites.len() - 1]
    }

    /// What each node says once it has the transition that `of` names for the last node and for the others.
    async fn rows<'a>(&self, of: impl Fn(bool) -> &'a String) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::with_capacity(self.sites.len());
        for (place, site) in self.sites.iter().enumerate() {
            rows.push(row(site, of(place + 1 == self.sites.len())).await?);
        }
        Ok(rows)
    }
}

async fn post(site: &Site, (transition_id, status): &(String, &str)) -> Result<(), Failure> {
    let transition = PostTransition {
        artifact_id: ARTIFACT.to_owned(),
        transition_id: transition_id.clone(),
        status: (*status).to_owned(),
        produced_refs: Vec::new(),
        committed_version: None,
    };
    let posted = site.client.post_transition(&transition, &PostOptions::default()).await;
    posted.map(drop).map_err(Failure::request(format!("post {transition_id:?}")))
}
