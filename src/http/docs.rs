//! The API's description, a page to try it (from files inside the binary, offline), and what each problem code means.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{Code, Path, Problem};

/// `/docs`, `/openapi.json`, and `/problems/{code}`, where the `type` of every problem leads.
pub fn docs(api: OpenApi) -> Router {
    // The page would otherwise ask an online service what it thinks of the description.
    let ui = SwaggerUi::new("/docs").config(Config::default().validator_url("none"));
    Router::new().merge(ui.url("/openapi.json", api)).route("/problems/{code}", get(explain))
}

async fn explain(Path(code): Path<String>) -> Result<impl IntoResponse, Problem> {
    let code = Code::parse(&code).ok_or_else(|| Problem::not_found(format!("problem {code}")))?;
    let again = if code.retryable() { "The same request may succeed later." } else { "The same request fails again." };
    let (name, status) = (code.as_str(), code.status());
    let text = format!("{name} ({status})\n\n{}.\n{}\n{again}\n", code.title(), code.meaning());
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}
