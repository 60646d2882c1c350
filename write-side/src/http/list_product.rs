//! `POST /v1/products`: puts an article into the catalogue.

use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode};
use events::{Money, Sku, product::ProductKind};
use garde::Validate;
use http_api::{HashedJson, OfLog, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    WriteSide,
    answer::{Accepted, Refusals},
    caller::Caller,
    problem::refused,
};
use crate::{
    Context, create,
    domain::product::{Product, ProductCommand},
};

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListProductBody {
    #[garde(skip)]
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    #[garde(skip)]
    #[serde(default = "goods")]
    kind: ProductKind,
    #[garde(length(chars, min = 1, max = 200), custom(http_api::plain_text))]
    #[schema(min_length = 1, max_length = 200, example = "White hanging heart t-light holder")]
    name: String,
    #[garde(length(chars, max = 4000), custom(http_api::plain_text))]
    #[schema(max_length = 4000)]
    #[serde(default)]
    description: String,
    /// Each of 1 to 100 characters.
    #[garde(length(max = 16), inner(length(chars, min = 1, max = 100), custom(http_api::plain_text)))]
    #[schema(max_items = 16)]
    #[serde(default)]
    categories: Vec<String>,
    /// At most 32, such as `{"colour": "white"}`; a name has 1 to 64 characters, a value at most 200.
    #[garde(custom(bounded_attributes))]
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[garde(skip)]
    price: Money,
}

fn goods() -> ProductKind {
    ProductKind::Goods
}

fn bounded_attributes(attributes: &BTreeMap<String, String>, _context: &()) -> garde::Result {
    let bounded = |text: &String, max: usize| text.chars().count() <= max && !text.contains('\0');
    if attributes.len() > 32 {
        return Err(garde::Error::new("more than 32 attributes"));
    }
    if attributes.iter().all(|(name, value)| !name.is_empty() && bounded(name, 64) && bounded(value, 200)) {
        Ok(())
    } else {
        Err(garde::Error::new("a name has 1 to 64 characters, a value at most 200"))
    }
}

/// Lists a product.
///
/// Repeating an `Idempotency-Key` lists nothing twice.
#[utoipa::path(post, path = "/v1/products", tag = "catalogue",
    params(Caller, OfLog),
    request_body = ListProductBody,
    responses((status = 201, description = "Recorded", body = Accepted, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"` of what was changed"),
            ("Waybill-Position" = String, description = "Where it is recorded; for Waybill-Min-Position"))),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        Refusals))]
pub(super) async fn list_product(
    State(app): State<WriteSide>,
    caller: Caller,
    HashedJson(body, hash): HashedJson<ListProductBody>,
) -> Result<Accepted, Problem> {
    let ListProductBody { sku, kind, name, description, categories, attributes, price } = body;
    let stream = sku.stream();
    let command = ProductCommand::List { sku, kind, name, description, categories, attributes, price };
    // The body says which product it is: the same key with another one would be another stream's first command.
    let context = Context { once_in: Some("product"), ..caller.context_alone(hash, None) };
    let handled = create::<Product>(&app.store, &stream, command, &context).await.map_err(refused)?;
    Ok(Accepted::new(StatusCode::CREATED, app.store.log().id(), handled))
}
