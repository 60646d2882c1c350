//! What a saga does next: a pure function of its table, its state and one fact.
//!
//! A fact that the state does not wait for changes nothing, so facts may be repeated, late or out of order.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use events::{
    FulfilmentEvent, OrderId,
    fulfilment::{
        Direction, FulfilmentCompleted, FulfilmentStarted, FulfilmentUnwound, NeedsAttention, StepDecided, StepRefused,
        StepResent, StepSucceeded, StepUnknown, UndoDecided, UndoSucceeded,
    },
    participant::ParticipantCommand,
};

use crate::{
    fact::{Fact, Happened},
    saga::{Action, Class, IfUndoRefused, Run, Saga, Setup, Step, command_id, effect_key},
    state::{Effect, Open, Phase, State},
};

/// What a decision may not fetch for itself.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: DateTime<Utc>,
    /// A random fraction from 0 to 1.
    pub jitter: f64,
}

/// The events that the fact leads to; none when it means nothing now.
#[must_use]
pub fn decide(saga: &'static Saga, setup: &Setup, state: &State, fact: &Fact, moment: Moment) -> Vec<FulfilmentEvent> {
    let mut turn = Turn { saga, setup, moment, state: state.clone(), tracking: "", events: Vec::new() };
    match (fact, state.phase) {
        (Fact::Placed(order), Phase::NotStarted) => turn.start(order),
        (Fact::Happened(happened), Phase::Forward | Phase::Unwinding) => turn.hear(happened),
        (Fact::Answered { command_id, outcome }, Phase::Forward | Phase::Unwinding) => {
            if let Some(open) = state.open.clone().filter(|open| open.command_id == *command_id) {
                match outcome {
                    Ok(()) => turn.done(&open),
                    Err(reason) => turn.refused(&open, reason),
                }
            }
        }
        (Fact::TimePassed(now), Phase::Forward | Phase::Unwinding) => turn.time_passed(*now),
        (Fact::Broken(reason), Phase::Forward | Phase::Unwinding) => turn.broken(reason),
        (Fact::Placed(_), Phase::Forward | Phase::Unwinding) | (_, Phase::NotStarted | Phase::Ended) => {}
    }
    turn.events
}

/// One decision under way: each event is folded at once, so that the next one builds on it.
struct Turn<'a> {
    saga: &'static Saga,
    setup: &'a Setup,
    moment: Moment,
    state: State,
    tracking: &'a str,
    events: Vec<FulfilmentEvent>,
}

impl<'a> Turn<'a> {
    fn push(&mut self, event: impl Into<FulfilmentEvent>) {
        let event = event.into();
        self.state.apply(self.saga, &event).expect("a decision names the table's own steps");
        self.events.push(event);
    }

    fn order(&self) -> Arc<FulfilmentStarted> {
        self.state.order.clone().expect("a saga that has started knows its order")
    }

    fn order_id(&self) -> OrderId {
        self.order().order_id
    }

    fn start(&mut self, order: &FulfilmentStarted) {
        self.push(order.clone());
        self.go_on_from(0);
    }

    fn hear(&mut self, fact: &'a Happened) {
        self.tracking = &fact.tracking;
        if let Some(open) = self.state.open.clone() {
            let step = self.saga.step(open.step);
            let on = match (open.direction, &step.undo) {
                (Direction::Forward, _) | (Direction::Undo, None) => &step.on,
                (Direction::Undo, Some(undo)) => &undo.on,
            };
            if open.key == fact.effect_key && on.done == fact.event_type {
                return self.done(&open);
            }
            if open.key == fact.effect_key && on.refused == Some(fact.event_type) {
                return self.refused(&open, &fact.reason);
            }
            if let Some(overtaking) = self.overtaken(&open, fact) {
                return self.overtake(&open, overtaking);
            }
        }
        if self.saga.stops_on.contains(&fact.event_type) {
            self.stop();
        }
    }

    fn done(&mut self, open: &Open) {
        let (order_id, step) = (self.order_id(), self.saga.step(open.step));
        match open.direction {
            Direction::Forward => {
                self.push(StepSucceeded { order_id, step: step.name.into(), occurrence: open.occurrence });
                if open.step == self.saga.steps.len() {
                    self.push(FulfilmentUnwound { order_id, reason: unwound_because(open) });
                } else {
                    self.go_on_from(open.step + 1);
                }
            }
            Direction::Undo => {
                self.push(UndoSucceeded { order_id, step: step.name.into(), occurrence: open.occurrence });
                self.unwind();
            }
        }
    }

    fn refused(&mut self, open: &Open, reason: &str) {
        let step = self.saga.step(open.step);
        if open.direction == Direction::Undo {
            return match step.undo.as_ref().map(|undo| undo.if_refused) {
                Some(IfUndoRefused::GoForward) => self.go_on_from(open.step + 1),
                Some(IfUndoRefused::Person) | None => self.ask_a_person(open, reason),
            };
        }
        let (order_id, occurrence) = (self.order_id(), open.occurrence);
        self.push(StepRefused { order_id, step: step.name.into(), occurrence, reason: reason.into() });
        match step.class {
            Class::Compensatable | Class::Pivot => self.unwind(),
            Class::Retriable if occurrence < (step.tries)(self.setup) => self.decide_step(open.step),
            Class::Retriable => self.ask_a_person(open, reason),
        }
    }

    /// A step further on that waits for the fate of the open step's effect, and has just learnt it: the open one is answered too.
    fn overtaken(&self, open: &Open, fact: &Happened) -> Option<usize> {
        let name = self.saga.step(open.step).name;
        let learnt = |step: &Step| {
            matches!(step.action, Action::AwaitFateOf(awaited) if awaited == name)
                && step.on.done == fact.event_type
                && fact.effect_key == Some(effect_key(self.order_id(), name, open.occurrence))
        };
        self.saga.steps.iter().position(learnt)
    }

    fn overtake(&mut self, open: &Open, overtaking: usize) {
        let order_id = self.order_id();
        if open.direction == Direction::Forward {
            let step = self.saga.step(open.step).name.into();
            self.push(StepSucceeded { order_id, step, occurrence: open.occurrence });
        }
        self.decide_step(overtaking);
        let step = self.saga.step(overtaking).name;
        self.push(StepSucceeded { order_id, step: step.into(), occurrence: self.state.occurrence_of(step) });
        self.go_on_from(overtaking + 1);
    }

    fn stop(&mut self) {
        let until = self.saga.index_of(self.saga.stops_until).unwrap_or_default();
        if self.state.phase == Phase::Forward && self.state.reached <= until && !self.state.past_recall {
            self.unwind();
        }
    }

    /// The next step that this order needs, or the end.
    fn go_on_from(&mut self, index: usize) {
        let order = self.order();
        let needed = |index: &usize| (self.saga.step(*index).needed)(&order);
        match (index..self.saga.steps.len()).find(needed) {
            Some(index) => self.decide_step(index),
            None => self.push(FulfilmentCompleted { order_id: order.order_id }),
        }
    }

    /// Undoes the latest effect that still stands, or cancels the order when none does.
    fn unwind(&mut self) {
        match self.state.effects.last().cloned() {
            Some(effect) => self.decide_undo(&effect),
            None => self.decide_step(self.saga.steps.len()),
        }
    }

    fn decide_step(&mut self, index: usize) {
        let (order_id, step) = (self.order_id(), self.saga.step(index));
        let occurrence = self.state.occurrence_of(step.name) + 1;
        let command = match step.action {
            Action::Send(make) => Some(self.command(make, step, occurrence, None)),
            Action::AwaitFateOf(_) => None,
        };
        self.push(StepDecided {
            order_id,
            step: step.name.into(),
            occurrence,
            command_id: command_id(self.saga.name, order_id, step.name, occurrence, "forward"),
            resend_at: command.is_some().then(|| self.after(self.setup.times.resend_first())),
            command,
            deadline_at: self.after(self.setup.times.deadline(step)),
        });
    }

    fn decide_undo(&mut self, effect: &Effect) {
        let (order_id, step) = (self.order_id(), self.saga.step(effect.step));
        let undo = step.undo.as_ref().expect("only effects that have an undo are kept");
        let occurrence = effect.occurrence;
        self.push(UndoDecided {
            order_id,
            step: step.name.into(),
            occurrence,
            effect_key: effect_key(order_id, step.name, occurrence),
            command_id: command_id(self.saga.name, order_id, step.name, occurrence, "undo"),
            command: self.command(undo.command, step, occurrence, Some(&effect.command)),
            resend_at: self.after(self.setup.times.resend_first()),
            deadline_at: self.after(self.setup.times.undo_deadline()),
        });
    }

    fn command(
        &self,
        make: fn(&Run<'_>) -> ParticipantCommand,
        step: &Step,
        occurrence: u32,
        undoes: Option<&ParticipantCommand>,
    ) -> ParticipantCommand {
        let (order, setup, tracking) = (&*self.order(), self.setup, self.tracking);
        let reason = self.state.reason.as_deref().unwrap_or("cancelled on request");
        let occurrences = &self.state.occurrences;
        make(&Run { order, setup, step: step.name, occurrence, occurrences, undoes, tracking, reason })
    }

    fn time_passed(&mut self, now: DateTime<Utc>) {
        let Some(open) = self.state.open.clone() else { return };
        if !open.overdue && open.deadline_at <= now {
            self.overdue(&open);
        } else if open.resend_at.is_some_and(|resend_at| resend_at <= now) {
            self.resend(&open, now);
        }
    }

    /// Nobody knows whether the effect has happened: before the pivot it is undone like one that has; otherwise a person is told,
    /// and it goes on being waited for.
    fn overdue(&mut self, open: &Open) {
        let (order_id, step) = (self.order_id(), self.saga.step(open.step));
        self.push(StepUnknown { order_id, step: step.name.into(), occurrence: open.occurrence });
        if open.direction == Direction::Forward && step.class == Class::Compensatable {
            self.unwind();
        } else {
            self.ask_a_person(open, "no answer in time");
        }
    }

    fn resend(&mut self, open: &Open, now: DateTime<Utc>) {
        let Some(command) = &open.command else { return };
        let attempt = open.attempt + 1;
        let pause = self.setup.times.resend_pause(attempt, self.moment.jitter);
        self.push(StepResent {
            order_id: self.order_id(),
            step: self.saga.step(open.step).name.into(),
            occurrence: open.occurrence,
            direction: open.direction,
            attempt,
            command_id: open.command_id,
            command: (**command).clone(),
            next_at: later(now, pause),
        });
    }

    fn ask_a_person(&mut self, open: &Open, reason: &str) {
        self.push(NeedsAttention {
            order_id: self.order_id(),
            step: self.saga.step(open.step).name.into(),
            direction: open.direction,
            reason: reason.into(),
        });
    }

    fn broken(&mut self, reason: &str) {
        let open = self.state.open.as_ref();
        if self.state.needs_attention && open.is_none() {
            return; // a person knows already
        }
        let index = open.map_or(self.state.reached, |open| open.step);
        self.push(NeedsAttention {
            order_id: self.order_id(),
            step: self.saga.step(index).name.into(),
            direction: open.map_or(Direction::Forward, |open| open.direction),
            reason: reason.into(),
        });
    }

    fn after(&self, pause: Duration) -> DateTime<Utc> {
        later(self.moment.now, pause)
    }
}

/// The order was told why.
fn unwound_because(closing: &Open) -> String {
    match closing.command.as_deref() {
        Some(ParticipantCommand::CancelOrder { reason, .. }) => reason.clone(),
        Some(_) | None => String::new(),
    }
}

fn later(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(pause).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
