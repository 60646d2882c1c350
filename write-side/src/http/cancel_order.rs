//! `POST /v1/orders/{id}/cancel`: the customer's wish; the saga undoes what was done.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use events::OrderId;
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
    domain::order::{Order, OrderCommand},
    handle_if,
};

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelOrderBody {
    #[garde(length(chars, min = 1, max = 200), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 200, example = "changed my mind")]
    reason: String,
    /// When it was asked, where that is not now.
    #[garde(skip)]
    business_time: Option<DateTime<Utc>>,
}

/// Asks for an order to be cancelled.
///
/// 202 says that the wish is recorded. Whether it was in time is on the order's timeline: a parcel that has left is
/// not called back. With `If-Match`, refuses (412) an order that changed since it was read.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders",
    params(("id" = String, Path, format = Uuid), Caller, OfLog,
        ("If-Match" = Option<String>, Header, description = "The ETag of the order as it was read.")),
    request_body = CancelOrderBody,
    responses((status = 202, description = "The wish is recorded", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 404, description = "No such order", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "If-Match names another version than the current one", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn cancel_order(
    State(app): State<WriteSide>,
    Path(order_id): Path<OrderId>,
    if_match: IfMatch,
    caller: Caller,
    HashedJson(body, hash): HashedJson<CancelOrderBody>,
) -> Result<Accepted, Problem> {
    let context = caller.context(order_id.0, hash, body.business_time);
    let command = OrderCommand::RequestCancellation { reason: body.reason };
    let handled = handle_if::<Order>(&app.store, &order_id.stream(), command, &context, if_match.versions()).await;
    let handled = handled.map_err(refused)?;
    Ok(Accepted::new(StatusCode::ACCEPTED, app.store.log().id(), handled).of_order(order_id))
}
