//! The order page folded from the log on demand, while the view is gone. Within a small budget: the log is not for reading pages.
//!
//! Reads the order's own streams, which the fulfilment names, and of the stock's long stream only the moments that concern the order.

use std::{collections::BTreeSet, time::Duration};

use events::{
    DomainEvent, FulfilmentEvent, Log, LogError, OrderId, Position, Recorded, StreamId, participant::ParticipantCommand,
};
use http_api::{Code, Problem};
use projections::{OrderDocument, Read, fold_order_events};
use tokio::sync::Semaphore;

/// For everything: the streams and the moments of the stock.
const TIME_MAX: Duration = Duration::from_secs(1);
const STREAM_EVENTS_MAX: u32 = 1_000;
/// Between the decision to ask for stock and the answer. Where it took longer, the page lacks that sentence.
const MOMENT_EVENTS_MAX: i64 = 500;
const RETRY_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum FoldError {
    #[error("cannot read the order's streams")]
    Log(#[from] LogError),
    #[error("{0} is too long to be folded on demand")]
    TooLong(StreamId),
    #[error("the time for folding an order page is up")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    #[error("too many order pages are being folded")]
    TooMany(#[from] tokio::sync::TryAcquireError),
}

/// The order as of the head of the log. Refuses (503) when the budget is used up or the log is gone as well.
pub(crate) async fn order_from_log(
    log: &Log,
    budget: &Semaphore,
    id: OrderId,
) -> Result<Read<Option<OrderDocument>>, Problem> {
    let within_budget = async {
        let _permit = budget.try_acquire()?;
        tokio::time::timeout(TIME_MAX, fold(log, id)).await?
    };
    within_budget.await.map_err(|error| match &error {
        FoldError::Log(cause) if !cause.is_transient() => Problem::internal("fold an order from the log", &error),
        FoldError::Log(_) | FoldError::TooLong(_) | FoldError::TimedOut(_) | FoldError::TooMany(_) => {
            Problem::unavailable(Code::ViewUnavailable, RETRY_AFTER).caused_by(&error)
        }
    })
}

async fn fold(log: &Log, id: OrderId) -> Result<Read<Option<OrderDocument>>, FoldError> {
    // Read first, so that everything up to it is in what is read after it.
    let head = log.head().await?;
    let mut events = stream(log, id.stream()).await?;
    let fulfilment = stream(log, id.fulfilment_stream()).await?;
    for other in streams_of(&fulfilment) {
        events.extend(stream(log, other).await?);
    }
    for (after, before) in stock_moments(&fulfilment, head) {
        let length = u32::try_from(before.0 - after.0).unwrap_or(0);
        let page = log.page(after, length).await?;
        let of_stock = |event: &Recorded<_>| matches!(event.payload, DomainEvent::Inventory(_));
        events.extend(page.into_iter().filter(|event| of_stock(event) && event.payload.order_id() == Some(id)));
    }
    events.extend(fulfilment);
    events.sort_by_key(|event| event.position);
    events.dedup_by_key(|event| event.position);
    let position = events::LogPosition::new(log.id().clone(), head);
    Ok(Read { value: fold_order_events(&events), position })
}

async fn stream(log: &Log, id: StreamId) -> Result<Vec<Recorded<DomainEvent>>, FoldError> {
    let events = log.stream(&id, 0, STREAM_EVENTS_MAX).await?;
    if events.len() < STREAM_EVENTS_MAX as usize { Ok(events) } else { Err(FoldError::TooLong(id)) }
}

/// The payments and shipments that the fulfilment asked for.
fn streams_of(fulfilment: &[Recorded<DomainEvent>]) -> BTreeSet<StreamId> {
    let stream = |command: &ParticipantCommand| match command {
        ParticipantCommand::AuthorisePayment { payment_id, .. }
        | ParticipantCommand::VoidPayment { payment_id, .. }
        | ParticipantCommand::CapturePayment { payment_id, .. }
        | ParticipantCommand::RefundPayment { payment_id, .. } => Some(payment_id.stream()),
        ParticipantCommand::BookShipment { shipment_id, .. }
        | ParticipantCommand::CancelShipment { shipment_id, .. } => Some(shipment_id.stream()),
        ParticipantCommand::ReserveStock { .. }
        | ParticipantCommand::ReleaseStock { .. }
        | ParticipantCommand::CommitStock { .. }
        | ParticipantCommand::PutBackStock { .. }
        | ParticipantCommand::ConfirmOrder { .. }
        | ParticipantCommand::CancelOrder { .. }
        | ParticipantCommand::RecordShipment { .. }
        | ParticipantCommand::CompleteOrder { .. } => None,
    };
    fulfilment.iter().filter_map(|event| decided(event).and_then(stream)).collect()
}

/// Where in the log the answers of the stock stand: after each decision to ask, before the fulfilment's next own event.
fn stock_moments(fulfilment: &[Recorded<DomainEvent>], head: Position) -> Vec<(Position, Position)> {
    let asks_stock = |event: &&Recorded<DomainEvent>| {
        decided(event).is_some_and(|command| {
            matches!(
                command,
                ParticipantCommand::ReserveStock { .. }
                    | ParticipantCommand::ReleaseStock { .. }
                    | ParticipantCommand::CommitStock { .. }
                    | ParticipantCommand::PutBackStock { .. }
            )
        })
    };
    let end = |after: Position| {
        let next = fulfilment.iter().map(|event| event.position).find(|position| *position > after);
        next.unwrap_or(head)
    };
    let moments = fulfilment.iter().filter(asks_stock).map(|event| (event.position, end(event.position)));
    moments.filter(|(after, before)| (1..=MOMENT_EVENTS_MAX).contains(&(before.0 - after.0))).collect()
}

fn decided(event: &Recorded<DomainEvent>) -> Option<&ParticipantCommand> {
    let DomainEvent::Fulfilment(fulfilment) = &event.payload else { return None };
    match fulfilment {
        FulfilmentEvent::StepDecided(decided) => decided.command.as_ref(),
        FulfilmentEvent::UndoDecided(decided) => Some(&decided.command),
        FulfilmentEvent::StepResent(resent) => Some(&resent.command),
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
