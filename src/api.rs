//! The description of the whole HTTP API, generated from the code.

use utoipa::{
    OpenApi as _,
    openapi::{OpenApi, tag::TagBuilder},
};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Waybill",
    version = "1",
    description = "Orders, stock, money and parcels. Commands answer with a position in the log; send it as \
        Waybill-Min-Position to a query to read what you wrote. Every error is an RFC 9457 problem document with a stable code.",
    license(name = "MIT OR Apache-2.0")
))]
struct Description;

/// Title, version and the groups; the paths come from the routers.
pub(crate) fn description() -> OpenApi {
    let mut description = Description::openapi();
    let tag = |name: &str, about: &str| TagBuilder::new().name(name).description(Some(about)).build();
    description.tags = Some(vec![
        tag("orders", "Place, follow, cancel"),
        tag("catalogue", "Products and prices"),
        tag("inventory", "What lies where"),
        tag("audit", "The log, as it was written"),
        tag("operations", "How the read models stand"),
        tag("webhooks", "What payment provider and carrier tell"),
    ]);
    description
}

/// Every command and query. Needs no server.
pub(crate) fn whole() -> OpenApi {
    let mut whole = description();
    whole.merge(write_side::http::description());
    whole.merge(read_side::description());
    whole
}
