//! Money: authorisations, captures, voids and refunds at a payment provider.

use std::sync::{Mutex, MutexGuard};

use events::{EffectKey, Money, PaymentId, bus::CommandMessage, participant::ParticipantCommand};
use write_side::{
    EventStore, Loaded,
    domain::payment::{Fate, Payment, PaymentCommand},
    handle_known,
};

use super::{
    Obstacle, command, context, crash_point,
    effect::{Outcome, Patience},
    note, outcome_context,
};
use crate::{
    ProviderConfig,
    bus::consumer::Handler,
    providers::{Answer, PaymentEffect, PaymentProvider},
    recent::Recent,
};

/// Payments between authorisation and capture, at most.
const REMEMBERED: usize = 20_000;

pub(super) struct PaymentParticipant<P> {
    store: EventStore,
    provider: P,
    patience: Patience,
    /// Payments as this process left them last.
    recent: Mutex<Recent<PaymentId, Loaded<Payment>>>,
}

/// A command as the domain, the provider and the record of its outcome need it.
struct Wanted {
    payment_id: PaymentId,
    key: EffectKey,
    intent: PaymentCommand,
    effect: Effect,
}

enum Effect {
    Authorise { amount: Money, token: String },
    Capture { amount: Money },
    Void { authorisation_key: EffectKey },
    Refund { amount: Money },
}

impl<P: PaymentProvider> PaymentParticipant<P> {
    pub(super) fn new(store: EventStore, provider: P, config: &ProviderConfig) -> Self {
        Self { store, provider, patience: Patience::new(config), recent: Mutex::new(Recent::new(REMEMBERED)) }
    }

    async fn carry_out(&self, message: &CommandMessage, wanted: &Wanted, redelivered: bool) -> Result<(), Obstacle> {
        let (stream, context) = (wanted.payment_id.stream(), context(message));
        // A payment hardly ever exists before it is authorised; later on, it was this process that left it.
        let known = match wanted.effect {
            Effect::Authorise { .. } => Some(Loaded::default()),
            Effect::Capture { .. } | Effect::Void { .. } | Effect::Refund { .. } => {
                self.recent().take(&wanted.payment_id)
            }
        };
        let intent = || wanted.intent.clone();
        let asking = || handle_known::<Payment>(&self.store, &stream, known.clone(), intent(), &context);
        let (handled, known) = command(asking).await?;
        crash_point("after-intent", &wanted.key);
        let payment = &known.state;
        // A rule has said no, or the outcome is known: by an earlier delivery, or because the provider told it by itself.
        if payment.effect(&wanted.key).is_none_or(|effect| effect.fate != Fate::Pending) {
            return Ok(());
        }
        // Late: what is being voided, or was, is not asked for again.
        if matches!(wanted.effect, Effect::Authorise { .. }) && payment.is_unwanted() {
            return Ok(());
        }
        let outcome = self.settle(payment, wanted, handled.repeated || redelivered).await?;
        crash_point("after-effect", &wanted.key);
        let context = outcome_context(message, &wanted.key);
        let record = wanted.record(outcome);
        let recording = || handle_known::<Payment>(&self.store, &stream, Some(known.clone()), record.clone(), &context);
        let (_, known) = command(recording).await?;
        crash_point("after-record", &wanted.key);
        self.recent().put(wanted.payment_id, known);
        Ok(())
    }

    fn recent(&self) -> MutexGuard<'_, Recent<PaymentId, Loaded<Payment>>> {
        self.recent.lock().expect("nobody panics while holding the lock")
    }

    async fn settle(&self, payment: &Payment, wanted: &Wanted, unsure: bool) -> Result<Outcome, Obstacle> {
        let (provider, key) = (&self.provider, &wanted.key);
        let unsought = || Answer::Refused("the payment has no effect that this could follow".into());
        let act = move || async move {
            match &wanted.effect {
                Effect::Authorise { amount, token } => provider.authorise(key, *amount, token).await,
                Effect::Void { authorisation_key } => provider.void(key, authorisation_key).await,
                Effect::Capture { amount } => match payment.authorisation() {
                    Some(authorisation) => provider.capture(key, &authorisation.effect_key, *amount).await,
                    None => unsought(),
                },
                Effect::Refund { amount } => match payment.capture_done() {
                    Some(capture) => provider.refund(key, &capture.effect_key, *amount).await,
                    None => unsought(),
                },
            }
        };
        self.patience.settle(unsure, act, move || provider.status(key, wanted.effect.kind())).await
    }
}

impl<P: PaymentProvider> Handler for PaymentParticipant<P> {
    async fn handle(&self, message: CommandMessage, redelivered: bool) {
        let Some(wanted) = Wanted::of(&message.command) else { return };
        if let Err(obstacle) = self.carry_out(&message, &wanted, redelivered).await {
            note(&message, &obstacle);
        }
    }
}

impl Effect {
    const fn kind(&self) -> PaymentEffect {
        match self {
            Self::Authorise { .. } => PaymentEffect::Authorisation,
            Self::Capture { .. } => PaymentEffect::Capture,
            Self::Void { .. } => PaymentEffect::Void,
            Self::Refund { .. } => PaymentEffect::Refund,
        }
    }
}

impl Wanted {
    /// None for what another participant does; such a message is not delivered here.
    fn of(command: &ParticipantCommand) -> Option<Self> {
        let (payment_id, key, intent, effect) = match command.clone() {
            ParticipantCommand::AuthorisePayment { payment_id, order_id, effect_key, amount, token } => {
                let (key, effect) = (effect_key.clone(), Effect::Authorise { amount, token: token.clone() });
                (payment_id, key, PaymentCommand::Authorise { payment_id, order_id, effect_key, amount, token }, effect)
            }
            ParticipantCommand::VoidPayment { payment_id, order_id, effect_key, authorisation_key } => {
                let effect = Effect::Void { authorisation_key: authorisation_key.clone() };
                let key = effect_key.clone();
                (payment_id, key, PaymentCommand::Void { payment_id, order_id, effect_key, authorisation_key }, effect)
            }
            ParticipantCommand::CapturePayment { payment_id, order_id, effect_key, amount } => {
                let (key, effect) = (effect_key.clone(), Effect::Capture { amount });
                (payment_id, key, PaymentCommand::Capture { payment_id, order_id, effect_key, amount }, effect)
            }
            ParticipantCommand::RefundPayment { payment_id, order_id, effect_key, amount } => {
                let (key, effect) = (effect_key.clone(), Effect::Refund { amount });
                (payment_id, key, PaymentCommand::Refund { payment_id, order_id, effect_key, amount }, effect)
            }
            ParticipantCommand::ReserveStock { .. }
            | ParticipantCommand::ReleaseStock { .. }
            | ParticipantCommand::CommitStock { .. }
            | ParticipantCommand::PutBackStock { .. }
            | ParticipantCommand::BookShipment { .. }
            | ParticipantCommand::CancelShipment { .. }
            | ParticipantCommand::ConfirmOrder { .. }
            | ParticipantCommand::CancelOrder { .. }
            | ParticipantCommand::RecordShipment { .. }
            | ParticipantCommand::CompleteOrder { .. } => return None,
        };
        Some(Self { payment_id, key, intent, effect })
    }

    fn record(&self, outcome: Outcome) -> PaymentCommand {
        let effect_key = self.key.clone();
        match (&self.effect, outcome) {
            (Effect::Authorise { .. }, Outcome::Done(provider_reference)) => {
                PaymentCommand::RecordAuthorised { effect_key, provider_reference }
            }
            (Effect::Authorise { .. }, Outcome::Refused(reason)) => {
                PaymentCommand::RecordDeclined { effect_key, reason }
            }
            (Effect::Capture { .. }, Outcome::Done(provider_reference)) => {
                PaymentCommand::RecordCaptured { effect_key, provider_reference }
            }
            (Effect::Capture { .. }, Outcome::Refused(reason)) => {
                PaymentCommand::RecordCaptureRefused { effect_key, reason }
            }
            (Effect::Void { .. }, Outcome::Done(_)) => PaymentCommand::RecordVoided { effect_key },
            (Effect::Void { .. }, Outcome::Refused(reason)) => PaymentCommand::RecordVoidRefused { effect_key, reason },
            (Effect::Refund { .. }, Outcome::Done(provider_reference)) => {
                PaymentCommand::RecordRefunded { effect_key, provider_reference }
            }
            (Effect::Refund { .. }, Outcome::Refused(reason)) => {
                PaymentCommand::RecordRefundRefused { effect_key, reason }
            }
        }
    }
}
