//! Version 1 of the HTTP API's JSON.
//!
//! Field rules (lengths, characters, ranges) belong to `domain` and are checked when a [`PostTransition`] becomes a
//! [`Transition`](plimsoll_domain::projection::Transition); the types here fix names, shapes and what is unknown.

mod produced_ref;

use std::collections::BTreeMap;

use plimsoll_domain::projection::{Draft, RefDraft, RefKey, Resolution};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A transition, as a client posts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostTransition {
    /// The artifact that takes on the status: 1 to 256 bytes of UTF-8, no control characters.
    #[schema(min_length = 1, max_length = 256, example = "spec-login-flow")]
    pub artifact_id: String,
    /// Names this transition within the tenant, for ever: 1 to 128 bytes of printable ASCII; a UUID is recommended.
    /// A retry carries the same id and the same content.
    #[schema(min_length = 1, max_length = 128, pattern = "^[ -~]+$", example = "019db77b-4e45-7c1e-9a53-0d2f6f6f8a10")]
    pub transition_id: String,
    /// The status the artifact takes on: 1 to 64 bytes; the vocabulary is the client's.
    #[schema(min_length = 1, max_length = 64, example = "in_review")]
    pub status: String,
    /// The pull requests and issues this transition opens or resolves: at most 256.
    #[schema(max_items = 256)]
    pub produced_refs: Vec<ProducedRef>,
    /// The token the emitter last saw, if any: the new stamp is greater than this token's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 69, max_length = 69)]
    pub committed_version: Option<String>,
}

/// A pull request or issue that a transition opens in `target_repo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProducedRef {
    /// Only a key is known: the forge has not answered yet.
    Pending {
        /// The repository it is opened in: 1 to 256 bytes, no control characters.
        #[schema(min_length = 1, max_length = 256, example = "acme/web")]
        target_repo: String,
        /// Names it within the artifact and the repository: 1 to 256 bytes, no control characters.
        #[schema(min_length = 1, max_length = 256, example = "k-1")]
        idempotency_key: String,
    },
    /// The forge has given it a number.
    Resolved {
        /// The repository it was opened in, as in its pending form.
        #[schema(min_length = 1, max_length = 256, example = "acme/api")]
        target_repo: String,
        /// The key of its pending form.
        #[schema(min_length = 1, max_length = 256, example = "k-0")]
        idempotency_key: String,
        /// The forge's number: 1 to 2^53 - 1.
        #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 96)]
        number: u64,
        /// Where the forge shows it: 1 to 2,048 bytes, no control characters.
        #[schema(min_length = 1, max_length = 2048, example = "https://forge.example/acme/api/pull/96")]
        url: String,
        /// When the forge created it: RFC 3339.
        #[schema(format = DateTime, min_length = 20, max_length = 64, example = "2026-04-22T18:04:11Z")]
        created_at: String,
    },
}

/// The answer to an accepted or repeated transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The artifact.
    pub artifact_id: String,
    /// The transition this answer describes.
    pub transition_id: String,
    /// The artifact's token as it stands now.
    pub committed_version: String,
    /// The time of that token's stamp.
    pub updated_at: String,
}

/// The small answer that carries the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cursor {
    /// The artifact.
    pub artifact_id: String,
    /// Names the artifact's exact state.
    pub committed_version: String,
    /// The time of the token's stamp.
    pub updated_at: String,
}

/// The whole projection of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Projection {
    /// The artifact.
    pub artifact_id: String,
    /// Its status.
    pub status: String,
    /// The transition that gave it that status.
    pub transition_id: String,
    /// Its refs, in the form they were posted in, ordered by `target_repo` and `idempotency_key`.
    pub produced_refs: Vec<ProducedRef>,
    /// Names this exact state.
    pub committed_version: String,
    /// The time of the token's stamp.
    pub updated_at: String,
}

/// One line of the listing: a projection without its refs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionSummary {
    /// The artifact.
    pub artifact_id: String,
    /// Its status.
    pub status: String,
    /// The transition that gave it that status.
    pub transition_id: String,
    /// Names this exact state.
    pub committed_version: String,
    /// The time of the token's stamp.
    pub updated_at: String,
}

/// One transition of an artifact's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// The transition.
    pub transition_id: String,
    /// The status it gave.
    pub status: String,
    /// The refs it produced, ordered by `target_repo` and `idempotency_key`.
    pub produced_refs: Vec<ProducedRef>,
    /// Its effective stamp: the time and the node of its first acceptance.
    pub stamp: String,
}

/// Who said something, and when that transition was first accepted anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    /// The transition.
    pub transition_id: String,
    /// Its effective stamp: time and node.
    pub stamp: String,
}

/// Something two nodes accepted that cannot both stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Conflict {
    /// A ref was resolved to two things: the greater stamp stands (rule 3 of the merge).
    ResolvedTwice {
        /// What stands.
        stands: ProducedRef,
        /// Who brought it.
        stands_by: Said,
        /// What is lost.
        lost: ProducedRef,
        /// Who brought that.
        lost_by: Said,
    },
    /// A transition id was used with two contents: the smaller stamp stands (rule 6). This node met both.
    IdUsedTwice {
        /// The content that is lost.
        lost: PostTransition,
        /// Who brought it.
        lost_by: Said,
    },
}

/// The conflicts of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conflicts {
    /// Conflicts among the newest 10,000 transitions, and at most 16 transition ids used twice, the first this node met.
    pub items: Vec<Conflict>,
}

/// Why an artifact's projection is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The artifact.
    pub artifact_id: String,
    /// Names the state that is explained.
    pub committed_version: String,
    /// Its status: that of the visible transition with the greatest effective stamp.
    pub status: String,
    /// Who gave it.
    pub status_by: Said,
    /// Its refs, by key.
    pub produced_refs: Vec<ExplainedRef>,
    /// What the other members have, as far as they answer; empty for a node alone.
    pub members: Vec<MemberToken>,
}

/// Why a ref is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedRef {
    /// What stands.
    pub stands: ProducedRef,
    /// Who brought it.
    pub by: Said,
    /// `alone`: nobody said anything else; `resolved`: it beats pending; `later`: of two resolutions the greater stamp
    /// stands.
    pub why: String,
}

/// An artifact's token at another member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberToken {
    /// The member.
    pub node_id: String,
    /// Where it is.
    pub region: String,
    /// The token there; `null` where the artifact is not projected there, or the member did not answer.
    #[schema(required = true)]
    pub committed_version: Option<String>,
    /// Whether its state is the same; `null` where it did not answer.
    #[schema(required = true)]
    pub same: Option<bool>,
}

/// A node and its cluster, as the node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// The node that answers.
    pub node_id: String,
    /// Where it is.
    pub region: String,
    /// What it is doing: `starting`, `catching_up`, `ready`, `clock_fenced`, `read_only` or `leaving`.
    pub state: String,
    /// How many facts it has: transitions and tombstones of all tenants.
    pub facts: u64,
    /// One hash over all of them: two replicas are equal if and only if theirs are.
    pub digest: String,
    /// The cluster's name; `null` for a node alone.
    #[schema(required = true)]
    pub cluster: Option<String>,
    /// Where peers reach it; `null` for a node alone.
    #[schema(required = true)]
    pub peer: Option<String>,
    /// The version of its software.
    pub version: String,
    /// The others, those that have left or were forgotten last.
    pub members: Vec<ClusterMember>,
}

/// A member, as another node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterMember {
    /// The member.
    pub node_id: String,
    /// Where it is.
    pub region: String,
    /// `alive`, `suspect` or `down`, as the failure detector thinks; `gone` if it has left or was forgotten.
    pub state: String,
    /// Where clients reach it: a host and a port.
    pub http: String,
    /// Where peers reach it: a host and a port.
    pub peer: String,
    /// The version of its software.
    pub version: String,
    /// Whether the node that answers is connected to it.
    pub connected: bool,
    /// How many changes of it are not here yet; `null` where it has not said how many there are.
    #[schema(required = true)]
    pub lag_facts: Option<u64>,
    /// Everything it had so many milliseconds ago is here; `null` where nothing is known since the start.
    #[schema(required = true)]
    pub lag_ms: Option<u64>,
    /// How far its clock is ahead of this node's, in milliseconds; `null` where they were not compared.
    #[schema(required = true)]
    pub clock_offset_ms: Option<i64>,
    /// When it was last heard of, RFC 3339; `null` for never since the start.
    #[schema(required = true)]
    pub last_seen: Option<String>,
    /// How many facts it has, as it said last.
    #[schema(required = true)]
    pub facts: Option<u64>,
    /// One hash over all of them, as it said last.
    #[schema(required = true)]
    pub digest: Option<String>,
    /// What is wrong with it, if anything.
    #[schema(required = true)]
    pub trouble: Option<String>,
}

/// A page of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionPage {
    /// The projections of this page, ordered by artifact id. A page may hold fewer than `limit`, even none, and still
    /// have a next one: a filter is given a bounded number of rows to look at.
    pub items: Vec<ProjectionSummary>,
    /// Where the next page begins; `null` on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// A page of a history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// The transitions of this page.
    pub items: Vec<HistoryEntry>,
    /// Where the next page begins; `null` on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// The artifacts whose cursors are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorsRequest {
    /// At most 1,000 artifact ids.
    #[schema(max_items = 1000)]
    pub artifact_ids: Vec<String>,
}

/// Cursors in bulk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CursorsAnswer {
    /// For each artifact asked for, its token, or `null` where it is not projected here.
    #[schema(schema_with = cursors_schema)]
    pub cursors: BTreeMap<String, Option<TokenAndTime>>,
}

/// `utoipa` cannot derive a map whose values may be null.
fn cursors_schema() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
    use utoipa::openapi::{Ref, Schema};
    let value = OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name("TokenAndTime"))
        .build();
    ObjectBuilder::new().additional_properties(Some(Schema::OneOf(value))).build()
}

/// A token and the time of its stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenAndTime {
    /// Names the artifact's exact state.
    pub committed_version: String,
    /// The time of the token's stamp.
    pub updated_at: String,
}

/// The data of one server-sent event of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The artifact that changed.
    pub artifact_id: String,
    /// Its token now; `null` once it is retired.
    #[schema(required = true)]
    pub committed_version: Option<String>,
}

/// One line of a batch's answer: what the single call would have given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchLine {
    /// The HTTP status of this line.
    pub status: u16,
    /// The body that goes with it.
    pub body: BatchBody,
}

/// The body of one line of a batch's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BatchBody {
    /// With 200 and 201.
    Accepted(Accepted),
    /// With every other status.
    Problem(crate::problem::Problem),
}

/// The answer of `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` while the process serves.
    pub status: String,
    /// The version of the binary.
    pub version: String,
    /// The node, as 16 hex digits.
    pub node_id: String,
}

/// The answer of `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether this node takes reads and writes.
    pub ready: bool,
    /// Why not: the `type` of the problem a write would be answered with; `null` when ready.
    #[schema(required = true)]
    pub reason: Option<String>,
}

impl From<ProducedRef> for RefDraft {
    fn from(produced: ProducedRef) -> Self {
        match produced {
            ProducedRef::Pending { target_repo, idempotency_key } => {
                Self { target_repo, idempotency_key, resolution: None }
            }
            ProducedRef::Resolved { target_repo, idempotency_key, number, url, created_at } => {
                Self { target_repo, idempotency_key, resolution: Some((number, url, created_at)) }
            }
        }
    }
}

impl From<PostTransition> for Draft {
    fn from(post: PostTransition) -> Self {
        Self {
            artifact_id: post.artifact_id,
            transition_id: post.transition_id,
            status: post.status,
            produced_refs: post.produced_refs.into_iter().map(RefDraft::from).collect(),
            committed_version: post.committed_version,
        }
    }
}

impl ProducedRef {
    /// A ref in the form it was posted in.
    #[must_use]
    pub fn from_parts(key: &RefKey, resolution: Option<&Resolution>) -> Self {
        let (target_repo, idempotency_key) = (key.target_repo.to_string(), key.idempotency_key.to_string());
        match resolution {
            None => Self::Pending { target_repo, idempotency_key },
            Some(resolution) => Self::Resolved {
                target_repo,
                idempotency_key,
                number: resolution.number,
                url: resolution.url.to_string(),
                created_at: resolution.created_at.to_string(),
            },
        }
    }
}
