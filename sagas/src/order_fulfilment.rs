//! Fulfils a placed order: stock, money, the order's yes, the parcel. Undone in reverse up to the pivot; a booking even after it,
//! as long as the parcel has not left.
//!
//! To add a step: a row here, a function that makes its command, and, where it is a new one, the command in `events`.

use events::{PaymentId, ShipmentId, fulfilment::FulfilmentStarted, participant::ParticipantCommand as Command};

use crate::saga::{Run, Saga, Setup, awaits, compensatable, days, hours, minutes, on, on_done, pivot, retriable, undo};

#[rustfmt::skip] // a table
pub static ORDER_FULFILMENT: Saga = Saga {
    name: "order_fulfilment",
    starts_on: "OrderPlaced",
    stops_on: &["OrderCancellationRequested", "OrderCancelled"],
    stops_until: "await_dispatch",
    steps: &[
        compensatable("reserve_stock",     reserve_stock,     on("StockReserved", "StockRefused"),
                      undo(release_stock, on_done("StockReleased")),                                                minutes(2)).when(has_goods),
        compensatable("authorise_payment", authorise_payment, on("PaymentAuthorised", "PaymentDeclined"),
                      undo(void_payment, on("PaymentVoided", "VoidRefused")),                                       minutes(15)).when(has_price),
        pivot        ("confirm_order",     confirm_order,     on("OrderConfirmed", "OrderCancelled"),               minutes(1)),
        retriable    ("book_shipment",     book_shipment,     on("ShipmentBooked", "ShipmentRefused"),              hours(1)).when(has_goods).tried(carriers)
                      .unless_refused(cancel_shipment, on("ShipmentCancelled", "ShipmentCancellationRefused")),
        awaits       ("await_dispatch",    "book_shipment",   on_done("ShipmentDispatched"),                        days(7)).when(has_goods),
        retriable    ("record_shipment",   record_shipment,   on_done("OrderShipped"),                              minutes(15)).when(has_goods),
        retriable    ("commit_stock",      commit_stock,      on_done("StockCommitted"),                            minutes(15)).when(has_goods),
        retriable    ("capture_payment",   capture_payment,   on("PaymentCaptured", "CaptureRefused"),              hours(1)).when(has_price),
        retriable    ("complete_order",    complete_order,    on_done("OrderCompleted"),                            minutes(15)),
    ],
    last_of_unwinding:
        retriable    ("cancel_order",      cancel_order,      on_done("OrderCancelled"),                            minutes(15)),
};

const _: () = ORDER_FULFILMENT.check();

/// Orders of services only have nothing to take from a shelf, or to ship.
fn has_goods(order: &FulfilmentStarted) -> bool {
    !order.lines.is_empty()
}

/// Nobody is asked to authorise nothing.
fn has_price(order: &FulfilmentStarted) -> bool {
    order.total.amount_minor > 0
}

/// Each carrier is asked once.
fn carriers(setup: &Setup) -> u32 {
    u32::try_from(setup.carriers.len()).unwrap_or(u32::MAX)
}

fn reserve_stock(run: &Run<'_>) -> Command {
    let lines = run.order.lines.clone();
    Command::ReserveStock { order_id: run.order_id(), location: run.location(), effect_key: run.key(), lines }
}

fn release_stock(run: &Run<'_>) -> Command {
    Command::ReleaseStock { order_id: run.order_id(), location: run.location(), effect_key: run.key() }
}

fn authorise_payment(run: &Run<'_>) -> Command {
    Command::AuthorisePayment {
        payment_id: PaymentId::of(run.order_id(), run.occurrence),
        order_id: run.order_id(),
        effect_key: run.key(),
        amount: run.order.total,
        token: run.order.payment_token.clone(),
    }
}

fn void_payment(run: &Run<'_>) -> Command {
    Command::VoidPayment {
        payment_id: PaymentId::of(run.order_id(), run.occurrence),
        order_id: run.order_id(),
        effect_key: run.undo_key(),
        authorisation_key: run.key(),
    }
}

fn confirm_order(run: &Run<'_>) -> Command {
    Command::ConfirmOrder { order_id: run.order_id(), payment_id: payment(run) }
}

fn book_shipment(run: &Run<'_>) -> Command {
    Command::BookShipment {
        shipment_id: ShipmentId::of(run.order_id(), run.occurrence),
        order_id: run.order_id(),
        effect_key: run.key(),
        carrier: carrier(run),
        delivery: run.order.delivery.clone(),
        lines: run.order.lines.clone(),
    }
}

fn cancel_shipment(run: &Run<'_>) -> Command {
    Command::CancelShipment {
        shipment_id: ShipmentId::of(run.order_id(), run.occurrence),
        order_id: run.order_id(),
        effect_key: run.undo_key(),
        carrier: carrier(run),
        booking_key: run.key(),
    }
}

fn record_shipment(run: &Run<'_>) -> Command {
    Command::RecordShipment {
        order_id: run.order_id(),
        shipment_id: ShipmentId::of(run.order_id(), run.occurrence_of("book_shipment")),
        tracking: run.tracking.into(),
    }
}

fn commit_stock(run: &Run<'_>) -> Command {
    Command::CommitStock { order_id: run.order_id(), location: run.location(), effect_key: run.key_of("reserve_stock") }
}

fn capture_payment(run: &Run<'_>) -> Command {
    Command::CapturePayment {
        payment_id: payment(run),
        order_id: run.order_id(),
        effect_key: run.key(),
        amount: run.order.total,
    }
}

fn complete_order(run: &Run<'_>) -> Command {
    Command::CompleteOrder { order_id: run.order_id() }
}

fn cancel_order(run: &Run<'_>) -> Command {
    Command::CancelOrder { order_id: run.order_id(), reason: run.reason.into() }
}

fn payment(run: &Run<'_>) -> PaymentId {
    PaymentId::of(run.order_id(), run.occurrence_of("authorise_payment"))
}

/// The carrier of this occurrence; for an undo, the one that was asked. The last one stands in should the list have become shorter.
fn carrier(run: &Run<'_>) -> String {
    if let Some(Command::BookShipment { carrier, .. }) = run.undoes {
        return carrier.clone();
    }
    let index = usize::try_from(run.occurrence.saturating_sub(1)).unwrap_or(usize::MAX);
    let carriers = &run.setup.carriers;
    carriers.get(index).or(carriers.last()).cloned().unwrap_or_default()
}
