//! Where a saga stands, as its own stream tells it. Facts that were heard twice leave no second trace here.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{
    CommandId, EffectKey, FulfilmentEvent, OrderId,
    fulfilment::{Direction, FulfilmentStarted},
    participant::ParticipantCommand,
};

use crate::saga::{Action, Class, Saga, effect_key};

/// The stream names a step that the table does not have: written by another release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saga has no step {0:?}")]
pub struct UnknownStep(pub String);

#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub order: Option<Arc<FulfilmentStarted>>,
    pub phase: Phase,
    /// What is waited for.
    pub open: Option<Open>,
    /// Effects that may have happened and have an undo, in the order in which they were decided.
    pub effects: Vec<Effect>,
    /// The last occurrence of each step.
    pub occurrences: Vec<(&'static str, u32)>,
    /// The furthest row that was decided.
    pub reached: usize,
    /// An undo was refused or overtaken, so its effect stands for good: a wish to stop comes too late.
    pub past_recall: bool,
    /// A person must decide, or was told; what comes later may still heal it.
    pub needs_attention: bool,
    /// Why the last step failed.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    NotStarted,
    Forward,
    Unwinding,
    Ended,
}

/// The step or undo that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Row of the table; one past the end closes an unwinding.
    pub step: usize,
    pub occurrence: u32,
    pub direction: Direction,
    pub command_id: CommandId,
    pub command: Option<Arc<ParticipantCommand>>,
    /// The answer carries it; none where the order itself answers.
    pub key: Option<EffectKey>,
    pub attempt: u32,
    pub resend_at: Option<DateTime<Utc>>,
    pub deadline_at: DateTime<Utc>,
    /// The deadline has passed; it is still waited for.
    pub overdue: bool,
    /// A person was told that it is overdue.
    pub told: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    pub step: usize,
    pub occurrence: u32,
    pub command: Arc<ParticipantCommand>,
}

impl Open {
    /// When somebody has to look at it again.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        let deadline = (!self.overdue).then_some(self.deadline_at);
        self.resend_at.into_iter().chain(deadline).min()
    }
}

impl State {
    #[must_use]
    pub fn occurrence_of(&self, step: &str) -> u32 {
        self.occurrences.iter().find(|(name, _)| *name == step).map_or(0, |&(_, occurrence)| occurrence)
    }

    /// Folds one event of the saga's own stream.
    pub fn apply(&mut self, saga: &'static Saga, event: &FulfilmentEvent) -> Result<(), UnknownStep> {
        let index = |step: &str| saga.index_of(step).ok_or_else(|| UnknownStep(step.into()));
        match event {
            FulfilmentEvent::Started(started) => {
                self.order = Some(Arc::new(started.clone()));
                self.phase = Phase::Forward;
            }
            FulfilmentEvent::StepDecided(decided) => {
                let step = index(&decided.step)?;
                let closing = step == saga.steps.len();
                let command = decided.command.clone().map(Arc::new);
                self.phase = if closing { Phase::Unwinding } else { Phase::Forward };
                self.note_occurrence(saga.step(step).name, decided.occurrence);
                if !closing {
                    self.reached = step;
                    self.reason = None;
                    // Forward again in the middle of an undo: its effect could not be taken back.
                    self.past_recall |= self.open.as_ref().is_some_and(|open| open.direction == Direction::Undo);
                }
                if let (Some(command), true) = (&command, saga.step(step).undo.is_some()) {
                    self.effects.push(Effect { step, occurrence: decided.occurrence, command: command.clone() });
                }
                self.open = Some(Open {
                    step,
                    occurrence: decided.occurrence,
                    direction: Direction::Forward,
                    command_id: decided.command_id,
                    key: self.answering_key(saga, step, decided.order_id, command.as_deref()),
                    command,
                    attempt: 1,
                    resend_at: decided.resend_at,
                    deadline_at: decided.deadline_at,
                    overdue: false,
                    told: false,
                });
            }
            FulfilmentEvent::StepResent(resent) => {
                if let Some(open) = &mut self.open {
                    open.attempt = resent.attempt;
                    open.resend_at = Some(resent.next_at);
                }
            }
            FulfilmentEvent::StepSucceeded(_) => self.open = None,
            FulfilmentEvent::StepRefused(refused) => {
                self.forget_effect(index(&refused.step)?, refused.occurrence);
                self.reason = Some(refused.reason.clone());
                self.open = None;
            }
            FulfilmentEvent::StepUnknown(unknown) => {
                self.reason = Some(format!("{} was not answered in time", unknown.step));
                if let Some(open) = &mut self.open {
                    open.overdue = true;
                }
            }
            FulfilmentEvent::UndoDecided(undo) => {
                let command = Arc::new(undo.command.clone());
                if self.is_stopped(saga) {
                    self.reason = None; // whatever failed before is not why
                }
                self.phase = Phase::Unwinding;
                self.open = Some(Open {
                    step: index(&undo.step)?,
                    occurrence: undo.occurrence,
                    direction: Direction::Undo,
                    command_id: undo.command_id,
                    key: key_of(&command).cloned(),
                    command: Some(command),
                    attempt: 1,
                    resend_at: Some(undo.resend_at),
                    deadline_at: undo.deadline_at,
                    overdue: false,
                    told: false,
                });
            }
            FulfilmentEvent::UndoSucceeded(undone) => {
                self.forget_effect(index(&undone.step)?, undone.occurrence);
                self.open = None;
            }
            FulfilmentEvent::NeedsAttention(_) => {
                self.needs_attention = true;
                // What is merely overdue is still waited for; anything else has been refused and stands still.
                self.open = self.open.take().filter(|open| open.overdue && !open.told);
                if let Some(open) = &mut self.open {
                    open.told = true;
                }
            }
            FulfilmentEvent::Completed(_) | FulfilmentEvent::Unwound(_) => {
                self.phase = Phase::Ended;
                self.open = None;
            }
        }
        Ok(())
    }

    fn answering_key(
        &self,
        saga: &Saga,
        step: usize,
        order_id: OrderId,
        command: Option<&ParticipantCommand>,
    ) -> Option<EffectKey> {
        match saga.step(step).action {
            Action::Send(_) => command.and_then(key_of).cloned(),
            Action::AwaitFateOf(name) => Some(effect_key(order_id, name, self.occurrence_of(name))),
        }
    }

    fn note_occurrence(&mut self, step: &'static str, occurrence: u32) {
        match self.occurrences.iter_mut().find(|(name, _)| *name == step) {
            Some(noted) => noted.1 = occurrence,
            None => self.occurrences.push((step, occurrence)),
        }
    }

    fn forget_effect(&mut self, step: usize, occurrence: u32) {
        self.effects.retain(|effect| (effect.step, effect.occurrence) != (step, occurrence));
    }

    /// An undo that follows now is somebody's wish, and not what a refusal or a deadline led to.
    fn is_stopped(&self, saga: &Saga) -> bool {
        let failed = |open: &Open| open.overdue && saga.step(open.step).class == Class::Compensatable;
        self.phase == Phase::Forward && self.open.as_ref().map_or(self.needs_attention, |open| !failed(open))
    }
}

/// The key under which a command's answer comes. The order has none: it answers by its own stream.
#[must_use]
pub fn key_of(command: &ParticipantCommand) -> Option<&EffectKey> {
    match command {
        ParticipantCommand::ReserveStock { effect_key, .. }
        | ParticipantCommand::ReleaseStock { effect_key, .. }
        | ParticipantCommand::CommitStock { effect_key, .. }
        | ParticipantCommand::PutBackStock { effect_key, .. }
        | ParticipantCommand::AuthorisePayment { effect_key, .. }
        | ParticipantCommand::VoidPayment { effect_key, .. }
        | ParticipantCommand::CapturePayment { effect_key, .. }
        | ParticipantCommand::RefundPayment { effect_key, .. }
        | ParticipantCommand::BookShipment { effect_key, .. }
        | ParticipantCommand::CancelShipment { effect_key, .. } => Some(effect_key),
        ParticipantCommand::ConfirmOrder { .. }
        | ParticipantCommand::CancelOrder { .. }
        | ParticipantCommand::RecordShipment { .. }
        | ParticipantCommand::CompleteOrder { .. } => None,
    }
}
