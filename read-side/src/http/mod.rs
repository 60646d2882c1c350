//! The routing table of the queries.

mod audit_events;
mod customer_orders;
mod get_order;
mod get_product;
mod get_stock;
mod get_timeline;
mod list_projections;
mod search_orders;
mod search_products;

use std::sync::Arc;

use axum::{extract::FromRef, middleware::from_fn_with_state};
use http_api::ServedLogs;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Config, Parts, ReadSide,
    staleness::{self, LogsReached},
};

/// Every query, with its description; the binary merges it with the commands and puts the standard layers round both.
///
/// Begins to watch whether the log answers, on `parts.tasks`: call it inside the runtime.
#[must_use]
pub fn router(config: &Config, parts: Parts) -> OpenApiRouter {
    let reached = LogsReached::watch(&parts);
    routes().with_state(ReadSide::new(config, parts)).layer(from_fn_with_state(reached, staleness::mark))
}

/// The descriptions alone.
#[must_use]
pub fn description() -> OpenApi {
    routes().into_openapi()
}

/// What queries can be about.
impl FromRef<ReadSide> for ServedLogs {
    fn from_ref(app: &ReadSide) -> Self {
        Self(Arc::clone(&app.log_ids))
    }
}

fn routes() -> OpenApiRouter<ReadSide> {
    OpenApiRouter::new()
        .routes(routes!(get_order::get_order))
        .routes(routes!(get_timeline::get_timeline))
        .routes(routes!(search_orders::search_orders))
        .routes(routes!(customer_orders::customer_orders))
        .routes(routes!(search_products::search_products))
        .routes(routes!(get_product::get_product))
        .routes(routes!(get_stock::get_stock))
        .routes(routes!(list_projections::list_projections))
        .routes(routes!(audit_events::audit_events))
}
