//! The API's description, a page to try it (from files inside the binary, offline), and what each problem code means.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, tag::TagBuilder};
use utoipa_swagger_ui::SwaggerUi;

use crate::{Code, Path, Problem};

const DESCRIPTION: &str = "Orders, from the cart to the parcel, over an event log.\n\n\
    Every answer carries `Waybill-Position`, the position of the log that it reflects. To read your own write, send it back as \
    `Waybill-Min-Position`. Whatever creates or moves something takes an `Idempotency-Key`: repeating a request does it once. \
    Errors are problem documents (RFC 9457) with a stable `code`; `/problems/{code}` explains each.";

/// What stands above all endpoints: merge the routers' descriptions into it.
#[must_use]
pub fn description() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new().title("Waybill").version("v1").description(Some(DESCRIPTION)).license(Some(license));
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let tags = [
        tag("products", "The catalogue"),
        tag("inventory", "What lies where"),
        tag("orders", "What customers ask for, and how far it is"),
        tag("audit", "The log as it is, for finance and auditors"),
        tag("operations", "How the read models stand"),
        tag("webhooks", "What payment providers and carriers report"),
    ];
    OpenApiBuilder::new().info(info.build()).tags(Some(tags)).build()
}

/// `/docs`, `/openapi.json`, and `/problems/{code}`, where the `type` of every problem leads.
pub fn docs(api: OpenApi) -> Router {
    Router::new().merge(SwaggerUi::new("/docs").url("/openapi.json", api)).route("/problems/{code}", get(explain))
}

async fn explain(Path(code): Path<String>) -> Result<impl IntoResponse, Problem> {
    let code = Code::parse(&code).ok_or_else(|| Problem::not_found(format!("problem {code}")))?;
    let again = if code.retryable() { "The same request may succeed later." } else { "The same request fails again." };
    let (name, status) = (code.as_str(), code.status());
    let text = format!("{name} ({status})\n\n{}.\n{}\n{again}\n", code.title(), code.meaning());
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}
