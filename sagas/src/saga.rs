//! What a saga's table is made of. The engine knows nothing else: a new step is a new row.

use std::time::Duration;

use events::{
    CommandId, EffectKey, LocationId, OrderId, fulfilment::FulfilmentStarted, participant::ParticipantCommand,
};

/// A saga as a table: forward from the first row to the last, and back over what has an undo.
#[derive(Debug)]
pub struct Saga {
    pub name: &'static str,
    pub starts_on: &'static str,
    /// The customer's wish to stop, and the order's own end by another hand.
    pub stops_on: &'static [&'static str],
    /// Until this step is done, a wish to stop is heard; afterwards it comes too late.
    pub stops_until: &'static str,
    pub steps: &'static [Step],
    /// What closes an unwinding, once everything is undone.
    pub last_of_unwinding: Step,
}

/// What may follow a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// May be undone; stands before the pivot.
    Compensatable,
    /// From here on the saga goes forward.
    Pivot,
    /// Comes to pass in the end, or a person sees to it.
    Retriable,
}

/// A row.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
    pub class: Class,
    pub action: Action,
    pub on: On,
    pub undo: Option<Undo>,
    /// How long an answer may take; the configuration may say otherwise.
    pub deadline: Duration,
    /// Whether this order needs the step at all.
    pub needed: fn(&FulfilmentStarted) -> bool,
    /// How often a refusal is answered by another try.
    pub tries: fn(&Setup) -> u32,
}

#[derive(Debug)]
pub enum Action {
    /// Sends a command.
    Send(fn(&Run<'_>) -> ParticipantCommand),
    /// Sends nothing, and waits for what becomes of the named step's effect.
    AwaitFateOf(&'static str),
}

/// The events that answer, by type. They are matched by the command's effect key, where it has one.
#[derive(Debug, Clone, Copy)]
pub struct On {
    pub done: &'static str,
    pub refused: Option<&'static str>,
}

#[derive(Debug)]
pub struct Undo {
    pub command: fn(&Run<'_>) -> ParticipantCommand,
    pub on: On,
    pub if_refused: IfUndoRefused,
}

/// A refused undo is never "done".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfUndoRefused {
    Person,
    /// The effect stands, so the saga goes on where it was.
    GoForward,
}

/// What configuration adds to the table.
#[derive(Debug, Clone)]
pub struct Setup {
    pub times: crate::SagaTimes,
    /// In the order in which they are tried.
    pub carriers: Vec<String>,
}

/// What a command is made from.
#[derive(Debug)]
pub struct Run<'a> {
    pub order: &'a FulfilmentStarted,
    pub setup: &'a Setup,
    /// The step that is decided or undone, and its occurrence.
    pub step: &'static str,
    pub occurrence: u32,
    /// The last occurrence of each step so far.
    pub occurrences: &'a [(&'static str, u32)],
    /// The command that is undone, as it was recorded.
    pub undoes: Option<&'a ParticipantCommand>,
    /// What the carrier called the parcel, where the fact at hand tells it.
    pub tracking: &'a str,
    /// Why the saga unwinds.
    pub reason: &'a str,
}

impl Run<'_> {
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        self.order.order_id
    }

    #[must_use]
    pub fn location(&self) -> LocationId {
        self.order.location.clone()
    }

    /// The last occurrence of a step; 1 for one that has not been decided.
    #[must_use]
    pub fn occurrence_of(&self, step: &str) -> u32 {
        self.occurrences.iter().find(|(name, _)| *name == step).map_or(1, |&(_, occurrence)| occurrence)
    }

    /// Names the effect of the step at hand.
    #[must_use]
    pub fn key(&self) -> EffectKey {
        effect_key(self.order_id(), self.step, self.occurrence)
    }

    /// Names the effect of the step's last occurrence.
    #[must_use]
    pub fn key_of(&self, step: &str) -> EffectKey {
        effect_key(self.order_id(), step, self.occurrence_of(step))
    }

    /// Names the undo of the step at hand, where an undo is an effect of its own.
    #[must_use]
    pub fn undo_key(&self) -> EffectKey {
        parse_key(&format!("{}/undo", self.key()))
    }
}

/// `fulfilment/{order}/{step}/{occurrence}`
#[must_use]
pub fn effect_key(order_id: OrderId, step: &str, occurrence: u32) -> EffectKey {
    parse_key(&format!("fulfilment/{order_id}/{step}/{occurrence}"))
}

fn parse_key(text: &str) -> EffectKey {
    text.parse().expect("a step's name is short and plain, which the table is checked for")
}

/// The same for every resend; a new occurrence makes a new one.
#[must_use]
pub fn command_id(saga: &str, order_id: OrderId, step: &str, occurrence: u32, direction: &str) -> CommandId {
    CommandId::of(&[saga, &order_id.to_string(), step, &occurrence.to_string(), direction])
}

#[must_use]
pub const fn on(done: &'static str, refused: &'static str) -> On {
    On { done, refused: Some(refused) }
}

/// For what cannot be refused, or tells a refusal in another way.
#[must_use]
pub const fn on_done(done: &'static str) -> On {
    On { done, refused: None }
}

#[must_use]
pub const fn compensatable(
    name: &'static str,
    command: fn(&Run<'_>) -> ParticipantCommand,
    on: On,
    undo: Undo,
    deadline: Duration,
) -> Step {
    Step { undo: Some(undo), ..row(name, Class::Compensatable, Action::Send(command), on, deadline) }
}

#[must_use]
pub const fn pivot(
    name: &'static str,
    command: fn(&Run<'_>) -> ParticipantCommand,
    on: On,
    deadline: Duration,
) -> Step {
    row(name, Class::Pivot, Action::Send(command), on, deadline)
}

#[must_use]
pub const fn retriable(
    name: &'static str,
    command: fn(&Run<'_>) -> ParticipantCommand,
    on: On,
    deadline: Duration,
) -> Step {
    row(name, Class::Retriable, Action::Send(command), on, deadline)
}

/// Waits for what others do with the effect of an earlier step.
#[must_use]
pub const fn awaits(name: &'static str, fate_of: &'static str, on: On, deadline: Duration) -> Step {
    row(name, Class::Retriable, Action::AwaitFateOf(fate_of), on, deadline)
}

/// An undo that nobody refuses lightly: if it is refused, a person decides.
#[must_use]
pub const fn undo(command: fn(&Run<'_>) -> ParticipantCommand, on: On) -> Undo {
    Undo { command, on, if_refused: IfUndoRefused::Person }
}

const fn row(name: &'static str, class: Class, action: Action, on: On, deadline: Duration) -> Step {
    Step { name, class, action, on, undo: None, deadline, needed: always, tries: once }
}

impl Step {
    /// Only for orders of which this holds.
    #[must_use]
    pub const fn when(self, needed: fn(&FulfilmentStarted) -> bool) -> Self {
        Self { needed, ..self }
    }

    /// May be undone after the pivot, as long as the effect has not run its course; if that is refused, the saga goes on.
    #[must_use]
    pub const fn unless_refused(self, command: fn(&Run<'_>) -> ParticipantCommand, on: On) -> Self {
        Self { undo: Some(Undo { command, on, if_refused: IfUndoRefused::GoForward }), ..self }
    }

    #[must_use]
    pub const fn tried(self, tries: fn(&Setup) -> u32) -> Self {
        Self { tries, ..self }
    }
}

fn always(_: &FulfilmentStarted) -> bool {
    true
}

fn once(_: &Setup) -> u32 {
    1
}

#[must_use]
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[must_use]
pub const fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

#[must_use]
pub const fn days(count: u64) -> Duration {
    hours(count * 24)
}

impl Saga {
    /// The row at an index; the one past the end closes an unwinding.
    #[must_use]
    pub fn step(&self, index: usize) -> &Step {
        self.steps.get(index).unwrap_or(&self.last_of_unwinding)
    }

    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let closing = (self.last_of_unwinding.name == name).then_some(self.steps.len());
        self.steps.iter().position(|step| step.name == name).or(closing)
    }

    /// Whether an event of this type can mean anything to the saga.
    #[must_use]
    pub fn listens_to(&self, event_type: &str) -> bool {
        let answers = |on: &On| on.done == event_type || on.refused == Some(event_type);
        let step = |step: &Step| answers(&step.on) || step.undo.as_ref().is_some_and(|undo| answers(&undo.on));
        event_type == self.starts_on
            || self.stops_on.contains(&event_type)
            || self.steps.iter().any(step)
            || step(&self.last_of_unwinding)
    }

    /// Stops the build when the table contradicts itself.
    pub const fn check(&self) {
        let mut pivots = 0;
        let mut stops_until_found = false;
        let mut index = 0;
        while index < self.steps.len() {
            let step = &self.steps[index];
            match step.class {
                Class::Compensatable => {
                    assert!(pivots == 0, "a compensatable step stands after the pivot");
                    assert!(step.undo.is_some(), "a compensatable step has no undo");
                }
                Class::Pivot => {
                    assert!(step.undo.is_none(), "a pivot cannot be undone");
                    pivots += 1;
                }
                Class::Retriable => assert!(pivots == 1, "a retriable step stands before the pivot"),
            }
            if let Action::AwaitFateOf(name) = step.action {
                assert!(
                    self.stands_before(name, index),
                    "a step waits for the fate of one that does not come before it"
                );
                assert!(step.undo.is_none(), "a step that only waits has nothing to undo");
            }
            assert!(step.name.len() <= 40, "a step's name becomes part of effect keys");
            assert!(!self.stands_before(step.name, index), "two steps have the same name");
            stops_until_found = stops_until_found || equal(step.name, self.stops_until);
            index += 1;
        }
        assert!(pivots == 1, "a saga has one pivot");
        assert!(stops_until_found, "the step that ends cancellation is not in the table");
        assert!(matches!(self.last_of_unwinding.class, Class::Retriable), "unwinding ends in a retriable step");
    }

    const fn stands_before(&self, name: &str, end: usize) -> bool {
        let mut index = 0;
        while index < end {
            if equal(self.steps[index].name, name) {
                return true;
            }
            index += 1;
        }
        false
    }
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}
