//! order-index: finds orders by anything but personal data. Tantivy; dropped and rebuilt at will.

use std::borrow::Cow;

use events::{DomainEvent, OrderEvent, OrderId, Recorded, Sku};
use serde::{Deserialize, Serialize};
use tantivy::{
    TantivyDocument,
    schema::{FAST, Field, INDEXED, SchemaBuilder},
};

use crate::{
    OrderSummary, Place, ReadModel,
    customer_orders::{summarise, summarised_order},
    model::SearchModel,
    search::query::raw,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedOrder {
    pub summary: OrderSummary,
    /// Each once.
    pub skus: Vec<Sku>,
}

pub struct OrderIndex;

impl ReadModel for OrderIndex {
    const NAME: &'static str = "order-index";
    const VERSION: u32 = 2;
    type Key = OrderId;
    type Document = IndexedOrder;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = OrderId> {
        summarised_order(event)
    }

    fn apply(_: &OrderId, document: Option<IndexedOrder>, event: &Recorded<DomainEvent>) -> Option<IndexedOrder> {
        let (summary, skus) = document.map_or((None, Vec::new()), |order| (Some(order.summary), order.skus));
        let skus = match &event.payload {
            DomainEvent::Order(OrderEvent::Placed(placed)) => {
                let mut skus = placed.lines.iter().map(|line| line.sku.clone()).collect::<Vec<_>>();
                skus.sort_unstable();
                skus.dedup();
                skus
            }
            DomainEvent::Order(_)
            | DomainEvent::Product(_)
            | DomainEvent::Inventory(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => skus,
        };
        summarise(summary, event).map(|summary| IndexedOrder { summary, skus })
    }

    fn place(id: &OrderId) -> Place<'_> {
        Place::Document(Cow::Owned(id.to_string()))
    }
}

/// The fields of the index.
pub struct OrderFields {
    pub(crate) order_id: Field,
    pub(crate) customer_id: Field,
    pub(crate) status: Field,
    pub(crate) reference: Field,
    pub(crate) sku: Field,
    pub(crate) location: Field,
    pub(crate) currency: Field,
    pub(crate) total: Field,
    /// Microseconds since 1970.
    pub(crate) placed_at: Field,
    pub(crate) needs_attention: Field,
    /// Lower case: whatever a word of a search may be the beginning of.
    pub(crate) any: Field,
}

impl SearchModel for OrderIndex {
    type Fields = OrderFields;

    fn declare(schema: &mut SchemaBuilder) -> OrderFields {
        OrderFields {
            order_id: schema.add_text_field("order_id", raw()),
            customer_id: schema.add_text_field("customer_id", raw()),
            status: schema.add_text_field("status", raw()),
            reference: schema.add_text_field("reference", raw()),
            sku: schema.add_text_field("sku", raw()),
            location: schema.add_text_field("location", raw()),
            currency: schema.add_text_field("currency", raw()),
            total: schema.add_i64_field("total", INDEXED | FAST),
            placed_at: schema.add_i64_field("placed_at", INDEXED | FAST),
            needs_attention: schema.add_u64_field("needs_attention", INDEXED | FAST),
            any: schema.add_text_field("any", raw()),
        }
    }

    fn fill(fields: &OrderFields, document: &IndexedOrder, into: &mut TantivyDocument) {
        let order = &document.summary;
        let id = order.id.to_string();
        into.add_text(fields.order_id, &id);
        into.add_text(fields.any, &id);
        into.add_text(fields.customer_id, order.customer_id.as_str());
        into.add_text(fields.any, order.customer_id.as_str().to_lowercase());
        into.add_text(fields.status, order.status.name());
        into.add_text(fields.any, order.status.name());
        if let Some(reference) = &order.reference {
            into.add_text(fields.reference, reference);
            into.add_text(fields.any, reference.to_lowercase());
        }
        for sku in &document.skus {
            into.add_text(fields.sku, sku.as_str());
            into.add_text(fields.any, sku.as_str().to_lowercase());
        }
        into.add_text(fields.location, order.location.as_str());
        into.add_text(fields.currency, order.total.currency.code());
        into.add_i64(fields.total, order.total.amount_minor);
        into.add_i64(fields.placed_at, order.placed_at.timestamp_micros());
        into.add_u64(fields.needs_attention, u64::from(order.needs_attention));
    }
}
