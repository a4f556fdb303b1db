//! Problem documents (RFC 9457): the one form of every error of the HTTP API.
//!
//! A [`Kind`] is the stable part: its name is in the `type` of the document, clients match on it, and it is never
//! reused for something else. The table from kind to status is here too, so that server, client and documentation
//! cannot disagree.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every `type` begins with.
pub const TYPE_PREFIX: &str = "urn:plimsoll:problem:";

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI that names the kind of problem: `urn:plimsoll:problem:<name>`.
    #[serde(rename = "type")]
    #[schema(example = "urn:plimsoll:problem:unknown-pending-ref")]
    pub kind: String,
    /// A short summary of the kind, the same each time.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// The field of the request that breaks a rule, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "produced_refs[3].url")]
    pub field: Option<String>,
}

impl Problem {
    /// A problem of a kind, told in `detail`.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.uri(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            field: None,
        }
    }

    /// The same problem, naming the field of the request it is about.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The kind, where this version knows it.
    #[must_use]
    pub fn known_kind(&self) -> Option<Kind> {
        let name = self.kind.strip_prefix(TYPE_PREFIX)?;
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problem, each with a stable name, a status and a title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of their documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, the last part of the `type`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// A short summary, the same each time.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }
        }
    };
}

kinds! {
    /// The body is not JSON, or a line of a batch is not.
    NotJson = "not-json", 400, "The body is not JSON";
    /// A header or query parameter cannot be read.
    BadRequest = "bad-request", 400, "The request cannot be read";
    /// No token, or one this node does not know.
    Unauthenticated = "unauthenticated", 401, "A valid token is required";
    /// The token lacks the scope.
    Forbidden = "forbidden", 403, "The token lacks the scope";
    /// No such route.
    NoSuchRoute = "no-such-route", 404, "No such route";
    /// The artifact is not projected here.
    NotProjected = "not-projected", 404, "The artifact is not projected here";
    /// No such member of the cluster.
    NoSuchMember = "no-such-member", 404, "The cluster has no such member";
    /// The route exists, with other methods.
    MethodNotAllowed = "method-not-allowed", 405, "The route does not take this method";
    /// The client sends its body too slowly.
    SlowBody = "slow-body", 408, "The body did not arrive in time";
    /// A resolved ref whose key no member knows.
    UnknownPendingRef = "unknown-pending-ref", 409, "No pending ref has this key";
    /// The transition id was used with different content.
    TransitionConflict = "transition-conflict", 409, "The transition id was used with different content";
    /// The key is resolved already, to another number or url.
    ResolvedRefConflict = "resolved-ref-conflict", 409, "The ref is resolved to something else";
    /// The member is connected, and so not gone.
    MemberConnected = "member-connected", 409, "The member is connected";
    /// A position in the change feed that this node cannot go on from.
    PositionGone = "position-gone", 410, "The position is not one of this node's feed";
    /// `If-Match` or `If-None-Match: *` did not hold.
    ProjectionMoved = "projection-moved", 412, "The projection is not what the request expects";
    /// The body, or a line of a batch, is larger than allowed.
    TooLarge = "too-large", 413, "The body is too large";
    /// The path or a query parameter is longer than allowed.
    UriTooLong = "uri-too-long", 414, "The URI is too long";
    /// The body is not of the media type this route takes.
    UnsupportedMediaType = "unsupported-media-type", 415, "The body is not of a supported media type";
    /// A field breaks its rule, is missing, unknown, or of the wrong type.
    InvalidField = "invalid-field", 422, "A field breaks its rule";
    /// The tenant asks too much at once.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// The node failed in a way it should not.
    Internal = "internal", 500, "The node failed";
    /// The node is starting or stopping.
    NotReady = "not-ready", 503, "The node is not ready";
    /// The data directory is of an older format.
    MigrationPending = "migration-pending", 503, "The data directory awaits a migration";
    /// The node's clock is far from its peers'.
    ClockFenced = "clock-fenced", 503, "The node's clock is wrong";
    /// A ref's key is unknown here, and some member could not be asked for it.
    UnverifiableRef = "unverifiable-ref", 503, "Some member cannot be asked for the ref";
    /// The queue of writes, or the number of connections or streams, is at its bound.
    Overloaded = "overloaded", 503, "The node is overloaded";
    /// The disk failed; writes wait for a restart.
    StorageFailed = "storage-failed", 503, "The node's disk failed";
    /// The transition is not visible here yet.
    NotYetReplicated = "not-yet-replicated", 504, "The transition is not visible here yet";
    /// Fewer members than asked for have the transition on their disks.
    UnderReplicated = "under-replicated", 504, "Too few members have the transition";
    /// The disk is full.
    DiskFull = "disk-full", 507, "The node's disk is full";
    /// The tenant is at its quota.
    QuotaExceeded = "quota-exceeded", 507, "The tenant is at its quota";
}

impl Kind {
    /// The whole `type`.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.name())
    }
}
