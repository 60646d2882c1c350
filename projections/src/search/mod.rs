//! Search: what may be asked of the two indexes, and what they answer. The indexes themselves are in `product_index` and `order_index`.

mod indexes;
mod orders;
mod products;
pub(crate) mod query;

use chrono::{DateTime, Utc};
use events::{Currency, CustomerId, LocationId, Money, Sku, product::ProductKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use indexes::{Indexes, SearchIndex};

use crate::{Cursor, OrderStatus, OrderSummary};

/// All conditions hold together; one that is not given does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductSearch {
    /// Words of the name or the description, or a SKU. Every word must be found; typing errors are forgiven, the last word may be unfinished.
    pub text: Option<String>,
    pub category: Option<String>,
    pub kind: Option<ProductKind>,
    pub currency: Option<Currency>,
    /// Minor units.
    pub price_min: Option<i64>,
    /// Minor units.
    pub price_max: Option<i64>,
    pub in_stock: Option<bool>,
    pub sort: ProductSort,
    pub after: Option<Cursor>,
    /// At most 100 are given.
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductSort {
    /// Best match first; without a text, by name.
    #[default]
    Relevance,
    Name,
    PriceAscending,
    PriceDescending,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductHit {
    pub sku: Sku,
    pub kind: ProductKind,
    pub name: String,
    pub description: String,
    pub categories: Vec<String>,
    pub price: Money,
    pub in_stock: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductHits {
    pub items: Vec<ProductHit>,
    pub next: Option<Cursor>,
    /// How many match in all.
    pub total: usize,
    pub facets: ProductFacets,
}

/// Counts over all that match, not only over this page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductFacets {
    /// The 50 most frequent.
    pub categories: Vec<FacetCount>,
    pub kinds: Vec<FacetCount>,
    /// In minor units: `0-999`, `1000-2499`, `2500-4999`, `5000-9999`, `10000-`.
    pub prices: Vec<FacetCount>,
    /// `true` and `false`.
    pub in_stock: Vec<FacetCount>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FacetCount {
    pub value: String,
    pub count: u64,
}

/// All conditions hold together; one that is not given does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderSearch {
    /// Each word must be the beginning of an order id, a customer id, a reference, a SKU or a status.
    pub text: Option<String>,
    pub customer_id: Option<CustomerId>,
    pub status: Option<OrderStatus>,
    pub reference: Option<String>,
    pub sku: Option<Sku>,
    pub location: Option<LocationId>,
    pub placed_from: Option<DateTime<Utc>>,
    /// Not included.
    pub placed_before: Option<DateTime<Utc>>,
    pub currency: Option<Currency>,
    /// Minor units.
    pub total_min: Option<i64>,
    /// Minor units.
    pub total_max: Option<i64>,
    pub needs_attention: Option<bool>,
    pub sort: OrderSort,
    pub after: Option<Cursor>,
    /// At most 100 are given.
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderSort {
    #[default]
    Newest,
    Oldest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderHits {
    pub items: Vec<OrderSummary>,
    pub next: Option<Cursor>,
    /// How many match in all.
    pub total: usize,
    /// How many of those are in each status.
    pub statuses: Vec<FacetCount>,
}

/// What one page of hits may hold.
pub(crate) const MAX_HITS: usize = 100;
