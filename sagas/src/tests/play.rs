//! Plays the saga by hand: facts in, events out, without a server.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use events::{
    Currency, CustomerId, Delivery, EffectKey, FulfilmentEvent, LocationId, Money, OrderId,
    fulfilment::{Direction, FulfilmentStarted},
    inventory::StockLine,
};
use uuid::Uuid;

use crate::{
    Config,
    decide::{Moment, decide},
    fact::{Fact, Happened},
    order_fulfilment::ORDER_FULFILMENT,
    saga::{Saga, Setup, Step},
    state::{Open, Phase, State},
};

pub(super) const SAGA: &Saga = &ORDER_FULFILMENT;

pub(super) struct Play {
    pub state: State,
    pub events: Vec<FulfilmentEvent>,
    pub now: DateTime<Utc>,
    setup: Setup,
}

impl Play {
    /// A saga that has just started.
    pub(super) fn of(order: FulfilmentStarted) -> Self {
        let mut play = Self::before(&order);
        play.hear(&Fact::Placed(order));
        play
    }

    pub(super) fn before(_: &FulfilmentStarted) -> Self {
        let (state, events, now) = (State::default(), Vec::new(), DateTime::UNIX_EPOCH);
        Self { state, events, now, setup: Config::default().setup() }
    }

    /// What the fact led to, each event in a few words.
    pub(super) fn hear(&mut self, fact: &Fact) -> Vec<String> {
        let moment = Moment { now: self.now, jitter: 0.5 };
        let events = decide(SAGA, &self.setup, &self.state, fact, moment);
        for event in &events {
            self.state.apply(SAGA, event).expect("the table's own steps");
        }
        let words = events.iter().map(in_words).collect();
        self.events.extend(events);
        words
    }

    pub(super) fn open(&self) -> &Open {
        self.state.open.as_ref().expect("something is waited for")
    }

    pub(super) fn waits_for(&self) -> Option<&'static str> {
        self.state.open.as_ref().map(|open| SAGA.step(open.step).name)
    }

    /// The open step or undo is done.
    pub(super) fn done(&mut self) -> Vec<String> {
        let fact = self.answer(true).expect("everything can be done");
        self.hear(&fact)
    }

    /// The open step or undo is refused.
    pub(super) fn refused(&mut self) -> Vec<String> {
        let fact = self.answer(false).expect("the step can be refused");
        self.hear(&fact)
    }

    pub(super) fn answer(&self, done: bool) -> Option<Fact> {
        let open = self.open();
        let step = SAGA.step(open.step);
        let on = match (open.direction, &step.undo) {
            (Direction::Undo, Some(undo)) => undo.on,
            (Direction::Undo | Direction::Forward, _) => step.on,
        };
        let event_type = if done { on.done } else { on.refused? };
        Some(happened(event_type, open.key.clone()))
    }

    /// The customer wants to stop.
    pub(super) fn cancelled(&mut self) -> Vec<String> {
        self.hear(&happened("OrderCancellationRequested", None))
    }

    /// Goes on until the named step is open.
    pub(super) fn until(mut self, step: &str) -> Self {
        while self.waits_for() != Some(step) {
            assert!(self.state.phase == Phase::Forward, "{step} is never reached");
            self.done();
        }
        self
    }

    /// The open step's deadline passes.
    pub(super) fn overdue(&mut self) -> Vec<String> {
        self.now = self.open().deadline_at;
        self.hear(&Fact::TimePassed(self.now))
    }

    /// Says yes to whatever is open until nothing is.
    pub(super) fn let_it_end(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..32 {
            if self.state.open.is_none() {
                return words;
            }
            words.extend(self.done());
        }
        panic!("no end after 32 answers: {words:?}");
    }

    pub(super) fn said(&self, event: &str) -> bool {
        self.events.iter().any(|known| in_words(known) == event)
    }
}

pub(super) fn happened(event_type: &'static str, effect_key: Option<EffectKey>) -> Fact {
    Fact::Happened(Happened { event_type, effect_key, reason: "a reason".into(), tracking: "T1".into() })
}

pub(super) fn in_words(event: &FulfilmentEvent) -> String {
    match event {
        FulfilmentEvent::Started(_) => "started".into(),
        FulfilmentEvent::StepDecided(event) => format!("{} {}", event.step, event.occurrence),
        FulfilmentEvent::StepResent(event) => format!("{} sent again: {}", event.step, event.attempt),
        FulfilmentEvent::StepSucceeded(event) => format!("{} {} done", event.step, event.occurrence),
        FulfilmentEvent::StepRefused(event) => format!("{} {} refused", event.step, event.occurrence),
        FulfilmentEvent::StepUnknown(event) => format!("{} {} unknown", event.step, event.occurrence),
        FulfilmentEvent::UndoDecided(event) => format!("undo {} {}", event.step, event.occurrence),
        FulfilmentEvent::UndoSucceeded(event) => format!("{} {} undone", event.step, event.occurrence),
        FulfilmentEvent::NeedsAttention(event) => format!("attention: {:?} {}", event.direction, event.step),
        FulfilmentEvent::Completed(_) => "completed".into(),
        FulfilmentEvent::Unwound(_) => "unwound".into(),
    }
}

pub(super) fn order() -> FulfilmentStarted {
    FulfilmentStarted {
        order_id: OrderId(Uuid::from_u128(7)),
        customer_id: CustomerId::from_str("17850").expect("a plain id"),
        total: Money::new(500, Currency::GBP),
        payment_token: "tok_ok".into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: "standard".into(),
        },
        location: LocationId::from_str("main").expect("a plain id"),
        lines: vec![StockLine { sku: "85123A".parse().expect("a plain SKU"), quantity: 2 }],
    }
}

/// All rows, and the one that closes an unwinding.
pub(super) fn all_steps() -> impl Iterator<Item = &'static Step> {
    SAGA.steps.iter().chain([&SAGA.last_of_unwinding])
}
