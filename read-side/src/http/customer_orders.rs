//! `GET /v1/customers/{id}/orders`: a customer's orders, newest first.

use axum::extract::State;
use events::CustomerId;
use garde::Validate;
use http_api::{Json, MinPosition, Path, Problem, Query};
use projections::{OrderSummary, View};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    ReadSide,
    answer::Answer,
    min_position::list_in,
    paging::{ListPage, PAGE_DEFAULT, PAGE_MAX},
    refusal::refusal,
};

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// 1 to 200.
    #[garde(range(min = 1, max = PAGE_MAX))]
    #[param(default = 50, minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[param(min_length = 1, max_length = 1024)]
    cursor: Option<String>,
}

/// A customer's orders, newest first; empty for a customer who has none.
#[utoipa::path(
    get, path = "/v1/customers/{id}/orders", tag = "orders", operation_id = "customer_orders",
    params(("id" = String, Path, description = "The customer's id"), PageQuery, MinPosition),
    responses(
        (status = 200, description = "A page of orders", body = ListPage<OrderSummary>,
            headers(("Waybill-Position" = String, description = "The position of the log that the answer reflects"))),
        (status = 400, description = "A parameter or the cursor is not acceptable", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The view does not answer", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn customer_orders(
    State(app): State<ReadSide>,
    Path(id): Path<CustomerId>,
    Query(query): Query<PageQuery>,
    min: MinPosition,
) -> Result<Answer<Json<ListPage<OrderSummary>>>, Problem> {
    let list = list_in(&min, format!("customer-orders\0{id}"));
    let after = app.cursors.open_any(&list, query.cursor.as_deref())?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    let views = app.views(&min);
    let read = app.read(View::CustomerOrders, &min, || views.customer_orders(&id, after.as_ref(), limit)).await;
    let read = read.map_err(refusal)?;
    Ok(Answer::json(app.cursors.page(&list, read.value), read.position))
}
