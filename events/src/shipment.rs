//! `shipment-{id}`: one parcel with one carrier. A carrier that refuses ends the stream; the next one gets its own.

use serde::{Deserialize, Serialize};

use crate::{Delivery, EffectKey, OrderId, ShipmentId, domain_event::event_category, inventory::StockLine};

macro_rules! shipment_events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            pub shipment_id: ShipmentId,
            pub order_id: OrderId,
            /// Of the booking; in a cancellation, of the cancellation.
            pub effect_key: EffectKey,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    )*};
}

shipment_events! {
    ShipmentRequested { carrier: String, delivery: Delivery, lines: Vec<StockLine>, }
    ShipmentBooked { carrier: String, tracking: String, }
    /// Also when the booking had been cancelled before it came.
    ShipmentRefused { carrier: String, reason: String, }
    ShipmentDispatched { tracking: String, }
    ShipmentDelivered { tracking: String, }
    ShipmentCancellationRequested { carrier: String, booking_key: EffectKey, }
    ShipmentCancelled { reason: String, }
    /// It is on its way: too late.
    ShipmentCancellationRefused { reason: String, }
}

event_category! {
    ShipmentEvent in "shipment" {
        Requested(ShipmentRequested) = "ShipmentRequested", v 1;
        Booked(ShipmentBooked) = "ShipmentBooked", v 1;
        Refused(ShipmentRefused) = "ShipmentRefused", v 1;
        Dispatched(ShipmentDispatched) = "ShipmentDispatched", v 1;
        Delivered(ShipmentDelivered) = "ShipmentDelivered", v 1;
        CancellationRequested(ShipmentCancellationRequested) = "ShipmentCancellationRequested", v 1;
        Cancelled(ShipmentCancelled) = "ShipmentCancelled", v 1;
        CancellationRefused(ShipmentCancellationRefused) = "ShipmentCancellationRefused", v 1;
    }
}

/// Runs the same expression on the payload, whichever event it is.
macro_rules! each_shipment_event {
    ($event:expr, $inner:ident => $do:expr) => {
        match $event {
            ShipmentEvent::Requested($inner) => $do,
            ShipmentEvent::Booked($inner) => $do,
            ShipmentEvent::Refused($inner) => $do,
            ShipmentEvent::Dispatched($inner) => $do,
            ShipmentEvent::Delivered($inner) => $do,
            ShipmentEvent::CancellationRequested($inner) => $do,
            ShipmentEvent::Cancelled($inner) => $do,
            ShipmentEvent::CancellationRefused($inner) => $do,
        }
    };
}

impl ShipmentEvent {
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        each_shipment_event!(self, event => event.order_id)
    }

    #[must_use]
    pub fn shipment_id(&self) -> ShipmentId {
        each_shipment_event!(self, event => event.shipment_id)
    }

    #[must_use]
    pub fn effect_key(&self) -> &EffectKey {
        each_shipment_event!(self, event => &event.effect_key)
    }
}
