//! `shipment-{id}`: one parcel with one carrier. What left cannot be cancelled; what was cancelled first is never booked.
//!
//! As with payments, an intent is recorded before the carrier is asked, and what the carrier tells may come twice or before
//! its reply: a parcel that was dispatched had been booked.

#[cfg(test)]
mod tests;

use events::{
    Delivery, EffectKey, OrderId, ShipmentEvent, ShipmentId,
    inventory::StockLine,
    shipment::{
        ShipmentBooked, ShipmentCancellationRefused, ShipmentCancellationRequested, ShipmentCancelled,
        ShipmentDelivered, ShipmentDispatched, ShipmentRefused, ShipmentRequested,
    },
};

use super::Aggregate;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shipment {
    booking: Option<Booking>,
    /// In the order they were asked for; only the last may be pending.
    cancellations: Vec<Cancellation>,
    /// Bookings that came second; the carrier never heard of them.
    turned_away: Vec<EffectKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    pub shipment_id: ShipmentId,
    pub order_id: OrderId,
    pub effect_key: EffectKey,
    pub carrier: String,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Intended; the carrier may or may not have heard of it.
    Requested,
    Booked,
    Dispatched,
    Delivered,
    Refused,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cancellation {
    effect_key: EffectKey,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Done,
    Refused,
}

/// An effect of which it is not known whether it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub effect_key: EffectKey,
    pub kind: EffectKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectKind {
    Booking,
    Cancellation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShipmentCommand {
    Request {
        shipment_id: ShipmentId,
        order_id: OrderId,
        effect_key: EffectKey,
        carrier: String,
        delivery: Delivery,
        lines: Vec<StockLine>,
    },
    /// Undoes the booking `booking_key`, whether it came or not.
    RequestCancellation {
        shipment_id: ShipmentId,
        order_id: OrderId,
        effect_key: EffectKey,
        carrier: String,
        booking_key: EffectKey,
    },

    RecordBooked {
        tracking: String,
    },
    RecordRefused {
        reason: String,
    },
    RecordDispatched {
        tracking: String,
    },
    RecordDelivered {
        tracking: String,
    },
    /// `effect_key` is the cancellation's.
    RecordCancelled {
        effect_key: EffectKey,
        reason: String,
    },
    RecordCancellationRefused {
        effect_key: EffectKey,
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShipmentError {
    /// The carrier tells of a parcel that nobody booked.
    #[error("no shipment was requested")]
    NotRequested,
    #[error("no cancellation was requested under {effect_key}")]
    CancellationNotRequested { effect_key: EffectKey },
    #[error("the shipment is recorded as {recorded:?}, and now the carrier says {told:?}")]
    Contradicted { recorded: Stage, told: Stage },
    #[error("the carrier has answered the cancellation {effect_key} otherwise before")]
    CancellationContradicted { effect_key: EffectKey },
    /// An effect key names one effect for ever.
    #[error("{effect_key} names another effect of this shipment")]
    KeyTaken { effect_key: EffectKey },
}

type Decision = Result<Vec<ShipmentEvent>, ShipmentError>;

impl Aggregate for Shipment {
    type Command = ShipmentCommand;
    type Event = ShipmentEvent;
    type Error = ShipmentError;

    fn decide(&self, command: ShipmentCommand) -> Decision {
        match command {
            ShipmentCommand::Request { shipment_id, order_id, effect_key, carrier, delivery, lines } => {
                self.request(ShipmentRequested { shipment_id, order_id, effect_key, carrier, delivery, lines })
            }
            ShipmentCommand::RequestCancellation { shipment_id, order_id, effect_key, carrier, booking_key } => {
                let wish = ShipmentCancellationRequested { shipment_id, order_id, effect_key, carrier, booking_key };
                self.request_cancellation(wish)
            }
            ShipmentCommand::RecordBooked { tracking } => self.record(Stage::Booked, &tracking),
            ShipmentCommand::RecordRefused { reason } => self.record_refused(reason),
            ShipmentCommand::RecordDispatched { tracking } => self.record(Stage::Dispatched, &tracking),
            ShipmentCommand::RecordDelivered { tracking } => self.record(Stage::Delivered, &tracking),
            ShipmentCommand::RecordCancelled { effect_key, reason } => self.record_cancelled(effect_key, reason),
            ShipmentCommand::RecordCancellationRefused { effect_key, reason } => {
                self.record_cancellation_refused(effect_key, reason)
            }
        }
    }

    fn evolve(mut self, event: &ShipmentEvent) -> Self {
        match event {
            ShipmentEvent::Requested(event) => self.booking = Some(Booking::of(event)),
            ShipmentEvent::Booked(_) => self.reach(Stage::Booked),
            ShipmentEvent::Dispatched(_) => self.reach(Stage::Dispatched),
            ShipmentEvent::Delivered(_) => self.reach(Stage::Delivered),
            ShipmentEvent::Refused(event) => {
                if self.booking.as_ref().is_some_and(|booking| booking.effect_key == event.effect_key) {
                    self.reach(Stage::Refused);
                } else {
                    self.turned_away.push(event.effect_key.clone());
                }
            }
            ShipmentEvent::CancellationRequested(event) => self.settle(&event.effect_key, Fate::Pending),
            ShipmentEvent::Cancelled(event) => {
                self.settle(&event.effect_key, Fate::Done);
                self.reach(Stage::Cancelled);
            }
            ShipmentEvent::CancellationRefused(event) => self.settle(&event.effect_key, Fate::Refused),
        }
        self
    }
}

impl Shipment {
    /// None as long as the carrier was not asked for anything.
    #[must_use]
    pub fn booking(&self) -> Option<&Booking> {
        self.booking.as_ref()
    }

    /// What the carrier must be asked about before anything else: it may or may not have happened.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let booking = self.booking.iter().filter(|booking| booking.stage == Stage::Requested);
        let booking = booking.map(|booking| (&booking.effect_key, EffectKind::Booking));
        let cancellations = self.cancellations.iter().filter(|cancellation| cancellation.fate == Fate::Pending);
        let cancellations = cancellations.map(|cancellation| (&cancellation.effect_key, EffectKind::Cancellation));
        booking.chain(cancellations).map(|(key, kind)| Pending { effect_key: key.clone(), kind }).collect()
    }

    /// Whether it is cancelled, or about to be: no booking may be asked for any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.cancellations.iter().any(|cancellation| cancellation.fate != Fate::Refused)
    }

    fn request(&self, wanted: ShipmentRequested) -> Decision {
        let key = &wanted.effect_key;
        if self.cancellation(key).is_some() {
            return Err(ShipmentError::KeyTaken { effect_key: key.clone() });
        }
        if self.turned_away.contains(key) || self.booking.as_ref().is_some_and(|booking| booking.effect_key == *key) {
            return Ok(vec![]);
        }
        let reason = match self.booking {
            Some(_) => "the shipment has a booking already",
            None if self.cancellations.is_empty() => return Ok(vec![wanted.into()]),
            None => "cancelled before it came",
        };
        let ShipmentRequested { shipment_id, order_id, effect_key, carrier, .. } = wanted;
        Ok(vec![ShipmentRefused { shipment_id, order_id, effect_key, carrier, reason: reason.into() }.into()])
    }

    fn request_cancellation(&self, wish: ShipmentCancellationRequested) -> Decision {
        if self.turned_away.contains(&wish.effect_key)
            || self.booking.as_ref().is_some_and(|booking| booking.effect_key == wish.effect_key)
        {
            return Err(ShipmentError::KeyTaken { effect_key: wish.effect_key });
        }
        if self.cancellation(&wish.effect_key).is_some() {
            return Ok(vec![]);
        }
        let ShipmentCancellationRequested { shipment_id, order_id, effect_key, .. } = wish.clone();
        let cancelled = |reason: &str| {
            let (effect_key, reason) = (effect_key.clone(), reason.into());
            Ok(vec![ShipmentCancelled { shipment_id, order_id, effect_key, reason }.into()])
        };
        let refused = |reason: &str| {
            let (effect_key, reason) = (effect_key.clone(), reason.into());
            Ok(vec![ShipmentCancellationRefused { shipment_id, order_id, effect_key, reason }.into()])
        };
        let under_way = self.cancellations.iter().any(|cancellation| cancellation.fate == Fate::Pending);
        match &self.booking {
            None if self.cancellations.is_empty() => cancelled("cancelled before it was booked"),
            None => refused("the shipment is cancelled already"),
            Some(booking) if booking.effect_key != wish.booking_key => refused("the shipment has another booking"),
            Some(_) if under_way => refused("another cancellation is under way"),
            Some(booking) => match booking.stage {
                Stage::Requested | Stage::Booked => Ok(vec![wish.into()]),
                Stage::Refused => cancelled("the carrier had refused it"),
                Stage::Dispatched | Stage::Delivered => refused("the parcel has left"),
                Stage::Cancelled => refused("the shipment is cancelled already"),
            },
        }
    }

    /// The parcel got as far as `told`, and through every stage before.
    fn record(&self, told: Stage, tracking: &str) -> Decision {
        let booking = self.booking.as_ref().ok_or(ShipmentError::NotRequested)?;
        let Booking { shipment_id, order_id, effect_key, carrier, stage } = booking.clone();
        let (Some(reached), Some(going)) = (stage.progress(), told.progress()) else {
            // A booking that was cancelled in the meantime is old news; a cancelled parcel that left is not.
            return match (stage, told) {
                (Stage::Cancelled, Stage::Booked) => Ok(vec![]),
                (recorded, told) => Err(ShipmentError::Contradicted { recorded, told }),
            };
        };
        let tracking = || tracking.to_owned();
        let key = || effect_key.clone();
        let steps: [ShipmentEvent; 3] = [
            ShipmentBooked { shipment_id, order_id, effect_key: key(), carrier, tracking: tracking() }.into(),
            ShipmentDispatched { shipment_id, order_id, effect_key: key(), tracking: tracking() }.into(),
            ShipmentDelivered { shipment_id, order_id, effect_key: key(), tracking: tracking() }.into(),
        ];
        Ok(steps.into_iter().take(going).skip(reached).collect())
    }

    fn record_refused(&self, reason: String) -> Decision {
        let booking = self.booking.as_ref().ok_or(ShipmentError::NotRequested)?;
        let Booking { shipment_id, order_id, effect_key, carrier, stage } = booking.clone();
        match stage {
            Stage::Requested => Ok(vec![ShipmentRefused { shipment_id, order_id, effect_key, carrier, reason }.into()]),
            Stage::Refused | Stage::Cancelled => Ok(vec![]),
            Stage::Booked | Stage::Dispatched | Stage::Delivered => {
                Err(ShipmentError::Contradicted { recorded: stage, told: Stage::Refused })
            }
        }
    }

    fn record_cancelled(&self, effect_key: EffectKey, reason: String) -> Decision {
        let (booking, fate) = self.asked_to_cancel(&effect_key)?;
        match (fate, booking.stage) {
            (Fate::Done, _) => Ok(vec![]),
            (Fate::Refused, _) => Err(ShipmentError::CancellationContradicted { effect_key }),
            (Fate::Pending, Stage::Dispatched | Stage::Delivered) => {
                Err(ShipmentError::Contradicted { recorded: booking.stage, told: Stage::Cancelled })
            }
            (Fate::Pending, Stage::Requested | Stage::Booked | Stage::Refused | Stage::Cancelled) => {
                let &Booking { shipment_id, order_id, .. } = booking;
                Ok(vec![ShipmentCancelled { shipment_id, order_id, effect_key, reason }.into()])
            }
        }
    }

    fn record_cancellation_refused(&self, effect_key: EffectKey, reason: String) -> Decision {
        let (&Booking { shipment_id, order_id, .. }, fate) = self.asked_to_cancel(&effect_key)?;
        match fate {
            Fate::Pending => Ok(vec![ShipmentCancellationRefused { shipment_id, order_id, effect_key, reason }.into()]),
            Fate::Refused => Ok(vec![]),
            Fate::Done => Err(ShipmentError::CancellationContradicted { effect_key }),
        }
    }

    fn asked_to_cancel(&self, key: &EffectKey) -> Result<(&Booking, Fate), ShipmentError> {
        let asked = self.booking.as_ref().zip(self.cancellation(key));
        asked.ok_or_else(|| ShipmentError::CancellationNotRequested { effect_key: key.clone() })
    }

    fn cancellation(&self, key: &EffectKey) -> Option<Fate> {
        let mut cancellations = self.cancellations.iter();
        cancellations.find(|cancellation| cancellation.effect_key == *key).map(|cancellation| cancellation.fate)
    }

    fn settle(&mut self, key: &EffectKey, fate: Fate) {
        match self.cancellations.iter_mut().find(|cancellation| cancellation.effect_key == *key) {
            Some(cancellation) => cancellation.fate = fate,
            None => self.cancellations.push(Cancellation { effect_key: key.clone(), fate }),
        }
    }

    fn reach(&mut self, stage: Stage) {
        if let Some(booking) = &mut self.booking {
            booking.stage = stage;
        }
    }
}

impl Booking {
    fn of(event: &ShipmentRequested) -> Self {
        Self {
            shipment_id: event.shipment_id,
            order_id: event.order_id,
            effect_key: event.effect_key.clone(),
            carrier: event.carrier.clone(),
            stage: Stage::Requested,
        }
    }
}

impl Stage {
    /// How many steps of booked, dispatched, delivered are done; none for a parcel that will not go.
    const fn progress(self) -> Option<usize> {
        match self {
            Self::Requested => Some(0),
            Self::Booked => Some(1),
            Self::Dispatched => Some(2),
            Self::Delivered => Some(3),
            Self::Refused | Self::Cancelled => None,
        }
    }
}
