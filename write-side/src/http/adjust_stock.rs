//! `POST /v1/inventory/{location}/adjustments`: a count is corrected.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use events::{LocationId, Sku};
use garde::Validate;
use http_api::{HashedJson, OfLog, Path, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    caller::Caller,
    problem::refused,
};
use crate::domain::inventory::InventoryCommand;

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustStockBody {
    #[garde(skip)]
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    /// Pieces found (positive) or written off (negative); not 0.
    #[garde(range(min = -1_000_000_000, max = 1_000_000_000))]
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = -2)]
    delta: i64,
    #[garde(length(chars, min = 1, max = 200), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 200, example = "damaged")]
    reason: String,
    /// When it was counted, where that is not now.
    #[garde(skip)]
    business_time: Option<DateTime<Utc>>,
}

/// Adjusts the stock of an article.
///
/// Refused (422) when less would be left than is reserved.
#[utoipa::path(post, path = "/v1/inventory/{location}/adjustments", tag = "inventory",
    params(("location" = String, Path), Caller, OfLog),
    request_body = AdjustStockBody,
    responses((status = 201, description = "Recorded", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn adjust_stock(
    State(app): State<WriteSide>,
    Path(location): Path<LocationId>,
    caller: Caller,
    HashedJson(body, hash): HashedJson<AdjustStockBody>,
) -> Result<Accepted, Problem> {
    let decider = app.inventory.of(&location.stream());
    let command = InventoryCommand::Adjust { location, sku: body.sku, delta: body.delta, reason: body.reason };
    let handled = decider.submit(command, caller.context_alone(hash, body.business_time)).await.map_err(refused)?;
    Ok(Accepted::new(StatusCode::CREATED, app.store.log().id(), handled))
}
