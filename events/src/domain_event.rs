//! Every event of every stream category in one type, and the macro by which a category declares its own.
//!
//! To add an event: a struct and a line in its category's `event_category!`, then run the tests and accept the snapshot that
//! pins its JSON. To add a category: a file beside `order.rs`, and a variant of [`DomainEvent`].

use crate::{
    FulfilmentEvent, InventoryEvent, OrderEvent, OrderId, PaymentEvent, ProductEvent, ShipmentEvent, StreamId, upcast,
};

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// In a stream of ours, written by a newer release or by somebody else: a reader stops rather than skip it.
    #[error("{event_type} v{schema_version} is not known to this release")]
    Unknown { event_type: String, schema_version: i16 },
    #[error("the JSON of {event_type} v{schema_version} does not have the shape of that version")]
    Malformed { event_type: String, schema_version: i16, source: serde_json::Error },
}

/// What the events of one stream category can do: be named, written and read.
pub trait EventPayload: Sized {
    /// What stands before the dash in the stream id.
    const CATEGORY: &'static str;
    /// Type and current schema version of each event of the category.
    const CATALOGUE: &'static [(&'static str, i16)];

    fn event_type(&self) -> &'static str;
    fn schema_version(&self) -> i16;

    /// The JSON that goes into the log, byte for byte.
    fn to_json(&self) -> String;

    /// Reads any released version; older ones go through the upcasters.
    fn decode(event_type: &str, schema_version: i16, json: &str) -> Result<Self, DecodeError>;
}

/// Declares a category's enum over its event structs: `Variant(Struct) = "EventType", v1;`.
macro_rules! event_category {
    ($(#[$doc:meta])* $name:ident in $category:literal { $($variant:ident($payload:ty) = $event_type:literal, v $version:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($variant($payload),)*
        }

        impl $crate::EventPayload for $name {
            const CATEGORY: &'static str = $category;
            const CATALOGUE: &'static [(&'static str, i16)] = &[$(($event_type, $version)),*];

            fn event_type(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $event_type,)*
                }
            }

            fn schema_version(&self) -> i16 {
                match self {
                    $(Self::$variant(_) => $version,)*
                }
            }

            fn to_json(&self) -> String {
                let json = match self {
                    $(Self::$variant(payload) => serde_json::to_string(payload),)*
                };
                json.expect("an event is plain data with string keys, which JSON can always express")
            }

            fn decode(event_type: &str, schema_version: i16, json: &str) -> Result<Self, $crate::DecodeError> {
                match event_type {
                    $($event_type => $crate::domain_event::decode_as::<$payload>(event_type, $version, schema_version, json)
                        .map(Self::$variant),)*
                    _ => Err($crate::DecodeError::Unknown { event_type: event_type.into(), schema_version }),
                }
            }
        }

        $(impl From<$payload> for $name {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })*
    };
}
pub(crate) use event_category;

pub(crate) fn decode_as<P: serde::de::DeserializeOwned>(
    event_type: &str,
    current: i16,
    schema_version: i16,
    json: &str,
) -> Result<P, DecodeError> {
    let malformed = |source| DecodeError::Malformed { event_type: event_type.into(), schema_version, source };
    if schema_version == current {
        return serde_json::from_str(json).map_err(malformed);
    }
    let value = serde_json::from_str(json).map_err(malformed)?;
    let value = upcast::to_current(event_type, schema_version, current, value)
        .ok_or_else(|| DecodeError::Unknown { event_type: event_type.into(), schema_version })?;
    serde_json::from_value(value).map_err(malformed)
}

/// Any event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainEvent {
    Product(ProductEvent),
    Inventory(InventoryEvent),
    Order(OrderEvent),
    Payment(PaymentEvent),
    Shipment(ShipmentEvent),
    Fulfilment(FulfilmentEvent),
    Foreign(ForeignEvent),
}

/// An event in a stream of a category that is none of this release's: somebody outside keeps it in this log. It has its place there, and
/// says nothing to any reader of ours, so that what it says is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEvent;

/// Runs the same expression on the category's event, whichever it is.
macro_rules! each_category {
    ($event:expr, $inner:ident => $do:expr) => {
        match $event {
            DomainEvent::Product($inner) => $do,
            DomainEvent::Inventory($inner) => $do,
            DomainEvent::Order($inner) => $do,
            DomainEvent::Payment($inner) => $do,
            DomainEvent::Shipment($inner) => $do,
            DomainEvent::Fulfilment($inner) => $do,
            DomainEvent::Foreign($inner) => $do,
        }
    };
}

impl ForeignEvent {
    fn event_type(&self) -> &'static str {
        "foreign"
    }

    fn schema_version(&self) -> i16 {
        0
    }

    fn to_json(&self) -> String {
        "null".into()
    }
}

impl DomainEvent {
    /// Of Waybill's own streams; all others are foreign.
    pub const CATEGORIES: [&'static str; 6] = [
        ProductEvent::CATEGORY,
        InventoryEvent::CATEGORY,
        OrderEvent::CATEGORY,
        PaymentEvent::CATEGORY,
        ShipmentEvent::CATEGORY,
        FulfilmentEvent::CATEGORY,
    ];

    /// Every category's catalogue: event type and current schema version.
    #[must_use]
    pub fn catalogue() -> Vec<(&'static str, &'static str, i16)> {
        fn of<E: EventPayload>() -> impl Iterator<Item = (&'static str, &'static str, i16)> {
            E::CATALOGUE.iter().map(|&(event_type, version)| (E::CATEGORY, event_type, version))
        }
        of::<ProductEvent>()
            .chain(of::<InventoryEvent>())
            .chain(of::<OrderEvent>())
            .chain(of::<PaymentEvent>())
            .chain(of::<ShipmentEvent>())
            .chain(of::<FulfilmentEvent>())
            .collect()
    }

    #[must_use]
    pub fn event_type(&self) -> &'static str {
        each_category!(self, event => event.event_type())
    }

    #[must_use]
    pub fn schema_version(&self) -> i16 {
        each_category!(self, event => event.schema_version())
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        each_category!(self, event => event.to_json())
    }

    /// Reads an event of the stream's category, whatever released version it was written in.
    pub fn decode(stream: &StreamId, event_type: &str, schema_version: i16, json: &str) -> Result<Self, DecodeError> {
        match stream.category() {
            ProductEvent::CATEGORY => ProductEvent::decode(event_type, schema_version, json).map(Self::Product),
            InventoryEvent::CATEGORY => InventoryEvent::decode(event_type, schema_version, json).map(Self::Inventory),
            OrderEvent::CATEGORY => OrderEvent::decode(event_type, schema_version, json).map(Self::Order),
            PaymentEvent::CATEGORY => PaymentEvent::decode(event_type, schema_version, json).map(Self::Payment),
            ShipmentEvent::CATEGORY => ShipmentEvent::decode(event_type, schema_version, json).map(Self::Shipment),
            FulfilmentEvent::CATEGORY => {
                FulfilmentEvent::decode(event_type, schema_version, json).map(Self::Fulfilment)
            }
            _ => Ok(Self::Foreign(ForeignEvent)),
        }
    }

    /// The order that this event is about; none for the catalogue, receipts and adjustments.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Product(_) | Self::Foreign(_) => None,
            Self::Inventory(event) => event.order_id(),
            Self::Order(event) => Some(event.order_id()),
            Self::Payment(event) => Some(event.order_id()),
            Self::Shipment(event) => Some(event.order_id()),
            Self::Fulfilment(event) => Some(event.order_id()),
        }
    }
}

macro_rules! from_category {
    ($($event:ident => $variant:ident;)*) => {$(
        impl From<$event> for DomainEvent {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }
    )*};
}

from_category! {
    ProductEvent => Product;
    InventoryEvent => Inventory;
    OrderEvent => Order;
    PaymentEvent => Payment;
    ShipmentEvent => Shipment;
    FulfilmentEvent => Fulfilment;
}
