//! `PUT /v1/products/{sku}/price`: changes what an article costs from now on.

use axum::{extract::State, http::StatusCode};
use events::{Money, Sku};
use garde::Validate;
use http_api::{HashedJson, IfMatch, OfLog, Path, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    caller::Caller,
    problem::refused,
};
use crate::{
    domain::product::{Product, ProductCommand},
    handle_if,
};

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RepriceProductBody {
    /// In the currency that the product was listed in.
    #[garde(skip)]
    price: Money,
}

/// Changes a price.
///
/// Orders that are placed already keep theirs. With `If-Match`, refuses (412) a product that changed since it was read.
#[utoipa::path(put, path = "/v1/products/{sku}/price", tag = "catalogue",
    params(("sku" = String, Path), Caller, OfLog,
        ("If-Match" = Option<String>, Header, description = "The ETag of the product as it was read.")),
    request_body = RepriceProductBody,
    responses((status = 200, description = "Recorded", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 404, description = "No such product", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "If-Match names another version than the current one", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn reprice_product(
    State(app): State<WriteSide>,
    Path(sku): Path<Sku>,
    if_match: IfMatch,
    caller: Caller,
    HashedJson(body, hash): HashedJson<RepriceProductBody>,
) -> Result<Accepted, Problem> {
    let command = ProductCommand::Reprice { price: body.price };
    let context = caller.context_alone(hash, None);
    let handled = handle_if::<Product>(&app.store, &sku.stream(), command, &context, if_match.versions())
        .await
        .map_err(refused)?;
    Ok(Accepted::new(StatusCode::OK, app.store.log().id(), handled))
}
