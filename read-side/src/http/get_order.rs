//! `GET /v1/orders/{id}`: the order page.

use axum::{extract::State, http::header, response::IntoResponse};
use events::OrderId;
use http_api::{ETag, IfNoneMatch, MinPosition, Path, Problem};
use projections::{OrderDocument, OrderJson};

use crate::{ReadSide, answer::Answer};

/// One order with its lines, payments and shipments, and what it waits for.
///
/// While Redis is gone the answer is folded from the log and marked `Waybill-Degraded: order-view`.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "orders", operation_id = "get_order",
    params(("id" = Uuid, Path, description = "The order's id"), MinPosition,
        ("If-None-Match" = Option<String>, Header, description = "ETags of copies that you hold: 304 when one is the current")),
    responses(
        (status = 200, description = "The order", body = OrderDocument, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"`, for If-Match and If-None-Match"),
            ("Waybill-Position" = String, description = "The position of the log that the answer reflects"),
            ("Waybill-Degraded" = Option<String>, description = "Names what was answered by a substitute"))),
        (status = 304, description = "The copy named in If-None-Match is the current one"),
        (status = 400, description = "The id or a header is malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such order as of `position`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Neither the view nor the log answers", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_order(
    State(app): State<ReadSide>,
    Path(id): Path<OrderId>,
    min: MinPosition,
    copy: IfNoneMatch,
) -> Result<Answer<impl IntoResponse>, Problem> {
    let views = app.views(&min);
    let found = app.order::<OrderJson, _>(id, &min, || views.order_json(id)).await?;
    let OrderJson { json, tag } = found.read.value;
    let etag = ETag { version: tag.version, position: tag.position };
    let body = ([(header::CONTENT_TYPE, "application/json")], json);
    Ok(Answer::new(body, found.read.position).tagged(etag, &copy).degraded(found.degraded))
}
