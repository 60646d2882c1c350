//! `POST /v1/inventory/{location}/receipts`: goods have arrived.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use events::{LocationId, inventory::StockLine};
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
pub(super) struct ReceiveStockBody {
    /// The delivery note or purchase order, as the shop calls it.
    #[garde(length(chars, min = 1, max = 200), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 200, example = "PO-1042")]
    reference: String,
    #[garde(length(min = 1, max = 1000), dive)]
    #[schema(min_items = 1, max_items = 1000)]
    lines: Vec<ReceivedLine>,
    /// When it arrived, where that is not now.
    #[garde(skip)]
    business_time: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReceivedLine {
    #[garde(skip)]
    #[schema(value_type = String, example = "85123A")]
    sku: events::Sku,
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000, example = 100)]
    quantity: u32,
}

/// Receives stock at a location.
///
/// Repeating an `Idempotency-Key` receives nothing twice.
#[utoipa::path(post, path = "/v1/inventory/{location}/receipts", tag = "inventory",
    params(("location" = String, Path), Caller, OfLog),
    request_body = ReceiveStockBody,
    responses((status = 201, description = "Recorded", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn receive_stock(
    State(app): State<WriteSide>,
    Path(location): Path<LocationId>,
    caller: Caller,
    HashedJson(body, hash): HashedJson<ReceiveStockBody>,
) -> Result<Accepted, Problem> {
    let lines = body.lines.into_iter().map(|line| StockLine { sku: line.sku, quantity: line.quantity }).collect();
    let decider = app.inventory.of(&location.stream());
    let command = InventoryCommand::Receive { location, lines, reference: body.reference };
    let handled = decider.submit(command, caller.context_alone(hash, body.business_time)).await.map_err(refused)?;
    Ok(Accepted::new(StatusCode::CREATED, app.store.log().id(), handled))
}
