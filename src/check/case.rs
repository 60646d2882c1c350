//! Everything about one order, from its first event until nothing more is to happen.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    effects::{self, OrderEffects},
    facts::{Fact, OrderStep},
    findings::{Invariant, Judge},
    money::{OrderMoney, OrderState},
    saga::{Ending, Saga, Standing},
    stock::{Reservations, Stock},
};

/// A closed case keeps nothing, so memory grows with what is open.
#[derive(Debug)]
pub(super) enum Case {
    Open(Box<OpenCase>),
    Closed,
}

#[derive(Debug)]
pub(super) struct OpenCase {
    /// Of the first event.
    pub(super) since: (i64, DateTime<Utc>),
    pub(super) money: OrderMoney,
    pub(super) saga: Saga,
    effects: OrderEffects,
    reservations: Reservations,
}

impl OpenCase {
    pub(super) fn new(position: i64, recorded_at: DateTime<Utc>) -> Self {
        Self {
            since: (position, recorded_at),
            money: OrderMoney::default(),
            saga: Saga::default(),
            effects: OrderEffects::default(),
            reservations: Reservations::default(),
        }
    }

    pub(super) fn apply(&mut self, fact: &Fact, stock: &mut Stock, judge: &mut Judge<'_>) {
        match fact {
            Fact::Silent | Fact::Received(_) | Fact::Adjusted(_) => (),
            Fact::Hold(step, hold) => {
                self.effects.hold(*step, &hold.effect_key, judge);
                self.reservations.apply(*step, hold, stock, judge);
            }
            Fact::Placed(placed) => self.money.place(placed, judge),
            Fact::Order(step, order_id) => self.money.order(*step, *order_id, judge),
            Fact::Payment(step, payment) => {
                self.effects.payment(*step, payment, judge);
                self.money.payment(*step, payment, judge);
            }
            Fact::Shipment(step, shipment) => self.effects.shipment(*step, shipment, judge),
            Fact::Saga(step, saga) => {
                if let Some(effect_key) = saga.command.as_ref().and_then(|command| command.effect_key.as_ref()) {
                    self.effects.intend(effect_key);
                }
                let placed = self.placed();
                judge
                    .holds(Invariant::Termination, placed, || format!("a saga of order {}, not placed", saga.order_id));
                self.saga.apply(*step, saga, judge);
            }
        }
    }

    /// The saga follows many streams, so only the participants' and the order's own outcomes belong to one command each.
    pub(super) fn outcome(&mut self, cause: Uuid, event_type: &str, judge: &mut Judge<'_>) {
        self.effects.outcome(cause, event_type, judge);
    }

    /// How it ended, once all of it has ended well.
    pub(super) fn closed(&self) -> Option<Ending> {
        let Standing::Ended(ending) = self.saga.standing() else { return None };
        (self.left_over(ending).is_none() && !self.effects.any_pending()).then_some(ending)
    }

    /// What an ended saga has left behind.
    pub(super) fn left_over(&self, ending: Ending) -> Option<(Invariant, String)> {
        if self.money.state != ending.of_order() {
            let what = format!("is {ending:?} and the order is {:?}", self.money.state);
            return Some((Invariant::Termination, what));
        }
        if self.reservations.any_held() {
            return Some((Invariant::Stock, format!("is {ending:?} and pieces are still reserved for it")));
        }
        if ending == Ending::Unwound && self.reservations.any_committed() {
            return Some((Invariant::Stock, "is Unwound and its pieces have left the shelf".into()));
        }
        self.money.left_over().map(|what| (Invariant::Money, format!("is {ending:?} and {what}")))
    }

    /// Judges what was still open at the end; at the log's own end, where it is `whole`, no saga stands between two steps.
    pub(super) fn finish(&self, order_id: Uuid, settled: bool, whole: bool, judge: &mut Judge<'_>) {
        judge.position = self.saga.position.max(self.since.0);
        let standing = self.saga.standing();
        let waits = match standing {
            Standing::NotStarted => settled.then(|| format!("order {order_id} has no saga")),
            Standing::Waiting => {
                settled.then(|| format!("the saga of order {order_id} still waits for {}", self.saga.waits_for()))
            }
            Standing::Stuck => whole.then(|| format!("the saga of order {order_id} waits without a deadline")),
            Standing::NeedsAttention | Standing::Ended(_) => None,
        };
        judge.holds(Invariant::Termination, waits.is_none(), || waits.unwrap_or_default());
        if let Standing::Ended(ending) = standing {
            let left = self.left_over(ending);
            if let Some((invariant, what)) = left {
                judge.holds(invariant, false, || format!("the saga of order {order_id} {what}"));
            }
        }
    }

    pub(super) fn placed(&self) -> bool {
        self.money.state != OrderState::Unplaced
    }
}

/// Nothing but an echo may follow once an order is closed: a refusal, a delivery.
pub(super) fn after_the_end(fact: &Fact, judge: &mut Judge<'_>) {
    if let Some((kind, effect_key)) = effects::applied(fact) {
        judge.holds(Invariant::Effects, false, || {
            format!("{kind:?} {effect_key} is applied after its order was closed")
        });
    }
    match fact {
        Fact::Placed(placed) => {
            judge.holds(Invariant::Money, false, || format!("order {} is placed again", placed.order_id));
        }
        Fact::Order(OrderStep::CancellationRequested, _) => (),
        Fact::Order(step, order_id) => {
            judge.holds(Invariant::Termination, false, || format!("order {order_id} is {step:?} after its end"));
        }
        Fact::Saga(step, saga) => judge.holds(Invariant::Termination, false, || {
            format!("the saga of order {} goes on after its end: {step:?}", saga.order_id)
        }),
        Fact::Silent
        | Fact::Received(_)
        | Fact::Adjusted(_)
        | Fact::Hold(..)
        | Fact::Payment(..)
        | Fact::Shipment(..) => {}
    }
}
