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

use axum::extract::FromRef;
use events::LocationId;
use http_api::ServedLogs;
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

/// Commands are recorded in one log.
impl FromRef<WriteSide> for ServedLogs {
    fn from_ref(app: &WriteSide) -> Self {
        Self([app.store.log().id().clone()].into())
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn every_command_says_what_it_takes_how_it_is_answered_and_how_it_is_refused() {
        let description = serde_json::to_value(super::description()).expect("a description is JSON");
        assert!(description.pointer("/components/schemas/Problem").is_some());
        let paths = description["paths"].as_object().expect("paths");
        let commands = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().expect("methods").values().map(move |command| (path, command))
        });
        for (path, command) in commands {
            let parameters = command["parameters"].as_array().expect("parameters");
            let names: Vec<_> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
            let (taken, refused) = match path.contains("/webhooks/") {
                true => (&["Webhook-Signature"][..], "401"),
                false => (&["Idempotency-Key", "Waybill-Actor"][..], "415"),
            };
            assert!(taken.iter().all(|name| names.contains(name)), "{path}: {names:?}");
            let responses = command["responses"].as_object().expect("responses");
            for status in ["400", "409", "413", "422", "503", refused] {
                let problem = &responses[status]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{path} {status}");
            }
            let (_, done) = responses.iter().find(|(status, _)| status.starts_with('2')).expect("it can succeed");
            assert!(
                ["ETag", "Waybill-Position"].iter().all(|name| done["headers"][name].is_object()),
                "{path}: {done}"
            );
        }
    }

    #[test]
    fn the_bounds_of_a_body_are_described() {
        let description = serde_json::to_value(super::description()).expect("a description is JSON");
        let bounds = |schema: &str, field: &str, names: [&str; 2]| -> [Value; 2] {
            names.map(|name| description["components"]["schemas"][schema]["properties"][field][name].clone())
        };
        let number = ["minimum", "maximum"];
        assert_eq!(bounds("PlaceOrderLine", "quantity", number), [json!(1), json!(1_000_000)]);
        assert_eq!(bounds("ReceivedLine", "quantity", number), [json!(1), json!(1_000_000_000)]);
        assert_eq!(bounds("AdjustStockBody", "delta", number), [json!(-1_000_000_000), json!(1_000_000_000)]);
        assert_eq!(bounds("ReceiveStockBody", "lines", ["minItems", "maxItems"]), [json!(1), json!(1_000)]);
        assert_eq!(bounds("PlaceOrderBody", "reference", ["minLength", "maxLength"]), [json!(1), json!(100)]);
    }
}
