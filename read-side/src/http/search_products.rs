//! `GET /v1/products`: the catalogue by words, with facets.

use axum::extract::State;
use events::{Currency, product::ProductKind};
use garde::Validate;
use http_api::{Json, MinPosition, Problem, Query};
use projections::{
    SearchIndex,
    search::{ProductFacets, ProductHit, ProductSearch, ProductSort},
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
pub(crate) struct ProductQuery {
    /// Words of the name or the description, or a SKU; typing errors are forgiven, the last word may be unfinished.
    #[garde(length(chars, max = 256))]
    #[param(max_length = 256, example = "lantern")]
    q: Option<String>,
    #[garde(length(chars, min = 1, max = 128))]
    #[param(min_length = 1, max_length = 128)]
    category: Option<String>,
    #[garde(skip)]
    #[param(inline)]
    kind: Option<ProductKind>,
    /// ISO 4217.
    #[garde(skip)]
    #[param(value_type = Option<String>, example = "GBP")]
    currency: Option<Currency>,
    /// Minor units.
    #[garde(skip)]
    price_min: Option<i64>,
    /// Minor units.
    #[garde(skip)]
    price_max: Option<i64>,
    #[garde(skip)]
    in_stock: Option<bool>,
    #[garde(skip)]
    #[param(inline)]
    sort: Option<ProductSort>,
    /// 1 to 100.
    #[garde(range(min = 1, max = HITS_MAX))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[param(min_length = 1, max_length = 1024)]
    cursor: Option<String>,
}

impl From<ProductQuery> for ProductSearch {
    fn from(query: ProductQuery) -> Self {
        Self {
            text: query.q,
            category: query.category,
            kind: query.kind,
            currency: query.currency,
            price_min: query.price_min,
            price_max: query.price_max,
            in_stock: query.in_stock,
            sort: query.sort.unwrap_or_default(),
            after: None,
            limit: 0,
        }
    }
}

/// A page of products, and counts over all that match.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundProducts {
    items: Vec<ProductHit>,
    /// Send it as `cursor` for the next page; none on the last one.
    next: Option<String>,
    /// How many match in all.
    total: usize,
    facets: ProductFacets,
}

/// Finds products by words, category, price and availability, with facets.
#[utoipa::path(
    get, path = "/v1/products", tag = "catalogue", operation_id = "search_products", params(ProductQuery, MinPosition),
    responses(
        (status = 200, description = "A page of products", body = FoundProducts,
            headers(("Waybill-Position" = String, description = "The position of the log that the answer reflects"))),
        (status = 400, description = "A parameter or the cursor is not acceptable", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The index cannot be read; products by SKU work", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "Waybill-Min-Position was not reached in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn search_products(
    State(app): State<ReadSide>,
    Query(query): Query<ProductQuery>,
    min: MinPosition,
) -> Result<Answer<Json<FoundProducts>>, Problem> {
    let (limit, cursor) = (query.limit.unwrap_or(HITS_DEFAULT), query.cursor.clone());
    let search = ProductSearch::from(query);
    let list = list_in(&min, format!("products\0{search:?}"));
    let search = ProductSearch { after: app.cursors.open_any(&list, cursor.as_deref())?, limit, ..search };
    let index = app.indexes(&min);
    let found = app.search(SearchIndex::Products, &min, || index.search_products(search.clone())).await;
    let found = found.map_err(search_refusal)?;
    let next = app.cursors.seal_any(&list, found.value.next);
    let (items, total, facets) = (found.value.items, found.value.total, found.value.facets);
    Ok(Answer::json(FoundProducts { items, next, total, facets }, found.position))
}
