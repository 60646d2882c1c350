//! The newtypes by which things are named. A text id is checked once, here, and never again.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A count of events in one stream; 0 means that the stream does not exist.
pub type StreamVersion = i64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {max} characters out of A-Z, a-z, 0-9 and . _ : / -, but is {got:?}")]
pub struct InvalidText {
    what: &'static str,
    max: usize,
    got: String,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident in $category:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            #[must_use]
            pub fn stream(self) -> StreamId {
                StreamId::new($category, &self.0.hyphenated().to_string())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    )*};
}

uuid_ids! {
    /// An order; also the correlation id of everything that happens because of it.
    OrderId in "order";
    PaymentId in "payment";
    ShipmentId in "shipment";
}

impl OrderId {
    /// The stream of the saga that fulfils this order.
    #[must_use]
    pub fn fulfilment_stream(self) -> StreamId {
        StreamId::new("fulfilment", &self.0.hyphenated().to_string())
    }
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident: $what:literal, at most $max:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                if is_plain(text, $max) {
                    Ok(Self(text.into()))
                } else {
                    let got = text.chars().take($max + 1).collect();
                    Err(InvalidText { what: $what, max: $max, got })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_ids! {
    /// What the shop calls an article. Case counts.
    Sku: "a SKU", at most 64;
    /// A place that holds stock.
    LocationId: "a location", at most 64;
    CustomerId: "a customer id", at most 64;
    /// Names one effect outside (an authorisation, a booking) for ever, so that asking twice does it once.
    EffectKey: "an effect key", at most 128;
}

impl EffectKey {
    /// The order that the effect is for: the second part of `fulfilment/{order}/{step}/{occurrence}`.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        let (_, rest) = self.0.split_once('/')?;
        rest.split('/').next()?.parse().ok()
    }
}

impl Sku {
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::new("product", &self.0)
    }
}

impl LocationId {
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::new("inventory", &self.0)
    }
}

fn is_plain(text: &str, max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    (1..=max).contains(&text.len()) && text.bytes().all(plain)
}

/// `{category}-{id}`. Ordered bytewise, as the database orders it (`COLLATE "C"`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    #[must_use]
    pub fn new(category: &str, id: &str) -> Self {
        Self(format!("{category}-{id}").into())
    }

    /// A stream id as the log or a caller of the audit API spells it.
    #[must_use]
    pub fn from_log(text: &str) -> Self {
        Self(text.into())
    }

    /// What stands before the first dash: `order`, `payment`; nothing where there is none.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or("", |(category, _)| category)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies a command for ever: the same id is answered with the first outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// UUIDv5 over the parts, each ended by a zero byte so that shifting a border makes another id.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        Self(derived_uuid(parts))
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl OrderId {
    /// The id of the order that a command places: repeating the command names the same order.
    #[must_use]
    pub fn of(command_id: CommandId) -> Self {
        Self(derived_uuid(&["order", &command_id.to_string()]))
    }
}

impl PaymentId {
    /// The payment of an order, counted by occurrence: a new try after a decline is a new payment.
    #[must_use]
    pub fn of(order_id: OrderId, occurrence: u32) -> Self {
        Self(derived_uuid(&["payment", &order_id.to_string(), &occurrence.to_string()]))
    }
}

impl ShipmentId {
    /// The shipment of an order, counted by occurrence: the next carrier gets a new shipment.
    #[must_use]
    pub fn of(order_id: OrderId, occurrence: u32) -> Self {
        Self(derived_uuid(&["shipment", &order_id.to_string(), &occurrence.to_string()]))
    }
}

/// Waybill's own namespace for derived ids. Fixed for ever: changing it would forget every command answered so far.
const NAMESPACE: Uuid = Uuid::from_u128(0x7761_7962_696c_6c00_8000_6964_732d_7631);

fn derived_uuid(parts: &[&str]) -> Uuid {
    let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts {
        name.extend_from_slice(part.as_bytes());
        name.push(0);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_id_refuses_what_a_url_or_a_key_could_misread() {
        for bad in ["", "a b", "a\0", "é", "a{b}", &"x".repeat(65)] {
            assert!(bad.parse::<Sku>().is_err(), "{bad:?} was taken");
        }
        assert_eq!("85123A".parse::<Sku>().map(|sku| sku.stream().to_string()), Ok("product-85123A".into()));
    }

    #[test]
    fn a_category_ends_at_the_first_dash() {
        assert_eq!(StreamId::from_log("product-a-b").category(), "product");
        assert_eq!(StreamId::from_log("product").category(), "", "it is in none");
    }

    #[test]
    fn shifting_a_border_between_parts_makes_another_command() {
        assert_ne!(CommandId::of(&["ab", "c"]), CommandId::of(&["a", "bc"]));
    }
}
