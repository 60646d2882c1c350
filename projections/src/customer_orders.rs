//! customer-orders: a customer's orders, newest first. Redis: a summary per order, and a list per customer that names them by time.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use events::{CustomerId, DomainEvent, LocationId, Money, OrderEvent, OrderId, Recorded, StreamVersion};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{OrderStatus, Place, ReadModel};

/// An order in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderSummary {
    pub id: OrderId,
    pub customer_id: CustomerId,
    pub status: OrderStatus,
    pub total: Money,
    /// How many lines the order has.
    pub lines: u32,
    pub location: LocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When it was placed in the shop.
    pub placed_at: DateTime<Utc>,
    pub needs_attention: bool,
    /// Of the order's own stream.
    pub version: StreamVersion,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CustomerOrdersKey {
    Order(OrderId),
    /// An order's place in its customer's list; `member` sorts by time, then by id.
    Listed {
        customer_id: CustomerId,
        member: String,
    },
}

pub struct CustomerOrders;

impl ReadModel for CustomerOrders {
    const NAME: &'static str = "customer-orders";
    const VERSION: u32 = 1;
    type Key = CustomerOrdersKey;
    type Document = OrderSummary;

    fn keys(event: &Recorded<DomainEvent>) -> impl IntoIterator<Item = CustomerOrdersKey> {
        let order = summarised_order(event).map(CustomerOrdersKey::Order);
        let listed = match &event.payload {
            DomainEvent::Order(OrderEvent::Placed(placed)) => Some(CustomerOrdersKey::Listed {
                customer_id: placed.customer_id.clone(),
                member: member(event.happened_at(), placed.order_id),
            }),
            DomainEvent::Order(_)
            | DomainEvent::Product(_)
            | DomainEvent::Inventory(_)
            | DomainEvent::Payment(_)
            | DomainEvent::Shipment(_)
            | DomainEvent::Fulfilment(_)
            | DomainEvent::Foreign(_) => None,
        };
        order.into_iter().chain(listed)
    }

    fn apply(
        _: &CustomerOrdersKey,
        summary: Option<OrderSummary>,
        event: &Recorded<DomainEvent>,
    ) -> Option<OrderSummary> {
        summarise(summary, event)
    }

    fn place(key: &CustomerOrdersKey) -> Place<'_> {
        match key {
            CustomerOrdersKey::Order(id) => Place::Document(Cow::Owned(id.to_string())),
            CustomerOrdersKey::Listed { customer_id, member } => {
                Place::Member { list: customer_id.as_str(), member: Cow::Borrowed(member) }
            }
        }
    }
}

/// Sorts like (time, id): the time has a fixed width in microseconds, shifted so that no year is negative.
pub(crate) fn member(placed_at: DateTime<Utc>, id: OrderId) -> String {
    format!("{:016x}{id}", placed_at.timestamp_micros().wrapping_sub(i64::MIN))
}

/// The order that a member of a list names.
pub(crate) fn member_order(member: &str) -> Option<OrderId> {
    member.get(16..)?.parse().ok()
}

/// The order whose summary the event may change.
pub(crate) fn summarised_order(event: &Recorded<DomainEvent>) -> Option<OrderId> {
    use events::FulfilmentEvent as F;
    match &event.payload {
        DomainEvent::Order(order) => Some(order.order_id()),
        DomainEvent::Fulfilment(fulfilment @ (F::NeedsAttention(_) | F::Completed(_) | F::Unwound(_))) => {
            Some(fulfilment.order_id())
        }
        DomainEvent::Fulfilment(
            F::Started(_)
            | F::StepDecided(_)
            | F::StepResent(_)
            | F::StepSucceeded(_)
            | F::StepRefused(_)
            | F::StepUnknown(_)
            | F::UndoDecided(_)
            | F::UndoSucceeded(_),
        )
        | DomainEvent::Product(_)
        | DomainEvent::Inventory(_)
        | DomainEvent::Payment(_)
        | DomainEvent::Shipment(_)
        | DomainEvent::Foreign(_) => None,
    }
}

/// The pure fold of an order into its summary; the order index uses it too.
pub(crate) fn summarise(summary: Option<OrderSummary>, event: &Recorded<DomainEvent>) -> Option<OrderSummary> {
    use events::FulfilmentEvent as F;
    match &event.payload {
        DomainEvent::Order(order) => fold_order_event(summary, order, event),
        DomainEvent::Fulfilment(F::NeedsAttention(_)) => {
            summary.map(|order| OrderSummary { needs_attention: true, ..order })
        }
        DomainEvent::Fulfilment(F::Completed(_) | F::Unwound(_)) => {
            summary.map(|order| OrderSummary { needs_attention: false, ..order })
        }
        DomainEvent::Fulfilment(
            F::Started(_)
            | F::StepDecided(_)
            | F::StepResent(_)
            | F::StepSucceeded(_)
            | F::StepRefused(_)
            | F::StepUnknown(_)
            | F::UndoDecided(_)
            | F::UndoSucceeded(_),
        )
        | DomainEvent::Product(_)
        | DomainEvent::Inventory(_)
        | DomainEvent::Payment(_)
        | DomainEvent::Shipment(_)
        | DomainEvent::Foreign(_) => summary,
    }
}

fn fold_order_event(
    summary: Option<OrderSummary>,
    order: &OrderEvent,
    event: &Recorded<DomainEvent>,
) -> Option<OrderSummary> {
    let (status, still_stuck) = match order {
        OrderEvent::Placed(placed) => {
            return Some(OrderSummary {
                id: placed.order_id,
                customer_id: placed.customer_id.clone(),
                status: OrderStatus::Placed,
                total: placed.total,
                lines: u32::try_from(placed.lines.len()).unwrap_or(u32::MAX),
                location: placed.location.clone(),
                reference: placed.reference.clone(),
                placed_at: event.happened_at(),
                needs_attention: false,
                version: event.stream_version,
            });
        }
        OrderEvent::Confirmed(_) => (OrderStatus::Confirmed, true),
        OrderEvent::CancellationRequested(_) => (OrderStatus::CancellationRequested, true),
        OrderEvent::Cancelled(_) => (OrderStatus::Cancelled, true),
        // The step that was stuck has been done after all.
        OrderEvent::Shipped(_) => (OrderStatus::Shipped, false),
        OrderEvent::Completed(_) => (OrderStatus::Completed, false),
    };
    summary.map(|summary| OrderSummary {
        status,
        needs_attention: summary.needs_attention && still_stuck,
        version: event.stream_version,
        ..summary
    })
}
