//! Asking the members what token an artifact has with them.

use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, NodeId, Region, TenantId};
use plimsoll_domain::projection::Token;
use plimsoll_store::error::ReadError;
use plimsoll_wire::peer::v1::{decode_token, encode_ask_token};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::status::Replicated;

/// What a member says of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenThere {
    /// The member.
    pub node: NodeId,
    /// Where it is.
    pub region: Region,
    /// Its token there; `None` inside where it is not projected there; `None` where the member did not answer.
    pub token: Option<Option<Token>>,
}

/// How often members are asked again while they are waited for.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

impl Cluster {
    /// Waits until `members` disks, this node's among them, have the state an artifact has here; at most for `patience`. Of
    /// what another node stamped, acknowledgements of this node's feed say nothing.
    pub async fn replicated_state(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        members: u32,
        patience: Duration,
    ) -> Result<Replicated, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            let here = self.context.projections.cursor(tenant, artifact).await?.map(|cursor| cursor.token);
            let there = self.tokens(tenant, artifact).await;
            let same = there.iter().filter(|there| there.token == Some(here)).count();
            let found = Replicated { members: u32::try_from(same + 1).unwrap_or(u32::MAX) };
            if found.members >= members || Instant::now() >= deadline {
                return Ok(found);
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    /// Asks all members for an artifact's token, within the time set for read repair.
    pub async fn tokens(&self, tenant: &TenantId, artifact: &ArtifactId) -> Vec<TokenThere> {
        let question = encode_ask_token(tenant, artifact);
        let answers = self.context.ask_all("token", &question, None, decode_token).await;
        let there = |(node, region, answer): (_, _, Result<_, _>)| TokenThere { node, region, token: answer.ok() };
        answers.into_iter().map(there).collect()
    }
}
