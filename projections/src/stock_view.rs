//! stock-view: one document per article, with what lies where. Redis; dropped and rebuilt at will.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use events::{DomainEvent, InventoryEvent, LocationId, Position, Recorded, Sku, inventory::StockLine};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Place, ReadModel};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockDocument {
    pub sku: Sku,
    /// Over all locations.
    pub total: Stock,
    /// By name.
    pub locations: Vec<StockAt>,
    pub updated_at: DateTime<Utc>,
    /// Of the last event in this document.
    #[schema(value_type = i64)]
    pub position: Position,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockAt {
    pub location: LocationId,
    #[serde(flatten)]
    pub stock: Stock,
}

/// Pieces. `available` is `on_hand` less `reserved`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stock {
    pub on_hand: i64,
    pub reserved: i64,
    pub available: i64,
}

/// What one event does to one article: pieces on hand and pieces reserved, more or fewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Movement {
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
}

impl Stock {
    fn moved(self, movement: Movement) -> Self {
        let (on_hand, reserved) = (self.on_hand + movement.on_hand, self.reserved + movement.reserved);
        Self { on_hand, reserved, available: on_hand - reserved }
    }
}

pub struct StockView;

impl ReadModel for StockView {
    const NAME: &'static str = "stock-view";
    const VERSION: u32 = 1;
    type Key = Sku;
    type Document = StockDocument;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = Sku> {
        match &event.payload {
            DomainEvent::Inventory(event) => moved_skus(event),
            DomainEvent::Product(_)
            | DomainEvent::Order(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => Vec::new(),
        }
    }

    fn apply(sku: &Sku, document: Option<StockDocument>, event: &Recorded<DomainEvent>) -> Option<StockDocument> {
        let DomainEvent::Inventory(inventory) = &event.payload else { return document };
        let (movement, location) = (movement(inventory, sku), inventory.location());
        let mut document = document.unwrap_or_else(|| StockDocument {
            sku: sku.clone(),
            total: Stock::default(),
            locations: Vec::new(),
            updated_at: event.recorded_at,
            position: event.position,
        });
        let at = match document.locations.binary_search_by(|at| at.location.cmp(location)) {
            Ok(found) => found,
            Err(gap) => {
                document.locations.insert(gap, StockAt { location: location.clone(), stock: Stock::default() });
                gap
            }
        };
        document.locations[at].stock = document.locations[at].stock.moved(movement);
        document.total = document.total.moved(movement);
        document.updated_at = event.recorded_at;
        document.position = event.position;
        Some(document)
    }

    fn place(sku: &Sku) -> Place<'_> {
        Place::Document(Cow::Borrowed(sku.as_str()))
    }
}

/// The articles whose stock the event moves, each once.
pub(crate) fn moved_skus(event: &InventoryEvent) -> Vec<Sku> {
    let mut skus = match event {
        InventoryEvent::Received(event) => skus_of(&event.lines),
        InventoryEvent::Adjusted(event) => vec![event.sku.clone()],
        InventoryEvent::Reserved(event) => skus_of(&event.lines),
        InventoryEvent::Refused(_) => Vec::new(),
        InventoryEvent::Released(event) => skus_of(&event.lines),
        InventoryEvent::Committed(event) => skus_of(&event.lines),
        InventoryEvent::PutBack(event) => skus_of(&event.lines),
    };
    skus.sort_unstable();
    skus.dedup();
    skus
}

/// What the event does to the article, at the event's location.
pub(crate) fn movement(event: &InventoryEvent, sku: &Sku) -> Movement {
    match event {
        InventoryEvent::Received(event) => Movement { on_hand: pieces(&event.lines, sku), reserved: 0 },
        InventoryEvent::Adjusted(event) => {
            Movement { on_hand: if event.sku == *sku { event.delta } else { 0 }, reserved: 0 }
        }
        InventoryEvent::Reserved(event) => Movement { on_hand: 0, reserved: pieces(&event.lines, sku) },
        InventoryEvent::Refused(_) => Movement::default(),
        InventoryEvent::Released(event) => Movement { on_hand: 0, reserved: -pieces(&event.lines, sku) },
        InventoryEvent::Committed(event) => {
            let pieces = pieces(&event.lines, sku);
            Movement { on_hand: -pieces, reserved: -pieces }
        }
        InventoryEvent::PutBack(event) => Movement { on_hand: pieces(&event.lines, sku), reserved: 0 },
    }
}

fn skus_of(lines: &[StockLine]) -> Vec<Sku> {
    lines.iter().map(|line| line.sku.clone()).collect()
}

fn pieces(lines: &[StockLine], sku: &Sku) -> i64 {
    lines.iter().filter(|line| line.sku == *sku).map(|line| i64::from(line.quantity)).sum()
}
