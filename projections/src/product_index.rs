//! product-index: full text, facets and ranges over the catalogue, with what is in stock. Tantivy; dropped and rebuilt at will.

use std::borrow::Cow;

use events::{DomainEvent, Recorded, Sku};
use serde::{Deserialize, Serialize};
use tantivy::{
    TantivyDocument,
    schema::{FAST, Field, INDEXED, IndexRecordOption, SchemaBuilder, TextFieldIndexing, TextOptions},
};

use crate::{
    Place, ProductDocument, ProductView, ReadModel,
    model::SearchModel,
    search::query::{ANALYZER, raw},
    stock_view::{moved_skus, movement},
};

/// What the index must remember of an article. Stock may come in before the article is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedProduct {
    pub product: Option<ProductDocument>,
    /// Pieces that may be promised, over all locations.
    pub available: i64,
}

pub struct ProductIndex;

impl ReadModel for ProductIndex {
    const NAME: &'static str = "product-index";
    const VERSION: u32 = 2;
    type Key = Sku;
    type Document = IndexedProduct;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = Sku> {
        match &event.payload {
            DomainEvent::Product(product) => vec![product.sku().clone()],
            DomainEvent::Inventory(inventory) => moved_skus(inventory),
            DomainEvent::Order(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => Vec::new(),
        }
    }

    fn apply(sku: &Sku, document: Option<IndexedProduct>, event: &Recorded<DomainEvent>) -> Option<IndexedProduct> {
        let IndexedProduct { product, available } = document.unwrap_or(IndexedProduct { product: None, available: 0 });
        Some(match &event.payload {
            DomainEvent::Product(_) => IndexedProduct { product: ProductView::apply(sku, product, event), available },
            DomainEvent::Inventory(inventory) => {
                let movement = movement(inventory, sku);
                IndexedProduct { product, available: available + movement.on_hand - movement.reserved }
            }
            DomainEvent::Order(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => IndexedProduct { product, available },
        })
    }

    fn place(sku: &Sku) -> Place<'_> {
        Place::Document(Cow::Borrowed(sku.as_str()))
    }
}

/// The fields of the index.
pub struct ProductFields {
    /// For exact order and cursors; case as the shop writes it.
    pub(crate) sku: Field,
    /// Lower case, to be searched.
    pub(crate) sku_text: Field,
    pub(crate) name: Field,
    pub(crate) description: Field,
    /// Lower case, to be sorted by.
    pub(crate) name_order: Field,
    pub(crate) category: Field,
    pub(crate) kind: Field,
    pub(crate) currency: Field,
    pub(crate) price: Field,
    pub(crate) in_stock: Field,
}

impl SearchModel for ProductIndex {
    type Fields = ProductFields;

    fn declare(schema: &mut SchemaBuilder) -> ProductFields {
        let words = TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
        let text = TextOptions::default().set_indexing_options(words);
        ProductFields {
            sku: schema.add_text_field("sku", raw()),
            sku_text: schema.add_text_field("sku_text", raw()),
            name: schema.add_text_field("name", text.clone()),
            description: schema.add_text_field("description", text),
            name_order: schema.add_text_field("name_order", raw()),
            category: schema.add_text_field("category", raw()),
            kind: schema.add_text_field("kind", raw()),
            currency: schema.add_text_field("currency", raw()),
            price: schema.add_i64_field("price", INDEXED | FAST),
            in_stock: schema.add_u64_field("in_stock", INDEXED | FAST),
        }
    }

    fn fill(fields: &ProductFields, document: &IndexedProduct, into: &mut TantivyDocument) {
        let Some(product) = document.product.as_ref().filter(|product| product.listed) else { return };
        into.add_text(fields.sku, product.sku.as_str());
        into.add_text(fields.sku_text, product.sku.as_str().to_lowercase());
        into.add_text(fields.name, &product.name);
        into.add_text(fields.description, &product.description);
        into.add_text(fields.name_order, product.name.to_lowercase());
        for category in &product.categories {
            into.add_text(fields.category, category);
        }
        into.add_text(fields.kind, kind_name(product.kind));
        into.add_text(fields.currency, product.price.currency.code());
        into.add_i64(fields.price, product.price.amount_minor);
        into.add_u64(fields.in_stock, u64::from(document.in_stock()));
    }
}

impl IndexedProduct {
    /// A service is always to be had.
    pub(crate) fn in_stock(&self) -> bool {
        let service =
            self.product.as_ref().is_some_and(|product| product.kind == events::product::ProductKind::Service);
        service || self.available > 0
    }
}

pub(crate) const fn kind_name(kind: events::product::ProductKind) -> &'static str {
    match kind {
        events::product::ProductKind::Goods => "goods",
        events::product::ProductKind::Service => "service",
    }
}
