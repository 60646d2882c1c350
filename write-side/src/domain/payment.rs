//! `payment-{id}`: one authorisation and what becomes of its money. An intent is recorded before the provider is asked.
//!
//! Every command of the saga ends in an event, refusals too. What the provider tells may come twice, late, or before its
//! reply; what contradicts an outcome that is already recorded is an error for a person, never a second truth.

mod effects;
#[cfg(test)]
mod tests;

use events::{
    EffectKey, Money, OrderId, PaymentEvent, PaymentId,
    payment::{
        CaptureRefused, CaptureRequested, PaymentAuthorisationRequested, PaymentAuthorised, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentVoided, RefundRefused, RefundRequested, VoidRefused, VoidRequested,
    },
};

pub use self::effects::{Effect, EffectKind, Fate};
use self::effects::{
    EffectKind::{Authorisation, Capture, Refund, Void},
    Effects,
    Fate::{Done, Pending, Refused},
};
use super::Aggregate;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payment {
    of: Option<(PaymentId, OrderId)>,
    effects: Effects,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentCommand {
    Authorise {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
        token: String,
    },
    /// Undoes the authorisation `authorisation_key`, whether it came or not.
    Void {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        authorisation_key: EffectKey,
    },
    Capture {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
    },
    Refund {
        payment_id: PaymentId,
        order_id: OrderId,
        effect_key: EffectKey,
        amount: Money,
    },

    RecordAuthorised {
        effect_key: EffectKey,
        provider_reference: String,
    },
    RecordDeclined {
        effect_key: EffectKey,
        reason: String,
    },
    RecordVoided {
        effect_key: EffectKey,
    },
    RecordVoidRefused {
        effect_key: EffectKey,
        reason: String,
    },
    RecordCaptured {
        effect_key: EffectKey,
        provider_reference: String,
    },
    RecordCaptureRefused {
        effect_key: EffectKey,
        reason: String,
    },
    RecordRefunded {
        effect_key: EffectKey,
        provider_reference: String,
    },
    RecordRefundRefused {
        effect_key: EffectKey,
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The provider tells of something that this payment never asked for.
    #[error("no {kind} was requested under {effect_key}")]
    NotRequested { kind: EffectKind, effect_key: EffectKey },
    #[error("the {kind} {effect_key} is recorded as {recorded}, and now the provider says {told}")]
    Contradicted { kind: EffectKind, effect_key: EffectKey, recorded: Fate, told: Fate },
    /// An effect key names one effect for ever.
    #[error("{effect_key} names an effect of another kind: {kind}")]
    KeyTaken { effect_key: EffectKey, kind: EffectKind },
}

type Decision = Result<Vec<PaymentEvent>, PaymentError>;

/// The names that every event of a payment carries.
struct Asked {
    payment_id: PaymentId,
    order_id: OrderId,
    effect_key: EffectKey,
}

impl Aggregate for Payment {
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentError;

    fn decide(&self, command: PaymentCommand) -> Decision {
        match command {
            PaymentCommand::Authorise { payment_id, order_id, effect_key, amount, token } => {
                self.authorise(Asked { payment_id, order_id, effect_key }, amount, token)
            }
            PaymentCommand::Void { payment_id, order_id, effect_key, authorisation_key } => {
                self.void(Asked { payment_id, order_id, effect_key }, &authorisation_key)
            }
            PaymentCommand::Capture { payment_id, order_id, effect_key, amount } => {
                self.capture(Asked { payment_id, order_id, effect_key }, amount)
            }
            PaymentCommand::Refund { payment_id, order_id, effect_key, amount } => {
                self.refund(Asked { payment_id, order_id, effect_key }, amount)
            }
            PaymentCommand::RecordAuthorised { effect_key, provider_reference } => {
                self.told(Authorisation, effect_key, Done, |Asked { payment_id, order_id, effect_key }, amount| {
                    PaymentAuthorised { payment_id, order_id, effect_key, amount: asked(amount), provider_reference }
                        .into()
                })
            }
            PaymentCommand::RecordDeclined { effect_key, reason } => {
                self.told(Authorisation, effect_key, Refused, |Asked { payment_id, order_id, effect_key }, _| {
                    PaymentDeclined { payment_id, order_id, effect_key, reason }.into()
                })
            }
            PaymentCommand::RecordVoided { effect_key } => {
                self.told(Void, effect_key, Done, |Asked { payment_id, order_id, effect_key }, _| {
                    PaymentVoided { payment_id, order_id, effect_key }.into()
                })
            }
            PaymentCommand::RecordVoidRefused { effect_key, reason } => {
                self.told(Void, effect_key, Refused, |Asked { payment_id, order_id, effect_key }, _| {
                    VoidRefused { payment_id, order_id, effect_key, reason }.into()
                })
            }
            PaymentCommand::RecordCaptured { effect_key, provider_reference } => {
                self.told(Capture, effect_key, Done, |Asked { payment_id, order_id, effect_key }, amount| {
                    PaymentCaptured { payment_id, order_id, effect_key, amount: asked(amount), provider_reference }
                        .into()
                })
            }
            PaymentCommand::RecordCaptureRefused { effect_key, reason } => {
                self.told(Capture, effect_key, Refused, |Asked { payment_id, order_id, effect_key }, _| {
                    CaptureRefused { payment_id, order_id, effect_key, reason }.into()
                })
            }
            PaymentCommand::RecordRefunded { effect_key, provider_reference } => {
                self.told(Refund, effect_key, Done, |Asked { payment_id, order_id, effect_key }, amount| {
                    PaymentRefunded { payment_id, order_id, effect_key, amount: asked(amount), provider_reference }
                        .into()
                })
            }
            PaymentCommand::RecordRefundRefused { effect_key, reason } => {
                self.told(Refund, effect_key, Refused, |Asked { payment_id, order_id, effect_key }, _| {
                    RefundRefused { payment_id, order_id, effect_key, reason }.into()
                })
            }
        }
    }

    fn evolve(mut self, event: &PaymentEvent) -> Self {
        self.of = Some((event.payment_id(), event.order_id()));
        let known = |kind, fate| Effect::new(event.effect_key(), kind, fate);
        self.effects.settle(match event {
            PaymentEvent::AuthorisationRequested(event) => known(Authorisation, Pending).of(event.amount),
            PaymentEvent::Authorised(event) => {
                known(Authorisation, Done).of(event.amount).known_as(&event.provider_reference)
            }
            PaymentEvent::Declined(_) => known(Authorisation, Refused),
            PaymentEvent::VoidRequested(_) => known(Void, Pending),
            PaymentEvent::Voided(_) => known(Void, Done),
            PaymentEvent::VoidRefused(_) => known(Void, Refused),
            PaymentEvent::CaptureRequested(event) => known(Capture, Pending).of(event.amount),
            PaymentEvent::Captured(event) => known(Capture, Done).of(event.amount).known_as(&event.provider_reference),
            PaymentEvent::CaptureRefused(_) => known(Capture, Refused),
            PaymentEvent::RefundRequested(event) => known(Refund, Pending).of(event.amount),
            PaymentEvent::Refunded(event) => known(Refund, Done).of(event.amount).known_as(&event.provider_reference),
            PaymentEvent::RefundRefused(_) => known(Refund, Refused),
        });
        self
    }
}

impl Payment {
    /// What the provider must be asked about before anything else: it may or may not have happened.
    #[must_use]
    pub fn pending(&self) -> Vec<Effect> {
        self.effects.pending().cloned().collect()
    }

    #[must_use]
    pub fn effect(&self, key: &EffectKey) -> Option<&Effect> {
        self.effects.get(key)
    }

    /// The one that the provider was asked for, whatever came of it; its reference names the payment at the provider.
    #[must_use]
    pub fn authorisation(&self) -> Option<&Effect> {
        self.effects.of_kind(Authorisation).find(|effect| effect.amount.is_some())
    }

    /// Whether it is voided, or about to be: no authorisation may be asked for any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.is(Void, &[Pending, Done])
    }

    /// The capture that went through; a refund names it to the provider.
    #[must_use]
    pub fn capture_done(&self) -> Option<&Effect> {
        self.effects.of_kind(Capture).find(|effect| effect.fate == Done)
    }

    /// Once the provider holds it; also afterwards, when voided.
    #[must_use]
    pub fn authorised(&self) -> Option<Money> {
        self.authorisation().filter(|effect| effect.fate == Done).and_then(|effect| effect.amount)
    }

    fn authorise(&self, of: Asked, amount: Money, token: String) -> Decision {
        if self.knows(Authorisation, &of.effect_key)? {
            return Ok(vec![]);
        }
        let Asked { payment_id, order_id, effect_key } = of;
        Ok(vec![match self.why_not_authorise(amount) {
            None => PaymentAuthorisationRequested { payment_id, order_id, effect_key, amount, token }.into(),
            Some(reason) => PaymentDeclined { payment_id, order_id, effect_key, reason: reason.into() }.into(),
        }])
    }

    fn void(&self, of: Asked, authorisation_key: &EffectKey) -> Decision {
        if self.knows(Void, &of.effect_key)? {
            return Ok(vec![]);
        }
        let Asked { payment_id, order_id, effect_key } = of;
        let declined = self.authorisation().is_some_and(|effect| effect.fate == Refused);
        Ok(vec![match self.why_not_void(authorisation_key) {
            Some(reason) => VoidRefused { payment_id, order_id, effect_key, reason: reason.into() }.into(),
            // Nothing is held, so there is nothing to ask the provider for.
            None if declined => PaymentVoided { payment_id, order_id, effect_key }.into(),
            None => VoidRequested { payment_id, order_id, effect_key }.into(),
        }])
    }

    fn capture(&self, of: Asked, amount: Money) -> Decision {
        if self.knows(Capture, &of.effect_key)? {
            return Ok(vec![]);
        }
        let Asked { payment_id, order_id, effect_key } = of;
        Ok(vec![match self.why_not_capture(amount) {
            None => CaptureRequested { payment_id, order_id, effect_key, amount }.into(),
            Some(reason) => CaptureRefused { payment_id, order_id, effect_key, reason: reason.into() }.into(),
        }])
    }

    fn refund(&self, of: Asked, amount: Money) -> Decision {
        if self.knows(Refund, &of.effect_key)? {
            return Ok(vec![]);
        }
        let Asked { payment_id, order_id, effect_key } = of;
        Ok(vec![match self.why_not_refund(amount) {
            None => RefundRequested { payment_id, order_id, effect_key, amount }.into(),
            Some(reason) => RefundRefused { payment_id, order_id, effect_key, reason: reason.into() }.into(),
        }])
    }

    fn why_not_authorise(&self, amount: Money) -> Option<&'static str> {
        if self.authorisation().is_some() {
            Some("the payment has an authorisation already")
        } else if self.effects.of_kind(Void).next().is_some() {
            Some("voided before it came")
        } else if amount.is_negative() {
            Some("the amount is negative")
        } else {
            None
        }
    }

    fn why_not_void(&self, authorisation_key: &EffectKey) -> Option<&'static str> {
        if self.authorisation().is_some_and(|effect| effect.effect_key != *authorisation_key) {
            Some("the payment has another authorisation")
        } else if self.is(Void, &[Done]) {
            Some("the payment is voided already")
        } else if self.is(Void, &[Pending]) {
            Some("another void is under way")
        } else if self.is(Capture, &[Pending, Done]) {
            Some("the money is being captured or is captured: refund it instead")
        } else {
            None
        }
    }

    fn why_not_capture(&self, amount: Money) -> Option<&'static str> {
        let Some(authorised) = self.authorised() else { return Some("nothing is authorised") };
        if self.is(Void, &[Pending, Done]) {
            Some("the authorisation is voided")
        } else if amount.currency != authorised.currency {
            Some("the currency is not the authorised one")
        } else if amount.is_negative() {
            Some("the amount is negative")
        } else if self.effects.sum(Capture, &[Pending, Done]) + minor(amount) > minor(authorised) {
            Some("it exceeds what is authorised")
        } else {
            None
        }
    }

    fn why_not_refund(&self, amount: Money) -> Option<&'static str> {
        let captured = self.effects.of_kind(Capture).find(|effect| effect.fate == Done);
        let Some(currency) = captured.and_then(|effect| effect.amount).map(|amount| amount.currency) else {
            return Some("nothing is captured");
        };
        if amount.currency != currency {
            Some("the currency is not the captured one")
        } else if amount.is_negative() {
            Some("the amount is negative")
        } else if self.effects.sum(Refund, &[Pending, Done]) + minor(amount) > self.effects.sum(Capture, &[Done]) {
            Some("it exceeds what is captured and not refunded yet")
        } else {
            None
        }
    }

    fn is(&self, kind: EffectKind, fates: &[Fate]) -> bool {
        self.effects.of_kind(kind).any(|effect| fates.contains(&effect.fate))
    }

    /// Whether the effect was asked for before: then it is pending or answered, and asking again adds nothing.
    fn knows(&self, kind: EffectKind, key: &EffectKey) -> Result<bool, PaymentError> {
        match self.effects.get(key) {
            None => Ok(false),
            Some(effect) if effect.kind == kind => Ok(true),
            Some(effect) => Err(PaymentError::KeyTaken { effect_key: key.clone(), kind: effect.kind }),
        }
    }

    /// Records what the provider said came of an effect, unless it is known already.
    fn told(
        &self,
        kind: EffectKind,
        effect_key: EffectKey,
        told: Fate,
        event: impl FnOnce(Asked, Option<Money>) -> PaymentEvent,
    ) -> Decision {
        let effect = self.effects.get(&effect_key).filter(|effect| effect.kind == kind);
        let (Some(effect), Some((payment_id, order_id))) = (effect, self.of) else {
            return Err(PaymentError::NotRequested { kind, effect_key });
        };
        let recorded = effect.fate;
        if recorded == Pending {
            Ok(vec![event(Asked { payment_id, order_id, effect_key }, effect.amount)])
        } else if recorded == told {
            Ok(vec![])
        } else {
            Err(PaymentError::Contradicted { kind, effect_key, recorded, told })
        }
    }
}

fn asked(amount: Option<Money>) -> Money {
    amount.expect("an authorisation, a capture and a refund are pending with the amount that was asked for")
}

fn minor(amount: Money) -> i128 {
    i128::from(amount.amount_minor)
}
