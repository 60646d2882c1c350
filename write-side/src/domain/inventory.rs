//! `inventory-{location}`: what lies at a location, and for whom it is held. Nothing is promised twice.
//!
//! The state lives as long as the location: per article two counts; per open reservation its lines, so bounded by the orders in
//! flight; per finished one a digest of its key and its fate, and while it can still be put back its lines. That last part
//! grows with the orders that ever left from here, by some 150 bytes each, until the location's stream is closed for a new one.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use events::{
    EffectKey, InventoryEvent, LocationId, OrderId, Sku,
    inventory::{
        Shortage, StockAdjusted, StockCommitted, StockLine, StockPutBack, StockReceived, StockRefused, StockReleased,
        StockReserved,
    },
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Aggregate, Snapshots, shared_map::SharedMap};

/// More of one article than any warehouse holds; leaves room above, so that what comes back always fits.
const PIECES_MAX: i64 = 1_000_000_000_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    levels: SharedMap<Sku, Level>,
    reservations: SharedMap<KeyDigest, Reservation>,
    /// The orders that something is held for.
    holding: SharedMap<OrderId, KeyDigest>,
}

/// Pieces of one article.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub on_hand: i64,
    pub reserved: i64,
}

impl Level {
    #[must_use]
    pub const fn available(self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// The key's 75 characters in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct KeyDigest(Uuid);

impl KeyDigest {
    fn of(key: &EffectKey) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_str().as_bytes()))
    }
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Reservation {
    Held(Arc<Held>),
    Refused,
    /// Released before it came: to be refused when it comes.
    Tombstone,
    Released,
    Committed(Arc<[StockLine]>),
    PutBack,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    order_id: OrderId,
    lines: Arc<[StockLine]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryCommand {
    Receive {
        location: LocationId,
        lines: Vec<StockLine>,
        reference: String,
    },
    Adjust {
        location: LocationId,
        sku: Sku,
        delta: i64,
        reason: String,
    },
    /// All lines or none. No lines (an order of services alone) is granted.
    Reserve {
        location: LocationId,
        order_id: OrderId,
        effect_key: EffectKey,
        lines: Vec<StockLine>,
    },
    /// Undoes the reservation `effect_key`, whether it came or not.
    Release {
        location: LocationId,
        order_id: OrderId,
        effect_key: EffectKey,
    },
    Commit {
        location: LocationId,
        order_id: OrderId,
        effect_key: EffectKey,
    },
    PutBack {
        location: LocationId,
        order_id: OrderId,
        effect_key: EffectKey,
    },
}

/// Of a saga's commands only those that contradict what it asked for before; a shortage is an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    #[error("a receipt needs at least one line")]
    NoLines,
    #[error("the line of {sku} has no pieces")]
    NoPieces { sku: Sku },
    #[error("an adjustment by 0 changes nothing")]
    NoChange,
    #[error("{sku} would exceed what a location can hold")]
    TooMany { sku: Sku },
    #[error("only {available} pieces of {sku} can be written off; the others are reserved or not there")]
    NotAvailable { sku: Sku, available: i64 },
    #[error("{effect_key} is a reservation of another order")]
    OtherOrder { effect_key: EffectKey },
    #[error("nothing is held under {effect_key}")]
    NotReserved { effect_key: EffectKey },
    #[error("the pieces of {effect_key} have left")]
    AlreadyCommitted { effect_key: EffectKey },
    #[error("the pieces of {effect_key} have not left")]
    NotCommitted { effect_key: EffectKey },
}

type Decision = Result<Vec<InventoryEvent>, InventoryError>;

impl Aggregate for Inventory {
    type Command = InventoryCommand;
    type Event = InventoryEvent;
    type Error = InventoryError;

    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots {
        read: |json| serde_json::from_str(json).map(Self::with_shared_skus),
        ..Snapshots::version(1)
    });

    fn decide(&self, command: InventoryCommand) -> Decision {
        match command {
            InventoryCommand::Receive { location, lines, reference } => self.receive(location, &lines, reference),
            InventoryCommand::Adjust { location, sku, delta, reason } => self.adjust(location, sku, delta, reason),
            InventoryCommand::Reserve { location, order_id, effect_key, lines } => {
                self.reserve(location, order_id, effect_key, &lines)
            }
            InventoryCommand::Release { location, order_id, effect_key } => {
                self.release(location, order_id, effect_key)
            }
            InventoryCommand::Commit { location, order_id, effect_key } => self.commit(location, order_id, effect_key),
            InventoryCommand::PutBack { location, order_id, effect_key } => {
                self.put_back(location, order_id, effect_key)
            }
        }
    }

    fn evolve(mut self, event: &InventoryEvent) -> Self {
        match event {
            InventoryEvent::Received(event) => self.shift(&event.lines, 1, 0),
            InventoryEvent::Adjusted(event) => {
                let level = self.levels.entry(&event.sku);
                level.on_hand = level.on_hand.saturating_add(event.delta);
            }
            InventoryEvent::Reserved(event) => {
                self.shift(&event.lines, 0, 1);
                let held = Held { order_id: event.order_id, lines: self.interned(&event.lines) };
                self.holding.insert(event.order_id, KeyDigest::of(&event.effect_key));
                self.settle(&event.effect_key, Reservation::Held(Arc::new(held)));
            }
            InventoryEvent::Refused(event) => {
                // A late reservation that met its tombstone is released and refused: nothing is owed any more.
                let late = self.reservation(&event.effect_key) == Some(&Reservation::Tombstone);
                self.settle(&event.effect_key, if late { Reservation::Released } else { Reservation::Refused });
            }
            InventoryEvent::Released(event) => {
                self.shift(&event.lines, 0, -1);
                self.let_go(event.order_id, &event.effect_key);
                let came = self.reservation(&event.effect_key).is_some();
                self.settle(&event.effect_key, if came { Reservation::Released } else { Reservation::Tombstone });
            }
            InventoryEvent::Committed(event) => {
                self.shift(&event.lines, -1, -1);
                self.let_go(event.order_id, &event.effect_key);
                let lines = self.interned(&event.lines);
                self.settle(&event.effect_key, Reservation::Committed(lines));
            }
            InventoryEvent::PutBack(event) => {
                self.shift(&event.lines, 1, 0);
                self.settle(&event.effect_key, Reservation::PutBack);
            }
        }
        self
    }
}

impl Inventory {
    /// Zero of each for an article that was never here.
    #[must_use]
    pub fn level(&self, sku: &Sku) -> Level {
        self.levels.get(sku).copied().unwrap_or_default()
    }

    fn receive(&self, location: LocationId, lines: &[StockLine], reference: String) -> Decision {
        if lines.is_empty() {
            return Err(InventoryError::NoLines);
        }
        if let Some(line) = lines.iter().find(|line| line.quantity == 0) {
            return Err(InventoryError::NoPieces { sku: line.sku.clone() });
        }
        let mut received = Vec::new();
        for (sku, pieces) in by_article(lines) {
            let fits = self.level(sku).on_hand.saturating_add_unsigned(pieces) <= PIECES_MAX;
            let quantity = u32::try_from(pieces).ok().filter(|_| fits);
            let too_many = || InventoryError::TooMany { sku: sku.clone() };
            received.push(StockLine { sku: sku.clone(), quantity: quantity.ok_or_else(too_many)? });
        }
        Ok(vec![StockReceived { location, lines: received, reference }.into()])
    }

    fn adjust(&self, location: LocationId, sku: Sku, delta: i64, reason: String) -> Decision {
        let level = self.level(&sku);
        if delta == 0 {
            return Err(InventoryError::NoChange);
        }
        if level.available().saturating_add(delta) < 0 {
            return Err(InventoryError::NotAvailable { sku, available: level.available() });
        }
        if level.on_hand.saturating_add(delta) > PIECES_MAX {
            return Err(InventoryError::TooMany { sku });
        }
        Ok(vec![StockAdjusted { location, sku, delta, reason }.into()])
    }

    fn reserve(&self, location: LocationId, order_id: OrderId, effect_key: EffectKey, lines: &[StockLine]) -> Decision {
        let refused = |effect_key, shortages| {
            Ok(vec![StockRefused { location: location.clone(), order_id, effect_key, shortages }.into()])
        };
        match self.reservation(&effect_key) {
            Some(Reservation::Held(held)) => of_order(held, order_id, &effect_key).map(|_| vec![]),
            Some(Reservation::Refused | Reservation::Released | Reservation::Committed(_) | Reservation::PutBack) => {
                Ok(vec![])
            }
            Some(Reservation::Tombstone) => refused(effect_key, vec![]),
            // One reservation an order: another one is still held.
            None if self.holding.get(&order_id).is_some() => refused(effect_key, vec![]),
            None => {
                let wanted = by_article(lines);
                let shortages = self.shortages(&wanted);
                if shortages.is_empty() {
                    let pieces = |pieces| u32::try_from(pieces).expect("what exceeds 32 bits counts as a shortage");
                    let lines = wanted.into_iter().filter(|(_, quantity)| *quantity > 0);
                    let lines = lines.map(|(sku, quantity)| StockLine { sku: sku.clone(), quantity: pieces(quantity) });
                    let lines = lines.collect();
                    Ok(vec![StockReserved { location, order_id, effect_key, lines }.into()])
                } else {
                    refused(effect_key, shortages)
                }
            }
        }
    }

    fn release(&self, location: LocationId, order_id: OrderId, effect_key: EffectKey) -> Decision {
        let lines = match self.reservation(&effect_key) {
            Some(Reservation::Held(held)) => of_order(held, order_id, &effect_key)?.to_vec(),
            Some(Reservation::Refused) | None => vec![],
            Some(Reservation::Tombstone | Reservation::Released) => return Ok(vec![]),
            Some(Reservation::Committed(_) | Reservation::PutBack) => {
                return Err(InventoryError::AlreadyCommitted { effect_key });
            }
        };
        Ok(vec![StockReleased { location, order_id, effect_key, lines }.into()])
    }

    fn commit(&self, location: LocationId, order_id: OrderId, effect_key: EffectKey) -> Decision {
        match self.reservation(&effect_key) {
            Some(Reservation::Held(held)) => {
                let lines = of_order(held, order_id, &effect_key)?.to_vec();
                Ok(vec![StockCommitted { location, order_id, effect_key, lines }.into()])
            }
            Some(Reservation::Committed(_) | Reservation::PutBack) => Ok(vec![]),
            Some(Reservation::Refused | Reservation::Tombstone | Reservation::Released) | None => {
                Err(InventoryError::NotReserved { effect_key })
            }
        }
    }

    fn put_back(&self, location: LocationId, order_id: OrderId, effect_key: EffectKey) -> Decision {
        match self.reservation(&effect_key) {
            Some(Reservation::Committed(lines)) => {
                let lines = lines.to_vec();
                Ok(vec![StockPutBack { location, order_id, effect_key, lines }.into()])
            }
            Some(Reservation::PutBack) => Ok(vec![]),
            Some(Reservation::Held(_) | Reservation::Refused | Reservation::Tombstone | Reservation::Released)
            | None => Err(InventoryError::NotCommitted { effect_key }),
        }
    }

    fn shortages(&self, wanted: &BTreeMap<&Sku, u64>) -> Vec<Shortage> {
        let short = wanted.iter().filter_map(|(sku, &pieces)| {
            let available = self.level(sku).available();
            let countable = u32::try_from(pieces);
            let there = countable.is_ok_and(|pieces| i64::from(pieces) <= available);
            (!there).then(|| Shortage { sku: (*sku).clone(), wanted: countable.unwrap_or(u32::MAX), available })
        });
        short.collect()
    }

    fn reservation(&self, key: &EffectKey) -> Option<&Reservation> {
        self.reservations.get(&KeyDigest::of(key))
    }

    fn settle(&mut self, key: &EffectKey, fate: Reservation) {
        self.reservations.insert(KeyDigest::of(key), fate);
    }

    fn let_go(&mut self, order_id: OrderId, key: &EffectKey) {
        if self.holding.get(&order_id) == Some(&KeyDigest::of(key)) {
            self.holding.remove(&order_id);
        }
    }

    /// Adds `on_hand` and `reserved` times the pieces of each line.
    fn shift(&mut self, lines: &[StockLine], on_hand: i64, reserved: i64) {
        for line in lines {
            let level = self.levels.entry(&line.sku);
            level.on_hand = level.on_hand.saturating_add(on_hand * i64::from(line.quantity));
            level.reserved = level.reserved.saturating_add(reserved * i64::from(line.quantity));
        }
    }

    /// As it was before it was written down, where each SKU stands many times.
    fn with_shared_skus(mut self) -> Self {
        let mut reservations = std::mem::take(&mut self.reservations);
        reservations.update(|fate| match fate {
            Reservation::Held(held) => {
                *fate =
                    Reservation::Held(Arc::new(Held { order_id: held.order_id, lines: self.interned(&held.lines) }));
            }
            Reservation::Committed(lines) => *fate = Reservation::Committed(self.interned(lines)),
            Reservation::Refused | Reservation::Tombstone | Reservation::Released | Reservation::PutBack => (),
        });
        Self { reservations, ..self }
    }

    /// The lines with the SKUs that the levels hold already, so that a million orders do not keep a million copies.
    fn interned(&self, lines: &[StockLine]) -> Arc<[StockLine]> {
        let known = |sku| self.levels.key(sku).unwrap_or(sku).clone();
        lines.iter().map(|line| StockLine { sku: known(&line.sku), quantity: line.quantity }).collect()
    }
}

/// Pieces per article: the same article on two lines is wanted twice.
fn by_article(lines: &[StockLine]) -> BTreeMap<&Sku, u64> {
    let mut pieces = BTreeMap::new();
    for line in lines {
        *pieces.entry(&line.sku).or_insert(0) += u64::from(line.quantity);
    }
    pieces
}

fn of_order<'a>(held: &'a Held, order_id: OrderId, key: &EffectKey) -> Result<&'a [StockLine], InventoryError> {
    if held.order_id == order_id {
        Ok(&held.lines)
    } else {
        Err(InventoryError::OtherOrder { effect_key: key.clone() })
    }
}
