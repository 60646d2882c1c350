//! S: for each location and article, nothing is ever sold, held or written off that is not there.

use std::collections::{BTreeMap, HashMap};

use super::{
    facts::{Adjustment, Hold, HoldStep, Pieces, Receipt},
    findings::{Invariant, Judge},
};

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    on_hand: i128,
    reserved: i128,
}

/// Every article's level; grows with the range of articles.
#[derive(Debug, Default)]
pub(super) struct Stock {
    levels: HashMap<String, HashMap<String, Level>>,
}

impl Stock {
    pub(super) fn receive(&mut self, receipt: &Receipt, judge: &mut Judge<'_>) {
        for Pieces { sku, quantity } in &receipt.lines {
            judge.holds(Invariant::Stock, *quantity > 0, || format!("{quantity} pieces of {sku} received"));
            self.shift(&receipt.location, sku, *quantity, 0, judge);
        }
    }

    pub(super) fn adjust(&mut self, adjustment: &Adjustment, judge: &mut Judge<'_>) {
        self.shift(&adjustment.location, &adjustment.sku, adjustment.delta, 0, judge);
    }

    fn shift(&mut self, location: &str, sku: &str, on_hand: i64, reserved: i64, judge: &mut Judge<'_>) {
        if !self.levels.contains_key(location) {
            self.levels.insert(location.into(), HashMap::new());
        }
        let Some(articles) = self.levels.get_mut(location) else { return };
        if !articles.contains_key(sku) {
            articles.insert(sku.into(), Level::default());
        }
        let Some(level) = articles.get_mut(sku) else { return };
        level.on_hand += i128::from(on_hand);
        level.reserved += i128::from(reserved);
        let Level { on_hand, reserved } = *level;
        let holds = on_hand >= 0 && reserved >= 0 && on_hand >= reserved;
        judge.holds(Invariant::Stock, holds, || {
            format!("{sku} at {location}: on hand {on_hand}, reserved {reserved}, so available {}", on_hand - reserved)
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HoldState {
    Held,
    Released,
    /// Released before it came: it must never come.
    Tombstone,
    Committed,
    PutBack,
}

#[derive(Debug)]
struct Reservation {
    effect_key: String,
    location: String,
    state: HoldState,
    pieces: BTreeMap<String, i64>,
}

/// The reservations of one order.
#[derive(Debug, Default)]
pub(super) struct Reservations(Vec<Reservation>);

impl Reservations {
    pub(super) fn apply(&mut self, step: HoldStep, hold: &Hold, stock: &mut Stock, judge: &mut Judge<'_>) {
        let mut pieces = BTreeMap::new();
        for Pieces { sku, quantity } in &hold.lines {
            judge.holds(Invariant::Stock, *quantity > 0, || format!("{quantity} pieces of {sku} in a reservation"));
            *pieces.entry(sku.clone()).or_insert(0) += quantity;
        }
        let known = self.0.iter_mut().find(|reservation| reservation.effect_key == hold.effect_key);
        match (step, known) {
            (HoldStep::Refused, _) => (),
            (HoldStep::Reserved, None) => {
                move_pieces(stock, hold, &pieces, 0, 1, judge);
                self.add(hold, HoldState::Held, pieces);
            }
            (HoldStep::Released, None) => {
                judge.holds(Invariant::Stock, pieces.is_empty(), || {
                    format!("{} is released with pieces and was never reserved", hold.effect_key)
                });
                self.add(hold, HoldState::Tombstone, BTreeMap::new());
            }
            (HoldStep::Committed | HoldStep::PutBack, None) => {
                judge.holds(Invariant::Stock, false, || {
                    format!("{} is {} and was never reserved", hold.effect_key, word(step))
                });
            }
            (_, Some(reservation)) => reservation.go_on(step, hold, &pieces, stock, judge),
        }
    }

    fn add(&mut self, hold: &Hold, state: HoldState, pieces: BTreeMap<String, i64>) {
        let (effect_key, location) = (hold.effect_key.clone(), hold.location.clone());
        self.0.push(Reservation { effect_key, location, state, pieces });
    }

    pub(super) fn any_held(&self) -> bool {
        self.0.iter().any(|reservation| reservation.state == HoldState::Held)
    }

    /// Left the shelf and did not come back.
    pub(super) fn any_committed(&self) -> bool {
        self.0.iter().any(|reservation| reservation.state == HoldState::Committed)
    }
}

impl Reservation {
    fn go_on(
        &mut self,
        step: HoldStep,
        hold: &Hold,
        pieces: &BTreeMap<String, i64>,
        stock: &mut Stock,
        judge: &mut Judge<'_>,
    ) {
        let next = match (self.state, step) {
            (HoldState::Held, HoldStep::Released) => Some((HoldState::Released, 0, -1)),
            (HoldState::Held, HoldStep::Committed) => Some((HoldState::Committed, -1, -1)),
            (HoldState::Committed, HoldStep::PutBack) => Some((HoldState::PutBack, 1, 0)),
            _ => None,
        };
        let Some((state, on_hand, reserved)) = next else {
            let was = format!("{:?}", self.state).to_lowercase();
            return judge.holds(Invariant::Stock, false, || {
                format!("{} is {} and was {was} before", self.effect_key, word(step))
            });
        };
        let same = self.pieces == *pieces && self.location == hold.location;
        judge.holds(Invariant::Stock, same, || {
            format!("{} is {} with other pieces than were reserved", self.effect_key, word(step))
        });
        move_pieces(stock, hold, pieces, on_hand, reserved, judge);
        self.state = state;
    }
}

fn move_pieces(
    stock: &mut Stock,
    hold: &Hold,
    pieces: &BTreeMap<String, i64>,
    on_hand: i64,
    reserved: i64,
    judge: &mut Judge<'_>,
) {
    for (sku, quantity) in pieces {
        stock.shift(&hold.location, sku, on_hand * quantity, reserved * quantity, judge);
    }
}

const fn word(step: HoldStep) -> &'static str {
    match step {
        HoldStep::Reserved => "reserved",
        HoldStep::Refused => "refused",
        HoldStep::Released => "released",
        HoldStep::Committed => "committed",
        HoldStep::PutBack => "put back",
    }
}
