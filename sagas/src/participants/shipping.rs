//! Parcels: bookings and cancellations at a carrier. What becomes of a parcel afterwards, the carrier tells by itself.

use events::{EffectKey, ShipmentId, bus::CommandMessage, participant::ParticipantCommand};
use write_side::{
    EventStore, Loaded,
    domain::shipment::{Shipment, ShipmentCommand},
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
    providers::{Carrier, CarrierEffect, Parcel},
};

pub(super) struct ShippingParticipant<C> {
    store: EventStore,
    carrier: C,
    patience: Patience,
}

/// A command as the domain, the carrier and the record of its outcome need it.
struct Wanted<'a> {
    shipment_id: ShipmentId,
    key: &'a EffectKey,
    carrier: &'a str,
    intent: ShipmentCommand,
    effect: Effect<'a>,
}

enum Effect<'a> {
    Book(Parcel<'a>),
    Cancel { booking_key: &'a EffectKey },
}

impl<C: Carrier> ShippingParticipant<C> {
    pub(super) fn new(store: EventStore, carrier: C, config: &ProviderConfig) -> Self {
        Self { store, carrier, patience: Patience::new(config) }
    }

    async fn carry_out(
        &self,
        message: &CommandMessage,
        wanted: &Wanted<'_>,
        redelivered: bool,
    ) -> Result<(), Obstacle> {
        let (stream, context) = (wanted.shipment_id.stream(), context(message));
        // A shipment hardly ever exists before it is booked.
        let known = match wanted.effect {
            Effect::Book(_) => Some(Loaded::default()),
            Effect::Cancel { .. } => None,
        };
        let intent = || wanted.intent.clone();
        let asking = || handle_known::<Shipment>(&self.store, &stream, known.clone(), intent(), &context);
        let (handled, known) = command(asking).await?;
        crash_point("after-intent", wanted.key);
        // A rule has said no, or the outcome is known: by an earlier delivery, or because the carrier told it by itself.
        if known.state.pending().iter().all(|pending| pending.effect_key != *wanted.key) {
            return Ok(());
        }
        // Late: what is being cancelled is not booked again.
        if matches!(wanted.effect, Effect::Book(_)) && known.state.is_unwanted() {
            return Ok(());
        }
        let outcome = self.settle(wanted, handled.repeated || redelivered).await?;
        crash_point("after-effect", wanted.key);
        let context = outcome_context(message, wanted.key);
        let record = wanted.record(outcome);
        let recording =
            || handle_known::<Shipment>(&self.store, &stream, Some(known.clone()), record.clone(), &context);
        command(recording).await?;
        crash_point("after-record", wanted.key);
        Ok(())
    }

    async fn settle(&self, wanted: &Wanted<'_>, unsure: bool) -> Result<Outcome, Obstacle> {
        let (carrier, key) = (&self.carrier, wanted.key);
        let act = move || async move {
            match &wanted.effect {
                Effect::Book(parcel) => carrier.book(wanted.carrier, key, parcel).await,
                Effect::Cancel { booking_key } => carrier.cancel(wanted.carrier, key, booking_key).await,
            }
        };
        self.patience.settle(unsure, act, move || carrier.status(wanted.carrier, key, wanted.effect.kind())).await
    }
}

impl<C: Carrier> Handler for ShippingParticipant<C> {
    async fn handle(&self, message: CommandMessage, redelivered: bool) {
        let Some(wanted) = Wanted::of(&message.command) else { return };
        if let Err(obstacle) = self.carry_out(&message, &wanted, redelivered).await {
            note(&message, &obstacle);
        }
    }
}

impl Effect<'_> {
    const fn kind(&self) -> CarrierEffect {
        match self {
            Self::Book(_) => CarrierEffect::Booking,
            Self::Cancel { .. } => CarrierEffect::Cancellation,
        }
    }
}

impl<'a> Wanted<'a> {
    /// None for what another participant does; such a message is not delivered here.
    fn of(command: &'a ParticipantCommand) -> Option<Self> {
        match command {
            ParticipantCommand::BookShipment { shipment_id, order_id, effect_key, carrier, delivery, lines } => {
                let (shipment_id, order_id) = (*shipment_id, *order_id);
                let intent = ShipmentCommand::Request {
                    shipment_id,
                    order_id,
                    effect_key: effect_key.clone(),
                    carrier: carrier.clone(),
                    delivery: delivery.clone(),
                    lines: lines.clone(),
                };
                let effect = Effect::Book(Parcel { shipment_id, order_id, delivery, lines });
                Some(Self { shipment_id, key: effect_key, carrier, intent, effect })
            }
            ParticipantCommand::CancelShipment { shipment_id, order_id, effect_key, carrier, booking_key } => {
                let intent = ShipmentCommand::RequestCancellation {
                    shipment_id: *shipment_id,
                    order_id: *order_id,
                    effect_key: effect_key.clone(),
                    carrier: carrier.clone(),
                    booking_key: booking_key.clone(),
                };
                let effect = Effect::Cancel { booking_key };
                Some(Self { shipment_id: *shipment_id, key: effect_key, carrier, intent, effect })
            }
            ParticipantCommand::ReserveStock { .. }
            | ParticipantCommand::ReleaseStock { .. }
            | ParticipantCommand::CommitStock { .. }
            | ParticipantCommand::PutBackStock { .. }
            | ParticipantCommand::AuthorisePayment { .. }
            | ParticipantCommand::VoidPayment { .. }
            | ParticipantCommand::CapturePayment { .. }
            | ParticipantCommand::RefundPayment { .. }
            | ParticipantCommand::ConfirmOrder { .. }
            | ParticipantCommand::CancelOrder { .. }
            | ParticipantCommand::RecordShipment { .. }
            | ParticipantCommand::CompleteOrder { .. } => None,
        }
    }

    fn record(&self, outcome: Outcome) -> ShipmentCommand {
        let effect_key = self.key.clone();
        match (&self.effect, outcome) {
            (Effect::Book(_), Outcome::Done(tracking)) => ShipmentCommand::RecordBooked { tracking },
            (Effect::Book(_), Outcome::Refused(reason)) => ShipmentCommand::RecordRefused { reason },
            (Effect::Cancel { .. }, Outcome::Done(_)) => {
                ShipmentCommand::RecordCancelled { effect_key, reason: "cancelled on request".into() }
            }
            (Effect::Cancel { .. }, Outcome::Refused(reason)) => {
                ShipmentCommand::RecordCancellationRefused { effect_key, reason }
            }
        }
    }
}
