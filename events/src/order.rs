//! `order-{id}`: what the customer asked for, and how it ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    CustomerId, Delivery, LocationId, Money, OrderId, PaymentId, ShipmentId, Sku, domain_event::event_category,
    inventory::StockLine, product::ProductKind,
};

/// A line with the price that was agreed, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    pub sku: Sku,
    pub kind: ProductKind,
    /// Pieces, at least 1.
    pub quantity: u32,
    pub unit_price: Money,
    /// `unit_price` times `quantity`; where an importer states an agreed total, that total.
    pub total: Money,
    /// Version of the product stream that the price came from; none for a price agreed elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_version: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub lines: Vec<OrderLine>,
    pub total: Money,
    /// The provider's token for the customer's means of payment; opaque to us, never a card number.
    pub payment_token: String,
    pub delivery: Delivery,
    /// Where the goods are taken from.
    pub location: LocationId,
    /// What the order is called where it came from, such as an invoice number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl OrderPlaced {
    /// What must be taken from the shelf: the goods, one line an article.
    #[must_use]
    pub fn stock_lines(&self) -> Vec<StockLine> {
        let mut wanted = std::collections::BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.kind == ProductKind::Goods) {
            *wanted.entry(&line.sku).or_insert(0_u32) += line.quantity;
        }
        wanted.into_iter().map(|(sku, quantity)| StockLine { sku: sku.clone(), quantity }).collect()
    }
}

/// Past the pivot: from here on the order is fulfilled, or a person undoes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancellationRequested {
    pub order_id: OrderId,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
    pub tracking: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCompleted {
    pub order_id: OrderId,
}

event_category! {
    OrderEvent in "order" {
        Placed(OrderPlaced) = "OrderPlaced", v 1;
        Confirmed(OrderConfirmed) = "OrderConfirmed", v 1;
        CancellationRequested(OrderCancellationRequested) = "OrderCancellationRequested", v 1;
        Cancelled(OrderCancelled) = "OrderCancelled", v 1;
        Shipped(OrderShipped) = "OrderShipped", v 1;
        Completed(OrderCompleted) = "OrderCompleted", v 1;
    }
}

impl OrderEvent {
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Placed(event) => event.order_id,
            Self::Confirmed(event) => event.order_id,
            Self::CancellationRequested(event) => event.order_id,
            Self::Cancelled(event) => event.order_id,
            Self::Shipped(event) => event.order_id,
            Self::Completed(event) => event.order_id,
        }
    }
}
