//! A carrier's state and rules: a parcel that left cannot be cancelled, and a cancellation that comes before its booking
//! wins. Pure; `effects` keeps the answers.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    effects::{Answer, Book, Effects, Entry, Request, Status, Verdict},
    input::{EffectKey, Label, ScriptText},
    names::Names,
    news::News,
    script::{CarrierScript, Conduct, Operation},
};

/// The carriers that exist, the first choice first.
pub(super) const CARRIERS: [&str; 2] = ["swift", "steady"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum CarrierRequest {
    Booking(Booking),
    Cancellation(Cancellation),
    Dispatch(Dispatch),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Booking {
    pub(super) effect_key: EffectKey,
    pub(super) shipment_id: EffectKey,
    pub(super) order_id: EffectKey,
    pub(super) service: ScriptText,
    pub(super) postal_code: Label,
    pub(super) country: Label,
    pub(super) parcels: Vec<Parcel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parcel {
    pub(super) sku: Label,
    pub(super) quantity: NonZeroU32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancellation {
    pub(super) effect_key: EffectKey,
    pub(super) booking_key: EffectKey,
}

/// The parcel leaves: told by the clock or by hand, so there is no effect key of Waybill's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dispatch {
    pub(super) booking_key: EffectKey,
}

impl Request for CarrierRequest {
    fn effect_key(&self) -> Cow<'_, str> {
        match self {
            Self::Booking(booking) => Cow::Borrowed(&*booking.effect_key),
            Self::Cancellation(cancellation) => Cow::Borrowed(&*cancellation.effect_key),
            // No caller's key holds a line break, so this one is nobody else's.
            Self::Dispatch(dispatch) => Cow::Owned(format!("dispatch\n{}", &*dispatch.booking_key)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Booking(_) => "booking",
            Self::Cancellation(_) => "cancellation",
            Self::Dispatch(_) => "dispatch",
        }
    }
}

pub(super) struct Carrier {
    name: &'static str,
    effects: Effects<CarrierRequest>,
    booked: HashMap<EffectKey, Booked>,
    /// Bookings that were cancelled before they came.
    tombstones: HashSet<EffectKey>,
}

struct Booked {
    shipment_id: EffectKey,
    service: ScriptText,
    tracking: String,
    dispatched: bool,
    cancelled: bool,
}

impl Carrier {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, effects: Effects::default(), booked: HashMap::new(), tombstones: HashSet::new() }
    }

    pub(super) fn knows(&self, booking_key: &EffectKey) -> bool {
        self.booked.contains_key(booking_key)
    }

    fn book(&self, asked: &Booking, names: &Names) -> Verdict {
        let key = &*asked.effect_key;
        if self.tombstones.contains(&asked.effect_key) {
            return Answer::no(key, 409, Status::Cancelled, "cancelled before it was asked for").into();
        }
        if self.script(&asked.service, Operation::Book).refuse {
            return Answer::refused(key, "the service is not offered for this address").into();
        }
        let tracking = names.name(&format!("{}-", self.name.to_uppercase()), &[key]);
        Answer::applied(key, Status::Booked).with_tracking(tracking).into()
    }

    fn cancel(&self, asked: &Cancellation) -> Verdict {
        let key = &*asked.effect_key;
        let cancelled = Answer::applied(key, Status::Cancelled);
        let Some(booked) = self.booked.get(&asked.booking_key) else {
            let applied = !self.tombstones.contains(&asked.booking_key);
            return Answer { applied, ..cancelled }.into();
        };
        if self.script(&booked.service, Operation::Cancel).refuse {
            Answer::refused(key, "cancellation refused").into()
        } else if booked.dispatched {
            Answer::refused(key, "already dispatched").into()
        } else {
            Answer { applied: !booked.cancelled, ..cancelled }.into()
        }
    }

    fn dispatch(&self, asked: &Dispatch) -> Verdict {
        let key = &*asked.booking_key;
        let Some(booked) = self.booked.get(&asked.booking_key) else {
            return Answer::no(key, 404, Status::Refused, "unknown booking").into();
        };
        if booked.cancelled {
            return Answer::no(key, 409, Status::Cancelled, "the booking was cancelled").into();
        }
        let news = |name| News { name, fields: self.news_fields(key, booked) };
        let mut told = vec![news("shipment.dispatched")];
        if self.script(&booked.service, Operation::Dispatch).delivered {
            told.push(news("shipment.delivered"));
        }
        let answer = Answer::applied(key, Status::Dispatched).with_tracking(booked.tracking.clone());
        Verdict { answer: Answer { code: 200, ..answer }, news: told }
    }

    fn news_fields(&self, booking_key: &str, booked: &Booked) -> Map<String, Value> {
        let fields: [(&str, Value); 3] = [
            ("booking_key", booking_key.into()),
            ("shipment_id", (*booked.shipment_id).into()),
            ("tracking", booked.tracking.clone().into()),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn dispatch_of(&self, booking_key: &EffectKey, service: &str) -> Option<(Duration, CarrierRequest)> {
        let after = self.script(service, Operation::Book).dispatch_after?;
        Some((after, CarrierRequest::Dispatch(Dispatch { booking_key: booking_key.clone() })))
    }

    fn script(&self, service: &str, operation: Operation) -> CarrierScript {
        CarrierScript::parse(service, self.name, operation)
    }
}

impl Book for Carrier {
    type Request = CarrierRequest;
    type Line = LedgerLine;
    const WEBHOOK_PATH: &'static str = "/v1/webhooks/carrier";

    fn effects(&self) -> &Effects<CarrierRequest> {
        &self.effects
    }

    fn effects_mut(&mut self) -> &mut Effects<CarrierRequest> {
        &mut self.effects
    }

    fn conduct(&self, request: &CarrierRequest) -> Conduct {
        let booked = |key| self.booked.get(key).map(|booked| &booked.service);
        let (service, operation) = match request {
            CarrierRequest::Booking(booking) => (Some(&booking.service), Operation::Book),
            CarrierRequest::Cancellation(cancellation) => (booked(&cancellation.booking_key), Operation::Cancel),
            CarrierRequest::Dispatch(dispatch) => (booked(&dispatch.booking_key), Operation::Dispatch),
        };
        service.map_or_else(Conduct::default, |service| self.script(service, operation).conduct)
    }

    fn judge(&self, request: &CarrierRequest, names: &Names) -> Verdict {
        match request {
            CarrierRequest::Booking(booking) => self.book(booking, names),
            CarrierRequest::Cancellation(cancellation) => self.cancel(cancellation),
            CarrierRequest::Dispatch(dispatch) => self.dispatch(dispatch),
        }
    }

    fn settle(&mut self, request: &CarrierRequest, answer: &Answer) {
        match request {
            CarrierRequest::Booking(booking) => {
                let booked = Booked {
                    shipment_id: booking.shipment_id.clone(),
                    service: booking.service.clone(),
                    tracking: answer.body.tracking.clone().unwrap_or_default(),
                    dispatched: false,
                    cancelled: false,
                };
                self.booked.insert(booking.effect_key.clone(), booked);
            }
            CarrierRequest::Cancellation(cancellation) => {
                if let Some(booked) = self.booked.get_mut(&cancellation.booking_key) {
                    booked.cancelled = true;
                } else {
                    self.tombstones.insert(cancellation.booking_key.clone());
                }
            }
            CarrierRequest::Dispatch(dispatch) => {
                if let Some(booked) = self.booked.get_mut(&dispatch.booking_key) {
                    booked.dispatched = true;
                }
            }
        }
    }

    fn ledger_line(&self, entry: &Entry<CarrierRequest>) -> Option<LedgerLine> {
        let (parent_key, booking_key) = match &entry.request {
            CarrierRequest::Booking(booking) => (None, &booking.effect_key),
            CarrierRequest::Cancellation(cancellation) => (Some(&cancellation.booking_key), &cancellation.booking_key),
            CarrierRequest::Dispatch(_) => return None,
        };
        let booked = self.booked.get(booking_key);
        Some(LedgerLine {
            kind: entry.request.kind(),
            effect_key: entry.request.effect_key().into_owned(),
            parent_key: parent_key.map(|key| key.to_string()),
            shipment_id: booked.map(|booked| booked.shipment_id.to_string()),
            tracking: booked.map(|booked| booked.tracking.clone()),
            dispatched: booked.is_some_and(|booked| booked.dispatched),
            status: entry.answer.as_ref()?.body.status,
            applied: entry.applied,
            asked: entry.asked,
        })
    }

    fn follow_up(&self, request: &CarrierRequest, answer: &Answer) -> Option<(Duration, CarrierRequest)> {
        match request {
            CarrierRequest::Booking(Booking { effect_key, service, .. }) if answer.applied => {
                self.dispatch_of(effect_key, service)
            }
            CarrierRequest::Booking(_) | CarrierRequest::Cancellation(_) | CarrierRequest::Dispatch(_) => None,
        }
    }

    fn open_follow_ups(&self) -> Vec<(Duration, CarrierRequest)> {
        let open = self.booked.iter().filter(|(_, booked)| !booked.dispatched && !booked.cancelled);
        open.filter_map(|(key, booked)| self.dispatch_of(key, &booked.service)).collect()
    }
}

/// An applied effect. A cancellation that came before its booking knows no shipment.
#[derive(Serialize)]
pub(super) struct LedgerLine {
    kind: &'static str,
    effect_key: String,
    parent_key: Option<String>,
    shipment_id: Option<String>,
    tracking: Option<String>,
    dispatched: bool,
    status: Status,
    applied: u32,
    asked: u32,
}
