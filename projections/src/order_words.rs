//! Events in words: the sentences of an order's timeline, and what an outstanding step waits for.

use std::fmt::Write;

use events::{
    DomainEvent, FulfilmentEvent, InventoryEvent, OrderEvent, PaymentEvent, ProductEvent, ShipmentEvent,
    fulfilment::Direction, inventory::StockLine, participant::ParticipantCommand,
};

/// What happened, as a sentence. No addresses and no tokens: the sentence may be shown to anyone who may see the order.
pub(crate) fn sentence(event: &DomainEvent) -> String {
    match event {
        DomainEvent::Product(event) => product(event).into(),
        DomainEvent::Inventory(event) => inventory(event),
        DomainEvent::Order(event) => order(event),
        DomainEvent::Payment(event) => payment(event),
        DomainEvent::Shipment(event) => shipment(event),
        DomainEvent::Fulfilment(event) => fulfilment(event),
        DomainEvent::Foreign(_) => "Something happened outside.".into(),
    }
}

const fn product(event: &ProductEvent) -> &'static str {
    match event {
        ProductEvent::Listed(_) => "An article was listed.",
        ProductEvent::Described(_) => "An article was described anew.",
        ProductEvent::Repriced(_) => "An article got a new price.",
        ProductEvent::Delisted(_) => "An article is no longer sold.",
    }
}

fn order(event: &OrderEvent) -> String {
    match event {
        OrderEvent::Placed(event) => {
            let lines = event.lines.len();
            format!("The order was placed: {lines} {}, {}.", plural(lines, "line", "lines"), event.total)
        }
        OrderEvent::Confirmed(_) => "The order was confirmed: stock and payment are secured.".into(),
        OrderEvent::CancellationRequested(event) => format!("Cancellation was asked for: {}.", event.reason),
        OrderEvent::Cancelled(event) => format!("The order was cancelled: {}.", event.reason),
        OrderEvent::Shipped(event) => format!("The order was shipped under tracking number {}.", event.tracking),
        OrderEvent::Completed(_) => "The order is complete.".into(),
    }
}

fn inventory(event: &InventoryEvent) -> String {
    match event {
        InventoryEvent::Received(event) => format!("{} came in at {}.", pieces(&event.lines), event.location),
        InventoryEvent::Adjusted(event) => {
            format!("The count of {} at {} was corrected by {}.", event.sku, event.location, event.delta)
        }
        InventoryEvent::Reserved(event) => format!("{} reserved at {}.", pieces(&event.lines), event.location),
        InventoryEvent::Refused(event) if event.shortages.is_empty() => {
            format!("{} did not reserve: the reservation had been released before it came.", event.location)
        }
        InventoryEvent::Refused(event) => {
            let mut text = format!("Not enough stock at {}:", event.location);
            for (index, short) in event.shortages.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let _ = write!(text, "{comma} {} of {} wanted, {} there", short.wanted, short.sku, short.available);
            }
            text + "."
        }
        InventoryEvent::Released(event) if event.lines.is_empty() => {
            format!("{} keeps nothing for this order, and will not if a late reservation comes.", event.location)
        }
        InventoryEvent::Released(event) => format!("{} released at {}.", pieces(&event.lines), event.location),
        InventoryEvent::Committed(event) => format!("{} left {}.", pieces(&event.lines), event.location),
        InventoryEvent::PutBack(event) => format!("{} put back at {}.", pieces(&event.lines), event.location),
    }
}

fn payment(event: &PaymentEvent) -> String {
    match event {
        PaymentEvent::AuthorisationRequested(event) => {
            format!("The payment provider was asked to authorise {}.", event.amount)
        }
        PaymentEvent::Authorised(event) => format!("A payment of {} was authorised.", event.amount),
        PaymentEvent::Declined(event) => format!("The payment was declined: {}.", event.reason),
        PaymentEvent::CaptureRequested(event) => format!("The payment provider was asked to capture {}.", event.amount),
        PaymentEvent::Captured(event) => format!("{} were captured.", event.amount),
        PaymentEvent::CaptureRefused(event) => format!("The capture was refused: {}.", event.reason),
        PaymentEvent::VoidRequested(_) => "The payment provider was asked to void the payment.".into(),
        PaymentEvent::Voided(_) => "The payment was voided.".into(),
        PaymentEvent::VoidRefused(event) => format!("Voiding the payment was refused: {}.", event.reason),
        PaymentEvent::RefundRequested(event) => format!("The payment provider was asked to refund {}.", event.amount),
        PaymentEvent::Refunded(event) => format!("{} were refunded.", event.amount),
        PaymentEvent::RefundRefused(event) => format!("The refund was refused: {}.", event.reason),
    }
}

fn shipment(event: &ShipmentEvent) -> String {
    match event {
        ShipmentEvent::Requested(event) => {
            format!("The carrier {} was asked for a shipment of {}.", event.carrier, pieces(&event.lines))
        }
        ShipmentEvent::Booked(event) => {
            format!("{} booked the shipment under tracking number {}.", event.carrier, event.tracking)
        }
        ShipmentEvent::Refused(event) => format!("{} refused the shipment: {}.", event.carrier, event.reason),
        ShipmentEvent::Dispatched(event) => format!("The parcel {} was dispatched.", event.tracking),
        ShipmentEvent::Delivered(event) => format!("The parcel {} was delivered.", event.tracking),
        ShipmentEvent::CancellationRequested(event) => format!("{} was asked to cancel the shipment.", event.carrier),
        ShipmentEvent::Cancelled(event) => format!("The shipment was cancelled: {}.", event.reason),
        ShipmentEvent::CancellationRefused(event) => format!("The shipment could not be cancelled: {}.", event.reason),
    }
}

fn fulfilment(event: &FulfilmentEvent) -> String {
    match event {
        FulfilmentEvent::Started(_) => "The fulfilment started.".into(),
        FulfilmentEvent::StepDecided(event) => match &event.command {
            Some(command) => format!("Decided to {}.", wish(command)),
            None => format!("Waits for {}.", outstanding(&event.step, None, Course { goods: true, price: true }).0),
        },
        FulfilmentEvent::StepResent(event) => {
            format!("No answer yet: asked again to {}, attempt {}.", wish(&event.command), event.attempt)
        }
        FulfilmentEvent::StepSucceeded(event) => format!("Done: {}.", spoken(&event.step)),
        FulfilmentEvent::StepRefused(event) => format!("Refused: {}: {}.", spoken(&event.step), event.reason),
        FulfilmentEvent::StepUnknown(event) => {
            format!("No answer in time: {}. It may or may not have happened.", spoken(&event.step))
        }
        FulfilmentEvent::UndoDecided(event) => format!("Decided to {}.", wish(&event.command)),
        FulfilmentEvent::UndoSucceeded(event) => format!("Undone: {}.", spoken(&event.step)),
        FulfilmentEvent::NeedsAttention(event) => {
            let undoing = if event.direction == Direction::Undo { "undoing " } else { "" };
            format!("A person must decide: {undoing}{}: {}.", spoken(&event.step), event.reason)
        }
        FulfilmentEvent::Completed(_) => "The fulfilment is complete.".into(),
        FulfilmentEvent::Unwound(event) => format!("Everything done so far was undone: {}.", event.reason),
    }
}

/// Which steps an order goes through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Something is taken from a shelf and shipped.
    pub(crate) goods: bool,
    /// Something is to be paid.
    pub(crate) price: bool,
}

/// What a step that is under way waits for, and what comes after it.
pub(crate) fn outstanding(
    step: &str,
    command: Option<&ParticipantCommand>,
    course: Course,
) -> (String, Option<&'static str>) {
    use ParticipantCommand as C;
    let paying = if course.price { "capture the payment" } else { "complete the order" };
    let (waiting_for, next) = match command {
        None if step == "await_dispatch" => ("the carrier to dispatch the parcel", Some("record the shipment")),
        // A step without a command waits for somebody outside, by the name that the saga gave it.
        None => return (spoken(step), None),
        Some(C::ReserveStock { .. }) => {
            ("the stock to be reserved", Some(if course.price { "authorise the payment" } else { "confirm the order" }))
        }
        Some(C::ReleaseStock { .. }) => ("the reserved stock to be released", None),
        Some(C::CommitStock { .. }) => ("the stock to be booked out", Some(paying)),
        Some(C::PutBackStock { .. }) => ("the stock to be put back", None),
        Some(C::AuthorisePayment { .. }) => ("the payment to be authorised", Some("confirm the order")),
        Some(C::VoidPayment { .. }) => ("the payment to be voided", None),
        Some(C::CapturePayment { .. }) => ("the payment to be captured", Some("complete the order")),
        Some(C::RefundPayment { .. }) => ("the payment to be refunded", None),
        Some(C::BookShipment { .. }) => ("a carrier to take the shipment", Some("wait for the carrier to dispatch it")),
        Some(C::CancelShipment { .. }) => ("the shipment to be cancelled", None),
        Some(C::ConfirmOrder { .. }) => {
            ("the order to be confirmed", Some(if course.goods { "book the shipment" } else { paying }))
        }
        Some(C::CancelOrder { .. }) => ("the order to be cancelled", None),
        Some(C::RecordShipment { .. }) => ("the shipment to be recorded", Some("book the stock out")),
        Some(C::CompleteOrder { .. }) => ("the order to be completed", None),
    };
    (waiting_for.into(), next)
}

/// A command as a wish: "reserve the stock".
fn wish(command: &ParticipantCommand) -> String {
    use ParticipantCommand as C;
    match command {
        C::ReserveStock { lines, location, .. } => format!("reserve {} at {location}", pieces(lines)),
        C::ReleaseStock { location, .. } => format!("release the reservation at {location}"),
        C::CommitStock { location, .. } => format!("book the stock out at {location}"),
        C::PutBackStock { location, .. } => format!("put the stock back at {location}"),
        C::AuthorisePayment { amount, .. } => format!("authorise a payment of {amount}"),
        C::VoidPayment { .. } => "void the payment".into(),
        C::CapturePayment { amount, .. } => format!("capture {amount}"),
        C::RefundPayment { amount, .. } => format!("refund {amount}"),
        C::BookShipment { carrier, .. } => format!("book a shipment with {carrier}"),
        C::CancelShipment { carrier, .. } => format!("cancel the shipment with {carrier}"),
        C::ConfirmOrder { .. } => "confirm the order".into(),
        C::CancelOrder { reason, .. } => format!("cancel the order: {reason}"),
        C::RecordShipment { tracking, .. } => format!("record the shipment {tracking}"),
        C::CompleteOrder { .. } => "complete the order".into(),
    }
}

/// A step's name without its underscores.
fn spoken(step: &str) -> String {
    step.replace('_', " ")
}

fn pieces(lines: &[StockLine]) -> String {
    let count = lines.iter().map(|line| u64::from(line.quantity)).sum::<u64>();
    let (pieces, articles) = (if count == 1 { "piece" } else { "pieces" }, plural(lines.len(), "article", "articles"));
    format!("{count} {pieces} of {} {articles}", lines.len())
}

const fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
