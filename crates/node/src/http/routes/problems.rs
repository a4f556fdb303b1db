//! The problems each route may answer with, as its description lists them.

use std::collections::BTreeMap;

use plimsoll_wire::problem::{self, Kind, Problem};
use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Type};

/// Those of every route that looks at projections.
const COMMON: &[Kind] = &[
    Kind::BadRequest,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::UriTooLong,
    Kind::RateLimited,
    Kind::Internal,
    Kind::NotReady,
    Kind::Overloaded,
    Kind::StorageFailed,
];

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident),+;)*) => { $(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                responses(COMMON.iter().copied().chain([$(Kind::$kind),+]))
            }
        }
    )* };
}

problems! {
    OfTransition: NotJson, SlowBody, MethodNotAllowed, UnknownPendingRef, TransitionConflict, ResolvedRefConflict,
        ProjectionMoved, TooLarge, UnsupportedMediaType, InvalidField, MigrationPending, ClockFenced, UnverifiableRef, UnderReplicated,
        DiskFull, QuotaExceeded;
    OfBatch: SlowBody, MethodNotAllowed, UnsupportedMediaType, MigrationPending, ClockFenced;
    OfCursor: NoSuchRoute, NotProjected, MethodNotAllowed, InvalidField, NotYetReplicated;
    OfArtifact: NoSuchRoute, NotProjected, MethodNotAllowed, InvalidField;
    OfCluster: NoSuchRoute, MethodNotAllowed;
    OfLeaving: NoSuchRoute, NoSuchMember, MethodNotAllowed, MemberConnected, UnderReplicated;
    OfForgetting: NoSuchRoute, NoSuchMember, MethodNotAllowed, MemberConnected, InvalidField;
    OfListing: MethodNotAllowed;
    OfChanges: MethodNotAllowed, PositionGone;
    OfCursors: NotJson, SlowBody, MethodNotAllowed, TooLarge, UnsupportedMediaType, InvalidField;
    OfRetirement: NoSuchRoute, NotProjected, MethodNotAllowed, ProjectionMoved, InvalidField, MigrationPending, ClockFenced,
        DiskFull;
}

fn responses(kinds: impl Iterator<Item = Kind>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status()).or_default().push(kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), RefOr::T(response(status, &kinds)))).collect()
}

fn response(status: u16, kinds: &[Kind]) -> Response {
    let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name(), kind.title())).collect();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for kind in kinds {
        let value = serde_json::to_value(Problem::new(*kind, "What happened this time, and what to do.")).ok();
        content = content
            .examples_from_iter([(kind.name(), ExampleBuilder::new().summary(kind.title()).value(value).build())]);
    }
    let mut response =
        ResponseBuilder::new().description(lines.join("\n")).content(problem::MEDIA_TYPE, content.build());
    if matches!(status, 429 | 503) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let header =
            HeaderBuilder::new().schema(Some(seconds)).description(Some("When to try again, in seconds.")).build();
        response = response.header("Retry-After", header);
    }
    response.build()
}
