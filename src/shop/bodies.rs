//! The JSON that a shop sends to Waybill's front door.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{Delivery, Money, product::ProductKind};
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ProductBody {
    pub(crate) sku: String,
    pub(crate) kind: ProductKind,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) categories: Vec<String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReceiptBody {
    pub(crate) reference: String,
    pub(crate) lines: Vec<ReceiptLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReceiptLine {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AdjustmentBody {
    pub(crate) sku: String,
    pub(crate) delta: i64,
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) business_time: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OrderBody {
    pub(crate) customer_id: String,
    pub(crate) lines: Vec<OrderLineBody>,
    pub(crate) payment_token: String,
    pub(crate) delivery: Delivery,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) business_time: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OrderLineBody {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
    /// Only an importing service may state it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agreed: Option<Agreed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Agreed {
    pub(crate) unit_price: Money,
    pub(crate) total: Money,
}
