//! `GET /v1/products/{sku}`: the catalogue entry with what is available.

use axum::extract::State;
use events::{LogPosition, Sku};
use http_api::{ETag, IfNoneMatch, Json, MinPosition, Path, Problem};
use projections::{ProductDocument, Stock, View};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{ReadSide, answer::Answer, refusal::refusal};

/// A catalogue entry, and how many pieces there are over all locations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProductPage {
    #[serde(flatten)]
    product: ProductDocument,
    /// Zero for what was never received, and for services.
    stock: Stock,
}

/// One product with its price and what is available.
#[utoipa::path(
    get, path = "/v1/products/{sku}", tag = "catalogue", operation_id = "get_product",
    params(("sku" = String, Path, description = "What the shop calls the article; a slash is written %2F"), MinPosition,
        ("If-None-Match" = Option<String>, Header, description = "ETags of copies that you hold: 304 when one is the current")),
    responses(
        (status = 200, description = "The product", body = ProductPage, headers(
            ("ETag" = String, description = "`\"{version}.{position}\"`, for If-Match and If-None-Match"),
            ("Waybill-Position" = String, description = "The position of the log that the answer reflects"))),
        (status = 304, description = "The copy named in If-None-Match is the current one"),
        (status = 400, description = "The SKU or a header is malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such product as of `position`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The view does not answer", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_product(
    State(app): State<ReadSide>,
    Path(sku): Path<Sku>,
    min: MinPosition,
    copy: IfNoneMatch,
) -> Result<Answer<Json<ProductPage>>, Problem> {
    let views = app.views(&min);
    let (product, stock) = tokio::try_join!(
        app.read(View::Product, &min, || views.product(&sku)),
        app.read(View::Stock, &min, || views.stock(&sku)),
    )
    .map_err(refusal)?;
    // Both are positions of the same log.
    let earlier = product.position.position.min(stock.position.position);
    let position = LogPosition::new(product.position.log_id, earlier);
    let product = product.value.ok_or_else(|| Problem::not_found(format!("product {sku}")).at(position.clone()))?;
    let stocked_at = stock.value.as_ref().map_or(product.position, |stock| stock.position);
    let etag = ETag { version: product.version, position: product.position.max(stocked_at) };
    let stock = stock.value.map(|stock| stock.total).unwrap_or_default();
    Ok(Answer::json(ProductPage { product, stock }, position).tagged(etag, &copy))
}
