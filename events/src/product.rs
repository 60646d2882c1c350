//! `product-{sku}`: what the shop sells, and for how much.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Money, Sku, domain_event::event_category};

/// Goods are reserved, picked and shipped. A service (postage, a fee) is charged and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductKind {
    Goods,
    Service,
}

/// v1 had no `kind`: everything was goods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductListed {
    pub sku: Sku,
    pub kind: ProductKind,
    pub name: String,
    pub description: String,
    pub categories: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDescribed {
    pub sku: Sku,
    pub name: String,
    pub description: String,
    pub categories: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRepriced {
    pub sku: Sku,
    pub price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDelisted {
    pub sku: Sku,
}

event_category! {
    ProductEvent in "product" {
        Listed(ProductListed) = "ProductListed", v 2;
        Described(ProductDescribed) = "ProductDescribed", v 1;
        Repriced(ProductRepriced) = "ProductRepriced", v 1;
        Delisted(ProductDelisted) = "ProductDelisted", v 1;
    }
}

impl ProductEvent {
    #[must_use]
    pub fn sku(&self) -> &Sku {
        match self {
            Self::Listed(event) => &event.sku,
            Self::Described(event) => &event.sku,
            Self::Repriced(event) => &event.sku,
            Self::Delisted(event) => &event.sku,
        }
    }
}
