//! `payment-{id}`: one authorisation and what became of it. An intent is recorded before the provider is asked.

use serde::{Deserialize, Serialize};

use crate::{EffectKey, Money, OrderId, PaymentId, domain_event::event_category};

macro_rules! payment_events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            pub payment_id: PaymentId,
            pub order_id: OrderId,
            /// Of the effect that this event intends, or whose outcome it tells.
            pub effect_key: EffectKey,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    )*};
}

payment_events! {
    PaymentAuthorisationRequested { amount: Money, token: String, }
    PaymentAuthorised { amount: Money, provider_reference: String, }
    /// Also when the authorisation had been voided before it came.
    PaymentDeclined { reason: String, }
    CaptureRequested { amount: Money, }
    PaymentCaptured { amount: Money, provider_reference: String, }
    CaptureRefused { reason: String, }
    /// May come before, or without, its authorisation: then it is a tombstone that makes a late one be declined.
    VoidRequested {}
    PaymentVoided {}
    VoidRefused { reason: String, }
    RefundRequested { amount: Money, }
    PaymentRefunded { amount: Money, provider_reference: String, }
    RefundRefused { reason: String, }
}

event_category! {
    PaymentEvent in "payment" {
        AuthorisationRequested(PaymentAuthorisationRequested) = "PaymentAuthorisationRequested", v 1;
        Authorised(PaymentAuthorised) = "PaymentAuthorised", v 1;
        Declined(PaymentDeclined) = "PaymentDeclined", v 1;
        CaptureRequested(CaptureRequested) = "CaptureRequested", v 1;
        Captured(PaymentCaptured) = "PaymentCaptured", v 1;
        CaptureRefused(CaptureRefused) = "CaptureRefused", v 1;
        VoidRequested(VoidRequested) = "VoidRequested", v 1;
        Voided(PaymentVoided) = "PaymentVoided", v 1;
        VoidRefused(VoidRefused) = "VoidRefused", v 1;
        RefundRequested(RefundRequested) = "RefundRequested", v 1;
        Refunded(PaymentRefunded) = "PaymentRefunded", v 1;
        RefundRefused(RefundRefused) = "RefundRefused", v 1;
    }
}

/// Runs the same expression on the payload, whichever event it is.
macro_rules! each_payment_event {
    ($event:expr, $inner:ident => $do:expr) => {
        match $event {
            PaymentEvent::AuthorisationRequested($inner) => $do,
            PaymentEvent::Authorised($inner) => $do,
            PaymentEvent::Declined($inner) => $do,
            PaymentEvent::CaptureRequested($inner) => $do,
            PaymentEvent::Captured($inner) => $do,
            PaymentEvent::CaptureRefused($inner) => $do,
            PaymentEvent::VoidRequested($inner) => $do,
            PaymentEvent::Voided($inner) => $do,
            PaymentEvent::VoidRefused($inner) => $do,
            PaymentEvent::RefundRequested($inner) => $do,
            PaymentEvent::Refunded($inner) => $do,
            PaymentEvent::RefundRefused($inner) => $do,
        }
    };
}

impl PaymentEvent {
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        each_payment_event!(self, event => event.order_id)
    }

    #[must_use]
    pub fn payment_id(&self) -> PaymentId {
        each_payment_event!(self, event => event.payment_id)
    }

    #[must_use]
    pub fn effect_key(&self) -> &EffectKey {
        each_payment_event!(self, event => &event.effect_key)
    }
}
