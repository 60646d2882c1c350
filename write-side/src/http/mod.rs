//! The command endpoints: one a file, this is the routing table.
//!
//! To add one: a file beside `place_order.rs` with the body, the handler and its documentation, and a line in [`router`].

mod adjust_stock;
mod answer;
mod caller;
mod cancel_order;
mod carrier_webhook;
mod list_product;
mod payment_webhook;
mod place_order;
mod problem;
mod receive_stock;
mod reprice_product;
mod signature;

use events::LocationId;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Deciders, EventStore, domain::inventory::Inventory, price_list::PriceList};

pub use signature::WebhookSecret;

/// What the command endpoints need. Cheap to clone.
#[derive(Clone)]
pub struct WriteSide {
    pub store: EventStore,
    pub prices: PriceList,
    /// Shared with the inventory participant where both run in one process.
    pub inventory: Deciders<Inventory>,
    /// Where an order's goods are taken from unless it says otherwise.
    pub location: LocationId,
    pub webhook_secret: WebhookSecret,
}

/// All command endpoints with their documentation.
pub fn router(write_side: WriteSide) -> OpenApiRouter {
    routes().with_state(write_side)
}

/// The documentation alone.
#[must_use]
pub fn description() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<WriteSide> {
    OpenApiRouter::new()
        .routes(routes!(list_product::list_product))
        .routes(routes!(reprice_product::reprice_product))
        .routes(routes!(receive_stock::receive_stock))
        .routes(routes!(adjust_stock::adjust_stock))
        .routes(routes!(place_order::place_order))
        .routes(routes!(cancel_order::cancel_order))
        .routes(routes!(payment_webhook::payment_webhook))
        .routes(routes!(carrier_webhook::carrier_webhook))
}
