//! T: every saga ends, or names the step at which a person must act, or waits with a deadline.

use super::{
    facts::{OfSaga, SagaStep},
    findings::{Invariant, Judge},
    money::OrderState,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    Unwound,
}

/// Where a saga stands when the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    NotStarted,
    Waiting,
    Stuck,
    NeedsAttention,
    Ended(Ending),
}

/// The step or undo that is waited for.
#[derive(Debug)]
struct OpenStep {
    step: String,
    undo: bool,
    has_deadline: bool,
}

/// A saga waits for one thing at a time.
#[derive(Debug, Default)]
pub(super) struct Saga {
    started: bool,
    open: Option<OpenStep>,
    attention: bool,
    ending: Option<Ending>,
    /// Of its last event.
    pub(super) position: i64,
}

impl Saga {
    pub(super) fn apply(&mut self, step: SagaStep, fact: &OfSaga, judge: &mut Judge<'_>) {
        let order_id = fact.order_id;
        self.position = judge.position;
        judge.holds(Invariant::Termination, self.ending.is_none(), || {
            format!("the saga of order {order_id} goes on after its end: {step:?}")
        });
        judge.holds(Invariant::Termination, self.started != (step == SagaStep::Started), || {
            let again = if self.started { "is started again" } else { "goes on and was not started" };
            format!("the saga of order {order_id} {again}")
        });
        match step {
            SagaStep::Started => self.started = true,
            SagaStep::Decided | SagaStep::UndoDecided => {
                self.attention = false;
                self.wait(fact, step == SagaStep::UndoDecided, fact.deadline_at.is_some(), judge);
            }
            // What was unknown is waited for again.
            SagaStep::Resent if self.open.is_none() => {
                self.wait(fact, fact.direction.as_deref() == Some("undo"), fact.next_at.is_some(), judge);
            }
            SagaStep::Resent => (),
            SagaStep::Succeeded | SagaStep::Refused | SagaStep::Unknown | SagaStep::UndoSucceeded => {
                self.attention = false;
                self.open = None;
            }
            SagaStep::NeedsAttention => {
                self.attention = true;
                judge.holds(Invariant::Termination, !fact.step.is_empty() && !fact.reason.is_empty(), || {
                    format!("the saga of order {order_id} needs attention and does not say for which step and why")
                });
            }
            SagaStep::Completed => self.end(Ending::Completed, fact, judge),
            SagaStep::Unwound => self.end(Ending::Unwound, fact, judge),
        }
    }

    fn wait(&mut self, fact: &OfSaga, undo: bool, has_deadline: bool, judge: &mut Judge<'_>) {
        judge.holds(Invariant::Termination, has_deadline && !fact.step.is_empty(), || {
            format!("step {:?} of order {} waits without a deadline", fact.step, fact.order_id)
        });
        self.open = Some(OpenStep { step: fact.step.clone(), undo, has_deadline });
    }

    fn end(&mut self, ending: Ending, fact: &OfSaga, judge: &mut Judge<'_>) {
        self.attention = false;
        let open = self.open.as_ref();
        judge.holds(Invariant::Termination, open.is_none(), || {
            format!("the saga of order {} is {ending:?} and waits for {}", fact.order_id, self.waits_for())
        });
        self.ending = Some(ending);
    }

    pub(super) fn standing(&self) -> Standing {
        match self.ending {
            Some(ending) => Standing::Ended(ending),
            None if !self.started => Standing::NotStarted,
            None if self.attention => Standing::NeedsAttention,
            None if self.open.as_ref().is_some_and(|open| open.has_deadline) => Standing::Waiting,
            None => Standing::Stuck,
        }
    }

    /// What the saga is waiting for, in words.
    pub(super) fn waits_for(&self) -> String {
        self.open.as_ref().map_or_else(
            || "nothing".into(),
            |open| format!("{} of {}", if open.undo { "the undo" } else { "the answer" }, open.step),
        )
    }
}

impl Ending {
    /// How the order must have ended when its saga did so.
    pub(super) const fn of_order(self) -> OrderState {
        match self {
            Self::Completed => OrderState::Completed,
            Self::Unwound => OrderState::Cancelled,
        }
    }
}
