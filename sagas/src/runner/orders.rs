//! A saga's commands to the order itself: carried out here, once they are in the log, under the saga's command id.

use backon::{ExponentialBuilder, Retryable};
use events::{
    CommandId, DomainEvent, Metadata, OrderEvent, OrderId, Position, Recorded,
    participant::{Participant, ParticipantCommand},
};
use write_side::{
    Aggregate, CommandError, Context, EventStore, Loaded, StoreError,
    domain::order::{Order, OrderCommand},
    handle_known,
};

use super::turns::Heard;
use crate::{Error, error::chain, fact::Fact, relay::command_of};

/// A command to an order, as a saga's stream records it.
pub(super) struct OrderWork {
    pub order_id: OrderId,
    pub command_id: CommandId,
    command: OrderCommand,
    metadata: Metadata,
    pub position: Position,
}

/// How an order was left, and what it answered where the log does not tell it.
pub(super) struct Asked {
    pub order_id: OrderId,
    pub known: Option<Loaded<Order>>,
    pub answer: Option<Heard>,
}

/// An order as it is right after it was placed.
pub(super) fn placed(event: &Recorded<DomainEvent>) -> Option<Loaded<Order>> {
    match &event.payload {
        DomainEvent::Order(placed @ OrderEvent::Placed(_)) => {
            let (state, version) = (Order::default().evolve(placed), event.stream_version);
            Some(Loaded { state, version, answered: None })
        }
        DomainEvent::Order(_)
        | DomainEvent::Product(_)
        | DomainEvent::Inventory(_)
        | DomainEvent::Payment(_)
        | DomainEvent::Shipment(_)
        | DomainEvent::Fulfilment(_)
        | DomainEvent::Foreign(_) => None,
    }
}

impl OrderWork {
    /// None for an event that holds no command to an order.
    pub(super) fn of(event: &Recorded<DomainEvent>) -> Option<Self> {
        let (command_id, command) = command_of(event)?;
        if command.participant() != Participant::Order {
            return None;
        }
        let (order_id, command) = to_domain(command)?;
        Some(Self { order_id, command_id, command, metadata: event.metadata.clone(), position: event.position })
    }

    /// Commands the order. `known`: as it was left last.
    pub(super) async fn carry_out(self, store: &EventStore, known: Option<Loaded<Order>>) -> Result<Asked, Error> {
        let context = Context {
            command_id: self.command_id,
            correlation_id: self.metadata.correlation_id,
            actor: self.metadata.actor.clone(),
            tenant: self.metadata.tenant.clone(),
            traceparent: self.metadata.traceparent.clone(),
            business_time: None,
            body_hash: None,
            once_in: None,
        };
        let stream = self.order_id.stream();
        let attempt = || handle_known::<Order>(store, &stream, known.clone(), self.command.clone(), &context);
        let patience = ExponentialBuilder::default().with_max_times(5).with_jitter();
        let outcome = match attempt.retry(patience).when(passes).await {
            // Something was recorded since the saga decided, so the saga will hear it.
            Ok((handled, known)) if handled.position > self.position => return Ok(self.asked(Some(known), None)),
            // It was so already, or a rule said no: the log does not tell.
            Ok(_) => Ok(()),
            Err(CommandError::Rejected(error)) => Err(error.to_string()),
            Err(CommandError::Store(error)) => return Err(error.into()),
            Err(error @ (CommandError::Contended | CommandError::KeyReused | CommandError::Stale { .. })) => {
                tracing::warn!(order.id = %self.order_id, error = chain(&error), "the order will be asked again");
                return Ok(self.asked(None, None));
            }
        };
        let fact = Fact::Answered { command_id: self.command_id, outcome };
        let heard = Heard::by_itself(self.order_id, fact, self.position, store.clock().now());
        Ok(self.asked(None, Some(heard)))
    }

    fn asked(&self, known: Option<Loaded<Order>>, answer: Option<Heard>) -> Asked {
        Asked { order_id: self.order_id, known, answer }
    }
}

fn passes<E: std::error::Error>(error: &CommandError<E>) -> bool {
    match error {
        CommandError::Contended => true,
        CommandError::Store(error) => error.is_transient() && !matches!(error, StoreError::Closed),
        CommandError::Rejected(_) | CommandError::KeyReused | CommandError::Stale { .. } => false,
    }
}

fn to_domain(command: &ParticipantCommand) -> Option<(OrderId, OrderCommand)> {
    match command.clone() {
        ParticipantCommand::ConfirmOrder { order_id, payment_id } => {
            Some((order_id, OrderCommand::Confirm { payment_id }))
        }
        ParticipantCommand::CancelOrder { order_id, reason } => Some((order_id, OrderCommand::Cancel { reason })),
        ParticipantCommand::RecordShipment { order_id, shipment_id, tracking } => {
            Some((order_id, OrderCommand::RecordShipment { shipment_id, tracking }))
        }
        ParticipantCommand::CompleteOrder { order_id } => Some((order_id, OrderCommand::Complete)),
        ParticipantCommand::ReserveStock { .. }
        | ParticipantCommand::ReleaseStock { .. }
        | ParticipantCommand::CommitStock { .. }
        | ParticipantCommand::PutBackStock { .. }
        | ParticipantCommand::AuthorisePayment { .. }
        | ParticipantCommand::VoidPayment { .. }
        | ParticipantCommand::CapturePayment { .. }
        | ParticipantCommand::RefundPayment { .. }
        | ParticipantCommand::BookShipment { .. }
        | ParticipantCommand::CancelShipment { .. } => None,
    }
}
