//! `GET /v1/inventory/{sku}`: what lies where.

use axum::extract::State;
use events::Sku;
use http_api::{Json, MinPosition, Path, Problem};
use projections::{StockDocument, View};

use crate::{ReadSide, answer::Answer, refusal::refusal};

/// What there is of an article, by location.
#[utoipa::path(
    get, path = "/v1/inventory/{sku}", tag = "inventory", operation_id = "get_stock",
    params(("sku" = String, Path, description = "What the shop calls the article; a slash is written %2F"), MinPosition),
    responses(
        (status = 200, description = "The stock", body = StockDocument,
            headers(("Waybill-Position" = String, description = "The position of the log that the answer reflects"))),
        (status = 400, description = "The SKU or a header is malformed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing of this article was ever received, as of `position`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The view does not answer", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stock(
    State(app): State<ReadSide>,
    Path(sku): Path<Sku>,
    min: MinPosition,
) -> Result<Answer<Json<StockDocument>>, Problem> {
    let views = app.views(&min);
    let read = app.read(View::Stock, &min, || views.stock(&sku)).await.map_err(refusal)?;
    let stock = read.value.ok_or_else(|| Problem::not_found(format!("stock of {sku}")).at(read.position.clone()))?;
    Ok(Answer::json(stock, read.position))
}
