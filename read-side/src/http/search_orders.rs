//! `GET /v1/orders`: orders by anything.

use axum::extract::State;
use chrono::{DateTime, Utc};
use events::{Currency, CustomerId, LocationId, Sku};
use garde::Validate;
use http_api::{Json, MinPosition, Problem, Query};
use projections::{
    OrderStatus, OrderSummary, SearchIndex,
    search::{FacetCount, OrderSearch, OrderSort},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    ReadSide,
    answer::Answer,
    min_position::list_in,
    paging::{HITS_DEFAULT, HITS_MAX},
    refusal::search_refusal,
};

/// All conditions hold together.
#[derive(Debug, Clone, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrderQuery {
    /// Each word is the beginning of an order id, a customer id, a reference, a SKU or a status.
    #[garde(length(chars, max = 256))]
    #[param(max_length = 256, example = "536365")]
    q: Option<String>,
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    #[garde(skip)]
    #[param(inline)]
    status: Option<OrderStatus>,
    #[garde(length(chars, min = 1, max = 128))]
    #[param(min_length = 1, max_length = 128)]
    reference: Option<String>,
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    sku: Option<Sku>,
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    location: Option<LocationId>,
    /// RFC 3339, included.
    #[garde(skip)]
    placed_from: Option<DateTime<Utc>>,
    /// RFC 3339, not included.
    #[garde(skip)]
    placed_before: Option<DateTime<Utc>>,
    /// ISO 4217.
    #[garde(skip)]
    #[param(value_type = Option<String>, example = "GBP")]
    currency: Option<Currency>,
    /// Minor units.
    #[garde(skip)]
    total_min: Option<i64>,
    /// Minor units.
    #[garde(skip)]
    total_max: Option<i64>,
    #[garde(skip)]
    needs_attention: Option<bool>,
    #[garde(skip)]
    #[param(inline)]
    sort: Option<OrderSort>,
    /// 1 to 100.
    #[garde(range(min = 1, max = HITS_MAX))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[param(min_length = 1, max_length = 1024)]
    cursor: Option<String>,
}

impl From<OrderQuery> for OrderSearch {
    fn from(query: OrderQuery) -> Self {
        Self {
            text: query.q,
            customer_id: query.customer_id,
            status: query.status,
            reference: query.reference,
            sku: query.sku,
            location: query.location,
            placed_from: query.placed_from,
            placed_before: query.placed_before,
            currency: query.currency,
            total_min: query.total_min,
            total_max: query.total_max,
            needs_attention: query.needs_attention,
            sort: query.sort.unwrap_or_default(),
            after: None,
            limit: 0,
        }
    }
}

/// A page of orders, and counts over all that match.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundOrders {
    items: Vec<OrderSummary>,
    /// Send it as `cursor` for the next page; none on the last one.
    next: Option<String>,
    /// How many match in all.
    total: usize,
    /// How many of those are in each status.
    statuses: Vec<FacetCount>,
}

/// Finds orders by words, customer, status, article, time, amount.
#[utoipa::path(
    get, path = "/v1/orders", tag = "orders", operation_id = "search_orders", params(OrderQuery, MinPosition),
    responses(
        (status = 200, description = "A page of orders", body = FoundOrders,
            headers(("Waybill-Position" = String, description = "The position of the log that the answer reflects"))),
        (status = 400, description = "A parameter or the cursor is not acceptable", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The index cannot be read; orders by id work", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn search_orders(
    State(app): State<ReadSide>,
    Query(query): Query<OrderQuery>,
    min: MinPosition,
) -> Result<Answer<Json<FoundOrders>>, Problem> {
    let (limit, cursor) = (query.limit.unwrap_or(HITS_DEFAULT), query.cursor.clone());
    let search = OrderSearch::from(query);
    let list = list_in(&min, format!("orders\0{search:?}"));
    let search = OrderSearch { after: app.cursors.open_any(&list, cursor.as_deref())?, limit, ..search };
    let index = app.indexes(&min);
    let found = app.search(SearchIndex::Orders, &min, || index.search_orders(search.clone())).await;
    let found = found.map_err(search_refusal)?;
    let next = app.cursors.seal_any(&list, found.value.next);
    let (items, total, statuses) = (found.value.items, found.value.total, found.value.statuses);
    Ok(Answer::json(FoundOrders { items, next, total, statuses }, found.position))
}
