//! Asking the members what token an artifact has with them.

use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::{ArtifactId, NodeId, Region, TenantId};
use plimsoll_domain::projection::Token;
use plimsoll_store::error::ReadError;
use plimsoll_wire::peer::Frames;
use plimsoll_wire::peer::v1::{decode_token, encode_ask_token};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::link::{Link, LinkError};
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
        let members: Vec<(NodeId, Region, Option<Link>)> = self.context.roster.view(|peers| {
            let members = peers.values().filter(|peer| !peer.entry.gone);
            let member = |peer: &crate::roster::Peer| {
                let member = &peer.entry.member;
                (member.node, member.region.clone(), peer.link.clone())
            };
            members.map(member).collect()
        });
        let asking = members.into_iter().map(|(node, region, link)| {
            let question = question.clone();
            async move { TokenThere { node, region, token: self.token_at(link, question).await.ok() } }
        });
        join_all(asking).await
    }

    async fn token_at(&self, link: Option<Link>, question: Vec<u8>) -> Result<Option<Token>, LinkError> {
        let link = link.ok_or(LinkError::Ended)?;
        let answer = link.ask("token", question, self.context.repair_timeout).await?;
        Ok(decode_token(Frames::only(&answer)?)?)
    }
}
