//! `order-{id}`: from placed to completed or cancelled. Its stream arbitrates: confirmation and cancellation cannot both win.

#[cfg(test)]
mod tests;

use events::{
    Money, MoneyError, OrderEvent, OrderId, PaymentId, ShipmentId, Sku,
    order::{
        OrderCancellationRequested, OrderCancelled, OrderCompleted, OrderConfirmed, OrderLine, OrderPlaced,
        OrderShipped,
    },
    product::ProductKind,
};

use super::Aggregate;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Unplaced,
    /// Placed, before the pivot: stock and money are being held.
    AwaitingConfirmation(Open),
    /// Past the pivot: only a person, or a customer whose parcel has not left, undoes it.
    Confirmed(Open),
    Shipped(OrderId),
    Completed,
    Cancelled,
}

/// An order whose parcel has not left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub order_id: OrderId,
    /// An order of services alone has nothing to ship.
    pub has_goods: bool,
    /// Why the customer wants it cancelled, once that was asked.
    pub cancellation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    Place {
        order: OrderPlaced,
    },
    /// The saga's pivot. Where the customer's wish to cancel was faster, it ends in `OrderCancelled`.
    Confirm {
        payment_id: PaymentId,
    },
    /// The customer's wish, until the parcel has left; the saga acts on it.
    RequestCancellation {
        reason: String,
    },
    /// The saga's last word, after everything else is undone.
    Cancel {
        reason: String,
    },
    RecordShipment {
        shipment_id: ShipmentId,
        tracking: String,
    },
    Complete,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the order is already placed")]
    AlreadyPlaced,
    #[error("there is no such order")]
    NotPlaced,
    #[error("an order needs at least one line")]
    NoLines,
    #[error("the line of {sku} asks for no pieces")]
    NoPieces { sku: Sku },
    #[error("the pieces of the order are more than can be counted")]
    TooManyPieces,
    #[error("the line of {sku} has a negative price")]
    NegativePrice { sku: Sku },
    #[error("the line of {sku} states {stated}, but its pieces cost {computed}")]
    LineTotalDiffers { sku: Sku, stated: Money, computed: Money },
    #[error("the order states {stated}, but its lines add up to {computed}")]
    TotalDiffers { stated: Money, computed: Money },
    #[error("the prices of the order cannot be added up")]
    Money(#[from] MoneyError),
    #[error("the order is not confirmed yet")]
    NotConfirmed,
    #[error("the order is not shipped yet")]
    NotShipped,
    /// Too late to cancel.
    #[error("the order is already shipped")]
    AlreadyShipped,
    #[error("the order is completed")]
    AlreadyCompleted,
    #[error("the order is cancelled")]
    AlreadyCancelled,
}

impl Aggregate for Order {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;

    fn decide(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderError> {
        match command {
            OrderCommand::Place { order } => self.place(order),
            OrderCommand::Confirm { payment_id } => self.confirm(payment_id),
            OrderCommand::RequestCancellation { reason } => self.request_cancellation(reason),
            OrderCommand::Cancel { reason } => self.cancel(reason),
            OrderCommand::RecordShipment { shipment_id, tracking } => self.record_shipment(shipment_id, tracking),
            OrderCommand::Complete => self.complete(),
        }
    }

    fn evolve(self, event: &OrderEvent) -> Self {
        match event {
            OrderEvent::Placed(placed) => Self::AwaitingConfirmation(Open {
                order_id: placed.order_id,
                has_goods: placed.lines.iter().any(|line| line.kind == ProductKind::Goods),
                cancellation: None,
            }),
            OrderEvent::Confirmed(_) => match self {
                Self::AwaitingConfirmation(open) => Self::Confirmed(open),
                Self::Unplaced | Self::Confirmed(_) | Self::Shipped(_) | Self::Completed | Self::Cancelled => self,
            },
            OrderEvent::CancellationRequested(requested) => self.wishing(&requested.reason),
            OrderEvent::Cancelled(_) => Self::Cancelled,
            OrderEvent::Shipped(shipped) => Self::Shipped(shipped.order_id),
            OrderEvent::Completed(_) => Self::Completed,
        }
    }
}

impl Order {
    fn place(&self, order: OrderPlaced) -> Result<Vec<OrderEvent>, OrderError> {
        match self {
            Self::Unplaced => {
                check_lines(&order.lines)?;
                let computed = Money::sum(order.lines.iter().map(|line| line.total))?;
                if computed != order.total {
                    return Err(OrderError::TotalDiffers { stated: order.total, computed });
                }
                Ok(vec![order.into()])
            }
            Self::AwaitingConfirmation(_)
            | Self::Confirmed(_)
            | Self::Shipped(_)
            | Self::Completed
            | Self::Cancelled => Err(OrderError::AlreadyPlaced),
        }
    }

    fn confirm(&self, payment_id: PaymentId) -> Result<Vec<OrderEvent>, OrderError> {
        match self {
            Self::Unplaced => Err(OrderError::NotPlaced),
            Self::AwaitingConfirmation(Open { order_id, cancellation: Some(reason), .. }) => {
                Ok(vec![OrderCancelled { order_id: *order_id, reason: reason.clone() }.into()])
            }
            Self::AwaitingConfirmation(Open { order_id, cancellation: None, .. }) => {
                Ok(vec![OrderConfirmed { order_id: *order_id, payment_id }.into()])
            }
            // Answered: by the confirmation, or by the cancellation that was faster.
            Self::Confirmed(_) | Self::Shipped(_) | Self::Completed | Self::Cancelled => Ok(vec![]),
        }
    }

    fn request_cancellation(&self, reason: String) -> Result<Vec<OrderEvent>, OrderError> {
        match self {
            Self::Unplaced => Err(OrderError::NotPlaced),
            Self::AwaitingConfirmation(open) | Self::Confirmed(open) => match open.cancellation {
                Some(_) => Ok(vec![]),
                None => Ok(vec![OrderCancellationRequested { order_id: open.order_id, reason }.into()]),
            },
            Self::Shipped(_) => Err(OrderError::AlreadyShipped),
            Self::Completed => Err(OrderError::AlreadyCompleted),
            Self::Cancelled => Err(OrderError::AlreadyCancelled),
        }
    }

    fn cancel(&self, reason: String) -> Result<Vec<OrderEvent>, OrderError> {
        match self {
            Self::Unplaced => Err(OrderError::NotPlaced),
            Self::AwaitingConfirmation(open) | Self::Confirmed(open) => {
                Ok(vec![OrderCancelled { order_id: open.order_id, reason }.into()])
            }
            Self::Cancelled => Ok(vec![]),
            Self::Shipped(_) => Err(OrderError::AlreadyShipped),
            Self::Completed => Err(OrderError::AlreadyCompleted),
        }
    }

    fn record_shipment(&self, shipment_id: ShipmentId, tracking: String) -> Result<Vec<OrderEvent>, OrderError> {
        match self {
            Self::Unplaced => Err(OrderError::NotPlaced),
            Self::AwaitingConfirmation(_) => Err(OrderError::NotConfirmed),
            // A wish to cancel came too late: the parcel has left.
            Self::Confirmed(open) => Ok(vec![OrderShipped { order_id: open.order_id, shipment_id, tracking }.into()]),
            Self::Shipped(_) | Self::Completed => Ok(vec![]),
            Self::Cancelled => Err(OrderError::AlreadyCancelled),
        }
    }

    fn complete(&self) -> Result<Vec<OrderEvent>, OrderError> {
        let completed = |order_id| Ok(vec![OrderCompleted { order_id }.into()]);
        match self {
            Self::Unplaced => Err(OrderError::NotPlaced),
            Self::AwaitingConfirmation(_) => Err(OrderError::NotConfirmed),
            Self::Confirmed(Open { has_goods: true, .. }) => Err(OrderError::NotShipped),
            Self::Confirmed(Open { order_id, has_goods: false, .. }) | Self::Shipped(order_id) => completed(*order_id),
            Self::Completed => Ok(vec![]),
            Self::Cancelled => Err(OrderError::AlreadyCancelled),
        }
    }

    fn wishing(self, reason: &str) -> Self {
        let wishing = |open| Open { cancellation: Some(reason.into()), ..open };
        match self {
            Self::AwaitingConfirmation(open) => Self::AwaitingConfirmation(wishing(open)),
            Self::Confirmed(open) => Self::Confirmed(wishing(open)),
            Self::Unplaced | Self::Shipped(_) | Self::Completed | Self::Cancelled => self,
        }
    }
}

/// Pieces, prices and totals line by line. A line whose price was agreed elsewhere states its total, rounding included.
fn check_lines(lines: &[OrderLine]) -> Result<(), OrderError> {
    if lines.is_empty() {
        return Err(OrderError::NoLines);
    }
    for line in lines {
        let sku = || line.sku.clone();
        if line.quantity == 0 {
            return Err(OrderError::NoPieces { sku: sku() });
        }
        if line.unit_price.is_negative() || line.total.is_negative() {
            return Err(OrderError::NegativePrice { sku: sku() });
        }
        if line.total.currency != line.unit_price.currency {
            return Err(MoneyError::MixedCurrencies(line.unit_price.currency, line.total.currency).into());
        }
        if line.product_version.is_some() {
            let computed = line.unit_price.times(line.quantity)?;
            if computed != line.total {
                return Err(OrderError::LineTotalDiffers { sku: sku(), stated: line.total, computed });
            }
        }
    }
    // A reservation counts the pieces of an article over all lines in 32 bits.
    let pieces = lines.iter().map(|line| u64::from(line.quantity)).sum::<u64>();
    u32::try_from(pieces).map(drop).map_err(|_| OrderError::TooManyPieces)
}
