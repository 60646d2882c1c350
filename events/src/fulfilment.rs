//! `fulfilment-{order}`: the stream of the saga that fulfils one order. Intent first, then the outcome that the log told.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    CommandId, CustomerId, Delivery, EffectKey, LocationId, Money, OrderId, domain_event::event_category,
    inventory::StockLine, participant::ParticipantCommand,
};

/// A step's name as the saga's table spells it: `reserve_stock`.
pub type StepName = Cow<'static, str>;

/// Forward, or undoing what went forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Forward,
    Undo,
}

/// All that the saga needs to know of its order, so that its own stream suffices to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfilmentStarted {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub total: Money,
    pub payment_token: String,
    pub delivery: Delivery,
    pub location: LocationId,
    pub lines: Vec<StockLine>,
}

/// A command to a participant is to be sent: the relay sends `command` under `command_id`. Committed before any effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDecided {
    pub order_id: OrderId,
    pub step: StepName,
    /// From 1; a new try after a refusal raises it, a resend keeps it.
    pub occurrence: u32,
    pub command_id: CommandId,
    /// None for a step that only waits for a fact, such as the carrier's dispatch.
    pub command: Option<ParticipantCommand>,
    /// When the command is sent again if nothing was heard; none for a step that only waits.
    pub resend_at: Option<DateTime<Utc>>,
    /// When the step counts as unknown, and is undone or given to a person.
    pub deadline_at: DateTime<Utc>,
}

/// Nothing was heard in time: the relay sends the same command again, under the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResent {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
    pub direction: Direction,
    /// From 2: the first sending was attempt 1.
    pub attempt: u32,
    pub command_id: CommandId,
    pub command: ParticipantCommand,
    pub next_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSucceeded {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRefused {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
    pub reason: String,
}

/// The deadline passed without an answer: the effect may or may not have happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUnknown {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
}

/// An undo is to be sent. It names the effect of this run, may come before its action, and is repeated until answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoDecided {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
    /// Of the effect that is undone.
    pub effect_key: EffectKey,
    pub command_id: CommandId,
    pub command: ParticipantCommand,
    pub resend_at: DateTime<Utc>,
    /// When a person is told that the undo does not come through; it goes on being sent.
    pub deadline_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoSucceeded {
    pub order_id: OrderId,
    pub step: StepName,
    pub occurrence: u32,
}

/// A person must decide: what is stuck, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsAttention {
    pub order_id: OrderId,
    pub step: StepName,
    pub direction: Direction,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfilmentCompleted {
    pub order_id: OrderId,
}

/// Everything that had been done is undone, and the order is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfilmentUnwound {
    pub order_id: OrderId,
    pub reason: String,
}

event_category! {
    FulfilmentEvent in "fulfilment" {
        Started(FulfilmentStarted) = "FulfilmentStarted", v 1;
        StepDecided(StepDecided) = "StepDecided", v 1;
        StepResent(StepResent) = "StepResent", v 1;
        StepSucceeded(StepSucceeded) = "StepSucceeded", v 1;
        StepRefused(StepRefused) = "StepRefused", v 1;
        StepUnknown(StepUnknown) = "StepUnknown", v 1;
        UndoDecided(UndoDecided) = "UndoDecided", v 1;
        UndoSucceeded(UndoSucceeded) = "UndoSucceeded", v 1;
        NeedsAttention(NeedsAttention) = "NeedsAttention", v 1;
        Completed(FulfilmentCompleted) = "FulfilmentCompleted", v 1;
        Unwound(FulfilmentUnwound) = "FulfilmentUnwound", v 1;
    }
}

impl FulfilmentEvent {
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Started(event) => event.order_id,
            Self::StepDecided(event) => event.order_id,
            Self::StepResent(event) => event.order_id,
            Self::StepSucceeded(event) => event.order_id,
            Self::StepRefused(event) => event.order_id,
            Self::StepUnknown(event) => event.order_id,
            Self::UndoDecided(event) => event.order_id,
            Self::UndoSucceeded(event) => event.order_id,
            Self::NeedsAttention(event) => event.order_id,
            Self::Completed(event) => event.order_id,
            Self::Unwound(event) => event.order_id,
        }
    }
}
