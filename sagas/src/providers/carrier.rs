//! Carriers over HTTP, behind one address.

use events::EffectKey;
use serde_json::json;

use super::{Answer, Carrier, CarrierEffect, Parcel, Status, http::Http};
use crate::{Error, ProviderConfig};

#[derive(Debug, Clone)]
pub struct HttpCarrier(Http);

impl HttpCarrier {
    pub fn new(config: &ProviderConfig) -> Result<Self, Error> {
        Http::new(config, &config.carrier_url).map(Self)
    }
}

/// The word by which the carrier says that it happened.
const fn done(kind: CarrierEffect) -> &'static str {
    match kind {
        CarrierEffect::Booking => "booked",
        CarrierEffect::Cancellation => "cancelled",
    }
}

impl Carrier for HttpCarrier {
    async fn book(&self, carrier: &str, key: &EffectKey, parcel: &Parcel<'_>) -> Answer {
        let body = json!({
            "effect_key": key,
            "shipment_id": parcel.shipment_id,
            "order_id": parcel.order_id,
            "service": parcel.delivery.service,
            "postal_code": parcel.delivery.postal_code,
            "country": parcel.delivery.country,
            "parcels": parcel.lines,
        });
        self.0.ask(&format!("/carriers/{carrier}/shipments"), &body, done(CarrierEffect::Booking)).await
    }

    async fn cancel(&self, carrier: &str, key: &EffectKey, booking_key: &EffectKey) -> Answer {
        let body = json!({"effect_key": key, "booking_key": booking_key});
        self.0.ask(&format!("/carriers/{carrier}/cancellations"), &body, done(CarrierEffect::Cancellation)).await
    }

    async fn status(&self, carrier: &str, key: &EffectKey, kind: CarrierEffect) -> Status {
        self.0.look_up(&format!("/carriers/{carrier}/effects"), key, done(kind)).await
    }
}
