//! E: each effect was intended before it was applied, applied at most once, undone at most once.

use uuid::Uuid;

use super::{
    facts::{Fact, HoldStep, OfPayment, OfShipment, PaymentStep, ShipmentStep},
    findings::{Invariant, Judge},
};

/// What an effect key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Authorisation,
    Capture,
    Void,
    Refund,
    Booking,
    Cancellation,
    Reservation,
    Release,
    Commit,
    PutBack,
}

#[derive(Debug)]
struct Effect {
    kind: Kind,
    effect_key: String,
    /// The payment or shipment; nil for stock.
    subject: Uuid,
}

/// One order's effects. A handful, so lists are searched.
#[derive(Debug, Default)]
pub(super) struct OrderEffects {
    /// Keys that the saga has decided on.
    intended: Vec<String>,
    requested: Vec<Effect>,
    /// Asked for, and not answered yet.
    pending: Vec<String>,
    applied: Vec<Effect>,
    /// Undone before they were asked for: they must never be applied.
    tombstones: Vec<(Kind, Uuid)>,
    outcomes: Vec<(Uuid, String)>,
}

/// The effect that a fact tells to be applied, with its key.
pub(super) fn applied(fact: &Fact) -> Option<(Kind, &str)> {
    match fact {
        Fact::Silent | Fact::Received(_) | Fact::Adjusted(_) | Fact::Placed(_) | Fact::Order(..) | Fact::Saga(..) => {
            None
        }
        Fact::Hold(step, hold) => hold_kind(*step).map(|kind| (kind, hold.effect_key.as_str())),
        Fact::Payment(step, payment) => payment_kinds(*step).1.map(|kind| (kind, payment.effect_key.as_str())),
        Fact::Shipment(step, shipment) => shipment_kinds(*step).1.map(|kind| (kind, shipment.effect_key.as_str())),
    }
}

impl OrderEffects {
    pub(super) fn intend(&mut self, effect_key: &str) {
        if !self.intended.iter().any(|known| known == effect_key) {
            self.intended.push(effect_key.into());
        }
    }

    /// A command has one outcome: it never makes the same event twice.
    pub(super) fn outcome(&mut self, cause: Uuid, event_type: &str, judge: &mut Judge<'_>) {
        let repeated = self.outcomes.iter().any(|(known, known_type)| *known == cause && known_type == event_type);
        judge.holds(Invariant::Effects, !repeated, || format!("command {cause} has a second {event_type}"));
        self.outcomes.push((cause, event_type.into()));
    }

    pub(super) fn hold(&mut self, step: HoldStep, effect_key: &str, judge: &mut Judge<'_>) {
        let Some(kind) = hold_kind(step) else { return };
        self.needs_intention(kind, effect_key, judge);
        self.apply(kind, effect_key, Uuid::nil(), judge);
    }

    pub(super) fn payment(&mut self, step: PaymentStep, fact: &OfPayment, judge: &mut Judge<'_>) {
        let (requests, applies) = payment_kinds(step);
        let (effect_key, subject) = (fact.effect_key.as_str(), fact.payment_id);
        self.pending.retain(|pending| pending != effect_key);
        if let Some(kind) = requests {
            self.request(kind, effect_key, subject, judge);
        }
        let Some(kind) = applies else { return };
        // Voiding what was never held needs no provider.
        let nothing_held = kind == Kind::Void && !self.has(Kind::Authorisation, subject);
        self.needs_request(kind, effect_key, nothing_held, judge);
        if kind == Kind::Void {
            self.bury_unless_requested(Kind::Authorisation, subject);
        }
        if kind == Kind::Capture {
            let other = self.applied.iter().find(|effect| effect.kind == kind && effect.subject != subject);
            let kept = other.is_some_and(|other| !self.has(Kind::Refund, other.subject));
            judge.holds(Invariant::Effects, !kept, || format!("order {} is charged by two payments", fact.order_id));
        }
        if kind != Kind::Refund {
            self.once_a_subject(kind, subject, judge);
        }
        self.apply(kind, effect_key, subject, judge);
    }

    pub(super) fn shipment(&mut self, step: ShipmentStep, fact: &OfShipment, judge: &mut Judge<'_>) {
        let (requests, applies) = shipment_kinds(step);
        let (effect_key, subject) = (fact.effect_key.as_str(), fact.shipment_id);
        self.pending.retain(|pending| pending != effect_key);
        if let Some(kind) = requests {
            self.request(kind, effect_key, subject, judge);
        }
        let Some(kind) = applies else { return };
        // Cancelling what was never booked needs no carrier.
        let nothing_booked = kind == Kind::Cancellation && !self.has(Kind::Booking, subject);
        self.needs_request(kind, effect_key, nothing_booked, judge);
        if kind == Kind::Cancellation {
            self.bury_unless_requested(Kind::Booking, subject);
        }
        if kind == Kind::Booking {
            let mut others = self.applied.iter().filter(|effect| effect.kind == kind && effect.subject != subject);
            let two = others.any(|other| !self.has(Kind::Cancellation, other.subject));
            judge.holds(Invariant::Effects, !two, || format!("order {} has two parcels booked", fact.order_id));
        }
        self.once_a_subject(kind, subject, judge);
        self.apply(kind, effect_key, subject, judge);
    }

    fn request(&mut self, kind: Kind, effect_key: &str, subject: Uuid, judge: &mut Judge<'_>) {
        self.needs_intention(kind, effect_key, judge);
        self.requested.push(Effect { kind, effect_key: effect_key.into(), subject });
        self.pending.push(effect_key.into());
    }

    /// Whether an answer may still come, such as to an authorisation that was voided unheard.
    pub(super) fn any_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn needs_intention(&self, kind: Kind, effect_key: &str, judge: &mut Judge<'_>) {
        let intended = self.intended.iter().any(|known| known == effect_key);
        judge.holds(Invariant::Effects, intended, || format!("{kind:?} {effect_key} was decided on by no saga"));
    }

    fn needs_request(&self, kind: Kind, effect_key: &str, excused: bool, judge: &mut Judge<'_>) {
        self.needs_intention(kind, effect_key, judge);
        let requested =
            excused || self.requested.iter().any(|effect| effect.kind == kind && effect.effect_key == effect_key);
        judge.holds(Invariant::Effects, requested, || format!("{kind:?} {effect_key} comes before its intent"));
    }

    fn apply(&mut self, kind: Kind, effect_key: &str, subject: Uuid, judge: &mut Judge<'_>) {
        let again = self.applied.iter().any(|effect| effect.kind == kind && effect.effect_key == effect_key);
        judge.holds(Invariant::Effects, !again, || format!("{kind:?} {effect_key} is applied again"));
        let buried = self.tombstones.contains(&(kind, subject));
        judge.holds(Invariant::Effects, !buried, || format!("{kind:?} {effect_key} is applied after it was undone"));
        self.applied.push(Effect { kind, effect_key: effect_key.into(), subject });
    }

    fn once_a_subject(&self, kind: Kind, subject: Uuid, judge: &mut Judge<'_>) {
        judge.holds(Invariant::Effects, !self.has(kind, subject), || format!("{subject} has a second {kind:?}"));
    }

    fn bury_unless_requested(&mut self, kind: Kind, subject: Uuid) {
        if !self.requested.iter().any(|effect| effect.kind == kind && effect.subject == subject) {
            self.tombstones.push((kind, subject));
        }
    }

    fn has(&self, kind: Kind, subject: Uuid) -> bool {
        self.applied.iter().any(|effect| effect.kind == kind && effect.subject == subject)
    }
}

const fn hold_kind(step: HoldStep) -> Option<Kind> {
    match step {
        HoldStep::Reserved => Some(Kind::Reservation),
        HoldStep::Released => Some(Kind::Release),
        HoldStep::Committed => Some(Kind::Commit),
        HoldStep::PutBack => Some(Kind::PutBack),
        HoldStep::Refused => None,
    }
}

/// What a fact asks for, and what it tells to be done.
const fn payment_kinds(step: PaymentStep) -> (Option<Kind>, Option<Kind>) {
    match step {
        PaymentStep::AuthorisationRequested => (Some(Kind::Authorisation), None),
        PaymentStep::CaptureRequested => (Some(Kind::Capture), None),
        PaymentStep::VoidRequested => (Some(Kind::Void), None),
        PaymentStep::RefundRequested => (Some(Kind::Refund), None),
        PaymentStep::Authorised => (None, Some(Kind::Authorisation)),
        PaymentStep::Captured => (None, Some(Kind::Capture)),
        PaymentStep::Voided => (None, Some(Kind::Void)),
        PaymentStep::Refunded => (None, Some(Kind::Refund)),
        PaymentStep::Declined | PaymentStep::CaptureRefused | PaymentStep::VoidRefused | PaymentStep::RefundRefused => {
            (None, None)
        }
    }
}

const fn shipment_kinds(step: ShipmentStep) -> (Option<Kind>, Option<Kind>) {
    match step {
        ShipmentStep::Requested => (Some(Kind::Booking), None),
        ShipmentStep::CancellationRequested => (Some(Kind::Cancellation), None),
        ShipmentStep::Booked => (None, Some(Kind::Booking)),
        ShipmentStep::Cancelled => (None, Some(Kind::Cancellation)),
        ShipmentStep::Refused
        | ShipmentStep::Dispatched
        | ShipmentStep::Delivered
        | ShipmentStep::CancellationRefused => (None, None),
    }
}
