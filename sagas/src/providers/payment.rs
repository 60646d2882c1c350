//! A payment provider over HTTP.

use events::{EffectKey, Money};
use serde_json::json;

use super::{Answer, PaymentEffect, PaymentProvider, Status, http::Http};
use crate::{Error, ProviderConfig};

#[derive(Debug, Clone)]
pub struct HttpPaymentProvider(Http);

impl HttpPaymentProvider {
    pub fn new(config: &ProviderConfig) -> Result<Self, Error> {
        Http::new(config, &config.payment_url).map(Self)
    }
}

/// The word by which the provider says that it happened.
const fn done(kind: PaymentEffect) -> &'static str {
    match kind {
        PaymentEffect::Authorisation => "authorised",
        PaymentEffect::Capture => "captured",
        PaymentEffect::Void => "voided",
        PaymentEffect::Refund => "refunded",
    }
}

impl PaymentProvider for HttpPaymentProvider {
    async fn authorise(&self, key: &EffectKey, amount: Money, token: &str) -> Answer {
        let Money { amount_minor, currency } = amount;
        let body = json!({"effect_key": key, "amount_minor": amount_minor, "currency": currency, "token": token});
        self.0.ask("/payments/authorisations", &body, done(PaymentEffect::Authorisation)).await
    }

    async fn capture(&self, key: &EffectKey, authorisation_key: &EffectKey, amount: Money) -> Answer {
        let amount_minor = amount.amount_minor;
        let body = json!({"effect_key": key, "authorisation_key": authorisation_key, "amount_minor": amount_minor});
        self.0.ask("/payments/captures", &body, done(PaymentEffect::Capture)).await
    }

    async fn void(&self, key: &EffectKey, authorisation_key: &EffectKey) -> Answer {
        let body = json!({"effect_key": key, "authorisation_key": authorisation_key});
        self.0.ask("/payments/voids", &body, done(PaymentEffect::Void)).await
    }

    async fn refund(&self, key: &EffectKey, capture_key: &EffectKey, amount: Money) -> Answer {
        let body = json!({"effect_key": key, "capture_key": capture_key, "amount_minor": amount.amount_minor});
        self.0.ask("/payments/refunds", &body, done(PaymentEffect::Refund)).await
    }

    async fn status(&self, key: &EffectKey, kind: PaymentEffect) -> Status {
        self.0.look_up("/payments/effects", key, done(kind)).await
    }
}
