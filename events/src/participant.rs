//! What a saga asks of its participants: the commands that the log records and the relay sends.

use serde::{Deserialize, Serialize};

use crate::{Delivery, EffectKey, LocationId, Money, OrderId, PaymentId, ShipmentId, inventory::StockLine};

/// Who carries a command out. Orders are handled by the saga role itself; the others listen on RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Participant {
    Inventory,
    Payment,
    Shipping,
    Order,
}

impl Participant {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Shipping => "shipping",
            Self::Order => "order",
        }
    }
}

/// A command to a participant. Complete in itself: the participant needs nothing but this and its own stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command")]
pub enum ParticipantCommand {
    ReserveStock {
        order_id: OrderId,
        location: LocationId,
        effect_key: EffectKey,
        lines: Vec<StockLine>,
    },
    /// Undoes the reservation `effect_key`, whether it came or not.
    ReleaseStock {
        order_id: OrderId,
        location: LocationId,
        effect_key: EffectKey,
    },
    CommitStock {
        order_id: OrderId,
        location: LocationId,
        effect_key: EffectKey,
    },
    /// Puts the committed pieces of the reservation `effect_key` back.
    PutBackStock {
        order_id: OrderId,
        location: LocationId,
        effect_key: EffectKey,
    },

    AuthorisePayment {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
        token: String,
    },
    VoidPayment {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        authorisation_key: EffectKey,
    },
    CapturePayment {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
    },
    RefundPayment {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
    },

    BookShipment {
        shipment_id: ShipmentId,
        order_id: OrderId,
        effect_key: EffectKey,
        carrier: String,
        delivery: Delivery,
        lines: Vec<StockLine>,
    },
    CancelShipment {
        shipment_id: ShipmentId,
        order_id: OrderId,
        effect_key: EffectKey,
        carrier: String,
        booking_key: EffectKey,
    },

    ConfirmOrder {
        order_id: OrderId,
        payment_id: PaymentId,
    },
    CancelOrder {
        order_id: OrderId,
        reason: String,
    },
    RecordShipment {
        order_id: OrderId,
        shipment_id: ShipmentId,
        tracking: String,
    },
    CompleteOrder {
        order_id: OrderId,
    },
}

impl ParticipantCommand {
    #[must_use]
    pub const fn participant(&self) -> Participant {
        match self {
            Self::ReserveStock { .. }
            | Self::ReleaseStock { .. }
            | Self::CommitStock { .. }
            | Self::PutBackStock { .. } => Participant::Inventory,
            Self::AuthorisePayment { .. }
            | Self::VoidPayment { .. }
            | Self::CapturePayment { .. }
            | Self::RefundPayment { .. } => Participant::Payment,
            Self::BookShipment { .. } | Self::CancelShipment { .. } => Participant::Shipping,
            Self::ConfirmOrder { .. }
            | Self::CancelOrder { .. }
            | Self::RecordShipment { .. }
            | Self::CompleteOrder { .. } => Participant::Order,
        }
    }
}
