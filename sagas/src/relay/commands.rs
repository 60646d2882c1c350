//! The lane of commands: each step, undo and resend that a saga has recorded goes to its participant's queue.

use events::{
    CommandId, DomainEvent, EventPayload, FulfilmentEvent, LogId, LogPosition, RawRecorded, Recorded,
    bus::{COMMANDS_EXCHANGE, CommandMessage, command_queue},
    participant::{Participant, ParticipantCommand},
};
use lapin::BasicProperties;
use sqlx::PgPool;

use super::{Lane, Message};
use crate::Error;

pub(crate) struct Commands;

impl Lane for Commands {
    const NAME: &'static str = "commands";
    const READER: &'static str = "relay-commands";

    fn message(log_id: &LogId, event: &RawRecorded) -> Result<Option<Message>, Error> {
        if !may_hold_command(event) {
            return Ok(None);
        }
        let recorded = event.decode()?;
        let Some((command_id, command)) = command_of(&recorded) else { return Ok(None) };
        // The order is commanded by the saga's own role, directly.
        if command.participant() == Participant::Order {
            return Ok(None);
        }
        Ok(Some(message(log_id, &recorded, command_id, command)))
    }
}

/// Spares decoding what cannot be meant.
fn may_hold_command(event: &RawRecorded) -> bool {
    event.stream_id.category() == FulfilmentEvent::CATEGORY
        && ["StepDecided", "UndoDecided", "StepResent"].contains(&event.event_type.as_str())
}

/// Whether the event decides what is waited for next, or sends it once more.
pub(crate) fn holds_intent(event: &FulfilmentEvent) -> bool {
    match event {
        FulfilmentEvent::StepDecided(_) | FulfilmentEvent::UndoDecided(_) | FulfilmentEvent::StepResent(_) => true,
        FulfilmentEvent::Started(_)
        | FulfilmentEvent::StepSucceeded(_)
        | FulfilmentEvent::StepRefused(_)
        | FulfilmentEvent::StepUnknown(_)
        | FulfilmentEvent::UndoSucceeded(_)
        | FulfilmentEvent::NeedsAttention(_)
        | FulfilmentEvent::Completed(_)
        | FulfilmentEvent::Unwound(_) => false,
    }
}

/// The command that an event of a saga's stream records, with its id.
pub(crate) fn command_of(event: &Recorded<DomainEvent>) -> Option<(CommandId, &ParticipantCommand)> {
    let DomainEvent::Fulfilment(event) = &event.payload else { return None };
    match event {
        FulfilmentEvent::StepDecided(decided) => Some((decided.command_id, decided.command.as_ref()?)),
        FulfilmentEvent::UndoDecided(undo) => Some((undo.command_id, &undo.command)),
        FulfilmentEvent::StepResent(resent) => Some((resent.command_id, &resent.command)),
        FulfilmentEvent::Started(_)
        | FulfilmentEvent::StepSucceeded(_)
        | FulfilmentEvent::StepRefused(_)
        | FulfilmentEvent::StepUnknown(_)
        | FulfilmentEvent::UndoSucceeded(_)
        | FulfilmentEvent::NeedsAttention(_)
        | FulfilmentEvent::Completed(_)
        | FulfilmentEvent::Unwound(_) => None,
    }
}

fn message(
    log_id: &LogId,
    event: &Recorded<DomainEvent>,
    command_id: CommandId,
    command: &ParticipantCommand,
) -> Message {
    let metadata = &event.metadata;
    let message = CommandMessage {
        command_id,
        correlation_id: metadata.correlation_id,
        tenant: metadata.tenant.clone(),
        actor: metadata.actor.clone(),
        traceparent: metadata.traceparent.clone(),
        position: LogPosition::new(log_id.clone(), event.position),
        command: command.clone(),
    };
    Message {
        exchange: COMMANDS_EXCHANGE,
        routing_key: command_queue(command.participant(), metadata.correlated_order()),
        mandatory: true,
        properties: BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(command_id.to_string().into()),
        body: serde_json::to_vec(&message).expect("a command is plain data with string keys, which JSON can express"),
    }
}

/// Where the intents of everything that is open stand in the log.
pub(crate) async fn open_intents(pool: &PgPool) -> Result<Vec<i64>, Error> {
    sqlx::query_scalar("SELECT intent_position FROM saga_deadlines ORDER BY intent_position")
        .fetch_all(pool)
        .await
        .map_err(Error::doing("read what sagas wait for"))
}
