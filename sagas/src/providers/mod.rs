//! Ports to those who hold money and carry parcels. Each effect has a key: asking twice under the same key does it once.
//!
//! To add a provider: a file beside `payment.rs` that implements the port.

mod carrier;
mod http;
mod payment;

use events::{Delivery, EffectKey, Money, OrderId, ShipmentId, inventory::StockLine};

pub use carrier::HttpCarrier;
pub use http::ProviderError;
pub use payment::HttpPaymentProvider;
pub use write_side::domain::{payment::EffectKind as PaymentEffect, shipment::EffectKind as CarrierEffect};

/// The three answers. `Unknown` is never retried or undone before the status was asked for.
#[derive(Debug)]
pub enum Answer {
    /// With what the provider calls it: a reference, a tracking number.
    Done(String),
    /// With the reason in the provider's words.
    Refused(String),
    /// It may or may not have happened.
    Unknown(ProviderError),
}

/// What a provider knows about an effect key: nothing, or what it answered first. An error: it could not be asked.
pub type Status = Result<Option<Answer>, ProviderError>;

pub trait PaymentProvider: Send + Sync + 'static {
    fn authorise(&self, key: &EffectKey, amount: Money, token: &str) -> impl Future<Output = Answer> + Send;

    fn capture(
        &self,
        key: &EffectKey,
        authorisation_key: &EffectKey,
        amount: Money,
    ) -> impl Future<Output = Answer> + Send;

    /// Also of an authorisation that never came: a late one is then refused.
    fn void(&self, key: &EffectKey, authorisation_key: &EffectKey) -> impl Future<Output = Answer> + Send;

    fn refund(&self, key: &EffectKey, capture_key: &EffectKey, amount: Money) -> impl Future<Output = Answer> + Send;

    fn status(&self, key: &EffectKey, kind: PaymentEffect) -> impl Future<Output = Status> + Send;
}

/// What a carrier needs to know of a parcel.
#[derive(Debug, Clone)]
pub struct Parcel<'a> {
    pub shipment_id: ShipmentId,
    pub order_id: OrderId,
    pub delivery: &'a Delivery,
    pub lines: &'a [StockLine],
}

pub trait Carrier: Send + Sync + 'static {
    fn book(&self, carrier: &str, key: &EffectKey, parcel: &Parcel<'_>) -> impl Future<Output = Answer> + Send;

    /// Also of a booking that never came: a late one is then refused.
    fn cancel(&self, carrier: &str, key: &EffectKey, booking_key: &EffectKey) -> impl Future<Output = Answer> + Send;

    fn status(&self, carrier: &str, key: &EffectKey, kind: CarrierEffect) -> impl Future<Output = Status> + Send;
}
