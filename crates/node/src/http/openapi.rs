//! The description of the API: assembled from what stands beside each handler, so that the two cannot drift apart.

use plimsoll_wire::http::v1::{BatchLine, Change, PostTransition, TokenAndTime};
use plimsoll_wire::problem::Problem;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Schema, Type};
use utoipa::{Modify, OpenApi as _};

/// The description as JSON: indented, in a stable order, with a line feed at its end.
///
/// # Panics
/// Never: a description is JSON.
#[must_use]
pub fn openapi_json() -> String {
    text(&super::routes().1)
}

/// A header is there or not; `utoipa` describes one that need not be there as one that may be `null`.
pub(super) fn strip_null_headers(description: &mut OpenApi) {
    let items = description.paths.paths.values_mut();
    let operations = items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]).flatten();
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        if let RefOr::T(parameter) = parameter
            && let (ParameterIn::Header, Some(RefOr::T(Schema::Object(schema)))) =
                (&parameter.parameter_in, &mut parameter.schema)
            && let SchemaType::Array(types) = &schema.schema_type
            && let Some(present) = types.iter().find(|one| **one != Type::Null)
        {
            schema.schema_type = SchemaType::Type(present.clone());
        }
    }
}

pub(super) fn text(description: &OpenApi) -> String {
    let mut text = description.to_pretty_json().expect("a description is JSON");
    text.push('\n');
    text
}

/// What the description says apart from the routes.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// See [`base`]. The schemas listed are those that the description of no body leads to.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "plimsoll",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        description = "How far each artifact has come: any node takes transitions at once, all nodes converge.\n\n\
            Every error is a problem document (RFC 9457), `application/problem+json`, with a stable `type`.\n\n\
            Conditional requests carry an artifact's `committed_version` in double quotes as their entity tag. \
            Under `/projections`, parameters of a query that are not described are refused. HEAD is answered wherever \
            GET is."
    ),
    tags(
        (name = "transitions", description = "Moving artifacts on."),
        (name = "projections", description = "Reading how far artifacts have come, and retiring them."),
        (name = "cluster", description = "The nodes and how they are. It takes a token with the scope `admin`."),
        (name = "operations", description = "For orchestrators and Prometheus; no token is needed."),
    ),
    components(schemas(Problem, PostTransition, BatchLine, Change, TokenAndTime)),
    security(("bearer" = [])),
    modifiers(&Bearer),
)]
struct Base;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut OpenApi) {
        let description = "A token of one tenant. It may read (scope `read`), write (scope `write`), or both. A node may \
                           be set to allow reads without one.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
