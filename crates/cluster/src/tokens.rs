//! Asking the members what token an artifact has with them.

use futures_util::future::join_all;
use plimsoll_domain::id::{ArtifactId, NodeId, Region, TenantId};
use plimsoll_domain::projection::Token;
use plimsoll_wire::peer::Frames;
use plimsoll_wire::peer::v1::{decode_token, encode_ask_token};

use crate::cluster::Cluster;
use crate::link::{Link, LinkError};

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

impl Cluster {
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
