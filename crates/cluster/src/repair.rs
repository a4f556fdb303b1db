//! Read repair: before a node says that nobody knows a ref, it asks everybody.
//!
//! A transition may come to a node before the one it rests on does: legion posts at one node what smugglr opened at another.
//! So the members are asked, all at once, and what they know is merged here. Only where all have answered is it known that
//! nobody knows.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use plimsoll_domain::id::{ArtifactId, NodeId, TenantId};
use plimsoll_domain::projection::{Body, Fact, RefKey};
use plimsoll_store::error::WriteError;
use plimsoll_wire::peer::FRAME_BYTES_MAX;
use plimsoll_wire::peer::v1::{AskRefs, BareFacts, decode_facts, encode_ask_refs, encode_facts};
use plimsoll_wire::record::v1::{StoredFact, decode_fact, encode_fact};

use crate::cluster::Cluster;
use crate::context::Context;
use crate::link::LinkError;

/// The most facts, and about the most bytes, that one answer holds.
const FACTS_MAX: usize = 256;
const BYTES_MAX: usize = FRAME_BYTES_MAX / 4;

/// What came of asking all members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Those that did not answer: what they know is not known.
    pub silent: Vec<NodeId>,
    /// Whether the node has not caught up yet, or met nobody, so that there may be members it does not know and cannot ask.
    pub is_catching_up: bool,
    /// Whether somebody knew something of the refs.
    pub is_known: bool,
}

impl Cluster {
    /// Asks all members for what they know of some refs of an artifact, and merges it here: returns once it is durable, or
    /// once the time set for it is over.
    ///
    /// # Errors
    /// See [`WriteError`]: what came cannot be stored.
    pub async fn ask_refs(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        refs: impl IntoIterator<Item = RefKey>,
    ) -> Result<Asked, WriteError> {
        let context = &self.context;
        let refs = refs.into_iter().map(|key| (key.target_repo.to_string(), key.idempotency_key.to_string())).collect();
        let question = encode_ask_refs(&AskRefs { tenant: tenant.clone(), artifact: artifact.clone(), refs });
        let horizon = context.projections.horizon();
        let is_catching_up = !*context.ready.borrow() || context.is_alone_so_far.load(Ordering::Relaxed);
        let answers = context.ask_all("refs", &question, horizon, decode_facts).await;
        let mut asked = Asked { silent: Vec::new(), is_catching_up, is_known: false };
        let mut facts = Vec::new();
        for (node, _, answer) in answers {
            // While this node forgets it can take nothing over, and so it cannot ask.
            let answer = if horizon.is_some() { answer } else { Err(LinkError::Forgetting) };
            match answer.and_then(|facts| read(&facts)) {
                Ok(known) => facts.extend(known),
                Err(error) => {
                    tracing::debug!(peer = %node, %error, "a member cannot be asked for a ref");
                    asked.silent.push(node);
                }
            }
        }
        facts.retain(|stored: &StoredFact| stored.tenant == *tenant && stored.fact.artifact() == artifact);
        context.counters.refs_asked.add(1);
        if let Some(horizon) = horizon.filter(|_| !facts.is_empty()) {
            asked.is_known = true;
            context.counters.refs_repaired.add(1);
            // What is from too far ahead cannot be merged yet; it is known all the same.
            context.projections.absorb(horizon, facts).await?;
        }
        Ok(asked)
    }
}

fn read(facts: &BareFacts) -> Result<Vec<StoredFact>, LinkError> {
    let unreadable = |_| LinkError::Unexpected("a fact that breaks a rule, or is of another version");
    facts.iter().map(|fact| decode_fact(fact).map_err(unreadable)).collect()
}

/// Answers such a question: the facts of the artifact that name one of the refs.
pub(crate) async fn answer(context: &Context, ask: AskRefs) -> Result<Vec<u8>, plimsoll_store::error::ReadError> {
    let AskRefs { tenant, artifact, refs } = ask;
    let refs: BTreeSet<(&str, &str)> =
        refs.iter().map(|(target_repo, key)| (target_repo.as_str(), key.as_str())).collect();
    let names_one = |body: &Body| match body {
        Body::Transition(transition) => transition
            .refs()
            .iter()
            .any(|produced| refs.contains(&(&*produced.key.target_repo, &*produced.key.idempotency_key))),
        Body::Tombstone(_) => false,
    };
    let wanted = |fact: &Fact| names_one(&fact.body);
    let known = context.projections.visible_facts(&tenant, &artifact, FACTS_MAX, wanted).await?;
    let mut room = BYTES_MAX;
    let facts = known.iter().map(|fact| encode_fact(&tenant, fact)).take_while(|record| {
        let fits = record.len() <= room;
        room = room.saturating_sub(record.len());
        fits
    });
    Ok(encode_facts(&facts.collect()))
}
