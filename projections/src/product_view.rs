//! product-view: the catalogue, one document per article. Redis; dropped and rebuilt at will.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::{DateTime, Utc};
use events::{DomainEvent, Money, Position, ProductEvent, Recorded, Sku, StreamVersion, product::ProductKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Place, ReadModel};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductDocument {
    pub sku: Sku,
    pub kind: ProductKind,
    pub name: String,
    pub description: String,
    pub categories: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub price: Money,
    /// False once it is no longer sold: it stays readable, since orders name it.
    pub listed: bool,
    pub listed_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Of the product's own stream: what `If-Match` is compared with.
    pub version: StreamVersion,
    /// Of the last event in this document.
    #[schema(value_type = i64)]
    pub position: Position,
}

pub struct ProductView;

impl ReadModel for ProductView {
    const NAME: &'static str = "product-view";
    const VERSION: u32 = 1;
    type Key = Sku;
    type Document = ProductDocument;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = Sku> {
        match &event.payload {
            DomainEvent::Product(product) => Some(product.sku().clone()),
            DomainEvent::Inventory(_)
            | DomainEvent::Order(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => None,
        }
    }

    fn apply(_: &Sku, document: Option<ProductDocument>, event: &Recorded<DomainEvent>) -> Option<ProductDocument> {
        let DomainEvent::Product(product) = &event.payload else { return document };
        let mut document = match (product, document) {
            (ProductEvent::Listed(listed), document) => ProductDocument {
                sku: listed.sku.clone(),
                kind: listed.kind,
                name: listed.name.clone(),
                description: listed.description.clone(),
                categories: listed.categories.clone(),
                attributes: listed.attributes.clone(),
                price: listed.price,
                listed: true,
                // Listed again after it was delisted: it is the same article.
                listed_at: document.map_or(event.happened_at(), |document| document.listed_at),
                updated_at: event.recorded_at,
                version: event.stream_version,
                position: event.position,
            },
            (ProductEvent::Described(described), Some(document)) => ProductDocument {
                name: described.name.clone(),
                description: described.description.clone(),
                categories: described.categories.clone(),
                attributes: described.attributes.clone(),
                ..document
            },
            (ProductEvent::Repriced(repriced), Some(document)) => ProductDocument { price: repriced.price, ..document },
            (ProductEvent::Delisted(_), Some(document)) => ProductDocument { listed: false, ..document },
            (ProductEvent::Described(_) | ProductEvent::Repriced(_) | ProductEvent::Delisted(_), None) => return None,
        };
        document.updated_at = event.recorded_at;
        document.version = event.stream_version;
        document.position = event.position;
        Some(document)
    }

    fn place(sku: &Sku) -> Place<'_> {
        Place::Document(Cow::Borrowed(sku.as_str()))
    }
}
