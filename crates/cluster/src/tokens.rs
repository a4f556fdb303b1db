//! Asking the members what token an artifact has with them.

use plimsoll_domain::id::{ArtifactId, NodeId, Region, TenantId};
use plimsoll_domain::projection::Token;
use plimsoll_wire::peer::v1::{decode_token, encode_ask_token};

use crate::cluster::Cluster;

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
        let answers = self.context.ask_all("token", &question, None, decode_token).await;
        let there = |(node, region, answer): (_, _, Result<_, _>)| TokenThere { node, region, token: answer.ok() };
        answers.into_iter().map(there).collect()
    }
}
