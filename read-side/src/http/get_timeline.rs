//! `GET /v1/orders/{id}/timeline`: what happened to an order, in words.

use axum::extract::State;
use events::OrderId;
use http_api::{ETag, IfNoneMatch, Json, MinPosition, Path, Problem};
use projections::{Attention, OrderDocument, OrderStatus, TimelineEntry};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{ReadSide, answer::Answer};

/// What happened, what is awaited, and what comes next.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    order_id: OrderId,
    status: OrderStatus,
    /// None when nothing is outstanding.
    #[schema(example = "the payment to be authorised")]
    waiting_for: Option<String>,
    /// What happens when that has come.
    #[schema(example = "confirm the order")]
    next: Option<String>,
    /// What a person must decide; none when nothing is stuck.
    needs_attention: Option<Attention>,
    /// In the order of the log.
    events: Vec<TimelineEntry>,
}

impl From<OrderDocument> for Timeline {
    fn from(order: OrderDocument) -> Self {
        Self {
            order_id: order.id,
            status: order.status,
            waiting_for: order.fulfilment.waiting_for,
            next: order.fulfilment.next,
            needs_attention: order.fulfilment.needs_attention,
            events: order.timeline,
        }
    }
}

/// What happened to an order in words, what it waits for, and what comes next.
#[utoipa::path(
    get, path = "/v1/orders/{id}/timeline", tag = "orders", operation_id = "get_timeline",
    params(("id" = Uuid, Path, description = "The order's id"), MinPosition,
        ("If-None-Match" = Option<String>, Header, description = "ETags of copies that you hold: 304 when one is the current")),
    responses(
        (status = 200, description = "The timeline", body = Timeline, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"`"),
            ("Waybill-Position" = String, description = "The position of the log that the answer reflects"),
            ("Waybill-Degraded" = Option<String>, description = "Names what was answered by a substitute"))),
        (status = 304, description = "The copy named in If-None-Match is the current one"),
        (status = 400, description = "The id or a header is malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such order as of `position`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Neither the view nor the log answers", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_timeline(
    State(app): State<ReadSide>,
    Path(id): Path<OrderId>,
    min: MinPosition,
    copy: IfNoneMatch,
) -> Result<Answer<Json<Timeline>>, Problem> {
    let views = app.views(&min);
    let found = app.order::<OrderDocument, _>(id, &min, || views.order(id)).await?;
    let order = found.read.value;
    let etag = ETag { version: order.version, position: order.position };
    Ok(Answer::json(Timeline::from(order), found.read.position).tagged(etag, &copy).degraded(found.degraded))
}
