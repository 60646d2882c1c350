//! The rules of a shipment.

use events::EventPayload;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::given::{Given, given, play};

const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(2));

fn key(name: &str) -> EffectKey {
    name.parse().expect("a valid key")
}

/// An event of this shipment; the key comes first.
macro_rules! event {
    ($event:ident, $key:expr $(, $field:ident: $value:expr)*) => {
        ShipmentEvent::from($event { shipment_id: SHIPMENT, order_id: ORDER, effect_key: key($key) $(, $field: $value)* })
    };
}

fn parcel(name: &str) -> ShipmentRequested {
    ShipmentRequested {
        shipment_id: SHIPMENT,
        order_id: ORDER,
        effect_key: key(name),
        carrier: "swift".into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: "standard".into(),
        },
        lines: vec![StockLine { sku: "MUG".parse().expect("a valid SKU"), quantity: 2 }],
    }
}

fn request(name: &str) -> ShipmentCommand {
    let ShipmentRequested { shipment_id, order_id, effect_key, carrier, delivery, lines } = parcel(name);
    ShipmentCommand::Request { shipment_id, order_id, effect_key, carrier, delivery, lines }
}

fn cancel(name: &str) -> ShipmentCommand {
    ShipmentCommand::RequestCancellation {
        shipment_id: SHIPMENT,
        order_id: ORDER,
        effect_key: key(name),
        carrier: "swift".into(),
        booking_key: key("book"),
    }
}

fn book() -> ShipmentCommand {
    ShipmentCommand::RecordBooked { tracking: "T1".into() }
}

fn refuse() -> ShipmentCommand {
    ShipmentCommand::RecordRefused { reason: "no".into() }
}

fn dispatch() -> ShipmentCommand {
    ShipmentCommand::RecordDispatched { tracking: "T1".into() }
}

fn deliver() -> ShipmentCommand {
    ShipmentCommand::RecordDelivered { tracking: "T1".into() }
}

fn cancel_done(name: &str) -> ShipmentCommand {
    ShipmentCommand::RecordCancelled { effect_key: key(name), reason: "as asked".into() }
}

fn cancel_refused(name: &str) -> ShipmentCommand {
    ShipmentCommand::RecordCancellationRefused { effect_key: key(name), reason: "no".into() }
}

fn requested() -> ShipmentEvent {
    parcel("book").into()
}

fn booked() -> ShipmentEvent {
    event!(ShipmentBooked, "book", carrier: "swift".into(), tracking: "T1".into())
}

fn refused(name: &str, reason: &str) -> ShipmentEvent {
    event!(ShipmentRefused, name, carrier: "swift".into(), reason: reason.into())
}

fn dispatched() -> ShipmentEvent {
    event!(ShipmentDispatched, "book", tracking: "T1".into())
}

fn delivered() -> ShipmentEvent {
    event!(ShipmentDelivered, "book", tracking: "T1".into())
}

fn cancellation_requested(name: &str) -> ShipmentEvent {
    event!(ShipmentCancellationRequested, name, carrier: "swift".into(), booking_key: key("book"))
}

fn cancelled(name: &str, reason: &str) -> ShipmentEvent {
    event!(ShipmentCancelled, name, reason: reason.into())
}

fn cancellation_refused(name: &str, reason: &str) -> ShipmentEvent {
    event!(ShipmentCancellationRefused, name, reason: reason.into())
}

fn unknown() -> Given<Shipment> {
    given([])
}

fn after(events: &[ShipmentEvent]) -> Given<Shipment> {
    given(std::iter::once(requested()).chain(events.iter().cloned()))
}

#[test]
fn a_parcel_is_requested_booked_dispatched_and_delivered() {
    unknown().when(request("book")).then([requested()]);
    after(&[]).when(book()).then([booked()]);
    after(&[booked()]).when(dispatch()).then([dispatched()]);
    after(&[booked(), dispatched()]).when(deliver()).then([delivered()]);
}

#[test]
fn a_fact_that_comes_early_implies_those_before_it() {
    after(&[]).when(dispatch()).then([booked(), dispatched()]);
    after(&[]).when(deliver()).then([booked(), dispatched(), delivered()]);
    after(&[booked()]).when(deliver()).then([dispatched(), delivered()]);
}

#[test]
fn a_fact_that_comes_late_or_twice_does_nothing() {
    after(&[booked()]).when(book()).then_nothing();
    after(&[booked(), dispatched()]).when(book()).then_nothing();
    after(&[booked(), dispatched(), delivered()]).when(dispatch()).then_nothing();
    after(&[booked(), dispatched(), delivered()]).when(deliver()).then_nothing();
    after(&[refused("book", "no")]).when(refuse()).then_nothing();
}

#[test]
fn a_carrier_that_refuses_ends_the_stream() {
    after(&[]).when(refuse()).then([refused("book", "no")]);
    let contradicted = |recorded, told| ShipmentError::Contradicted { recorded, told };
    let no = after(&[refused("book", "no")]);
    no.when(book()).then_error(contradicted(Stage::Refused, Stage::Booked));
    no.when(dispatch()).then_error(contradicted(Stage::Refused, Stage::Dispatched));
    after(&[booked()]).when(refuse()).then_error(contradicted(Stage::Booked, Stage::Refused));
}

#[test]
fn what_nobody_asked_for_is_not_recorded() {
    for command in [book(), refuse(), dispatch(), deliver()] {
        unknown().when(command).then_error(ShipmentError::NotRequested);
    }
    for command in [cancel_done("x"), cancel_refused("x")] {
        let error = ShipmentError::CancellationNotRequested { effect_key: key("x") };
        after(&[booked()]).when(command).then_error(error);
    }
}

#[test]
fn a_parcel_that_has_not_left_can_be_cancelled() {
    for so_far in [vec![], vec![booked()]] {
        after(&so_far).when(cancel("c")).then([cancellation_requested("c")]);
        let asked = [so_far, vec![cancellation_requested("c")]].concat();
        after(&asked).when(cancel_done("c")).then([cancelled("c", "as asked")]);
        after(&asked).when(cancel_refused("c")).then([cancellation_refused("c", "no")]);
    }
}

#[test]
fn a_dispatched_parcel_cannot_be_cancelled() {
    let left = after(&[booked(), dispatched()]);
    left.when(cancel("c")).then([cancellation_refused("c", "the parcel has left")]);
    let delivered = after(&[booked(), dispatched(), delivered()]);
    delivered.when(cancel("c")).then([cancellation_refused("c", "the parcel has left")]);
}

#[test]
fn a_parcel_that_leaves_while_it_is_being_cancelled_has_left() {
    let asked = after(&[booked(), cancellation_requested("c")]);
    asked.when(dispatch()).then([dispatched()]);
    let left = after(&[booked(), cancellation_requested("c"), dispatched()]);
    left.when(cancel_refused("c")).then([cancellation_refused("c", "no")]);
    let contradicted = ShipmentError::Contradicted { recorded: Stage::Dispatched, told: Stage::Cancelled };
    left.when(cancel_done("c")).then_error(contradicted);
}

#[test]
fn a_cancellation_before_its_booking_is_a_tombstone_that_refuses_it() {
    let tombstone = || cancelled("c", "cancelled before it was booked");
    unknown().when(cancel("c")).then([tombstone()]);
    let never = given::<Shipment>([tombstone()]);
    never.when(cancel("c")).then_nothing();
    never.when(request("book")).then([refused("book", "cancelled before it came")]);
    let late = given::<Shipment>([tombstone(), refused("book", "cancelled before it came")]);
    late.when(request("book")).then_nothing();
    late.when(cancel("c")).then_nothing();
}

#[test]
fn a_booking_that_is_told_after_its_cancellation_is_old_news() {
    let over = after(&[cancellation_requested("c"), cancelled("c", "as asked")]);
    over.when(book()).then_nothing();
    over.when(refuse()).then_nothing();
    over.when(cancel_done("c")).then_nothing();
}

#[test]
fn a_cancelled_parcel_that_leaves_is_a_contradiction() {
    let over = after(&[booked(), cancellation_requested("c"), cancelled("c", "as asked")]);
    let contradicted = ShipmentError::Contradicted { recorded: Stage::Cancelled, told: Stage::Dispatched };
    over.when(dispatch()).then_error(contradicted);
    over.when(cancel_refused("c")).then_error(ShipmentError::CancellationContradicted { effect_key: key("c") });
}

#[test]
fn a_refused_booking_is_cancelled_without_asking_the_carrier() {
    after(&[refused("book", "no")]).when(cancel("c")).then([cancelled("c", "the carrier had refused it")]);
}

#[test]
fn one_cancellation_at_a_time_and_a_refused_one_may_be_tried_again() {
    let asked = after(&[cancellation_requested("c")]);
    asked.when(cancel("d")).then([cancellation_refused("d", "another cancellation is under way")]);
    let failed = after(&[cancellation_requested("c"), cancellation_refused("c", "no")]);
    failed.when(cancel("d")).then([cancellation_requested("d")]);
    failed.when(cancel_done("c")).then_error(ShipmentError::CancellationContradicted { effect_key: key("c") });
    let over = after(&[cancellation_requested("c"), cancelled("c", "as asked")]);
    over.when(cancel("d")).then([cancellation_refused("d", "the shipment is cancelled already")]);
}

#[test]
fn a_cancellation_names_the_booking_of_its_own_run() {
    let (effect_key, booking_key) = (key("c"), key("book-of-another-run"));
    let carrier = "swift".into();
    let foreign = ShipmentCommand::RequestCancellation {
        shipment_id: SHIPMENT,
        order_id: ORDER,
        effect_key,
        carrier,
        booking_key,
    };
    after(&[booked()]).when(foreign).then([cancellation_refused("c", "the shipment has another booking")]);
}

#[test]
fn a_shipment_has_one_booking() {
    let second = refused("again", "the shipment has a booking already");
    after(&[booked()]).when(request("again")).then([second.clone()]);
    let still = after(&[booked(), second]);
    still.when(request("again")).then_nothing();
    still.when(dispatch()).then([dispatched()]);
}

#[test]
fn asking_again_under_the_same_key_adds_nothing() {
    for so_far in [vec![], vec![booked()], vec![refused("book", "no")]] {
        after(&so_far).when(request("book")).then_nothing();
    }
    after(&[cancellation_requested("c")]).when(cancel("c")).then_nothing();
    after(&[cancellation_requested("c"), cancellation_refused("c", "no")]).when(cancel("c")).then_nothing();
}

#[test]
fn a_key_names_one_effect_for_ever() {
    after(&[booked()]).when(cancel("book")).then_error(ShipmentError::KeyTaken { effect_key: key("book") });
    let asked = after(&[cancellation_requested("c")]);
    asked.when(request("c")).then_error(ShipmentError::KeyTaken { effect_key: key("c") });
}

#[test]
fn what_is_pending_is_known() {
    let pending = after(&[cancellation_requested("c")]).state().pending();
    let kinds = pending.into_iter().map(|pending| (pending.effect_key, pending.kind)).collect::<Vec<_>>();
    assert_eq!(kinds, [(key("book"), EffectKind::Booking), (key("c"), EffectKind::Cancellation)]);
    assert_eq!(after(&[booked(), dispatched()]).state().pending(), []);
}

fn any_command() -> impl Strategy<Value = ShipmentCommand> {
    let name = || prop::sample::select(&["c", "d", "book"][..]);
    prop_oneof![
        3 => Just(request("book")),
        1 => name().prop_map(request),
        2 => name().prop_map(cancel),
        2 => Just(book()),
        1 => Just(refuse()),
        1 => Just(dispatch()),
        1 => Just(deliver()),
        1 => name().prop_map(cancel_done),
        1 => name().prop_map(cancel_refused),
    ]
}

proptest! {
    #[test]
    fn a_parcel_leaves_or_is_cancelled_but_never_both(commands in prop::collection::vec(any_command(), 0..40)) {
        let (mut left, mut cancelled) = (0, 0);
        play::<Shipment>(commands, |_, _, outcome, _| {
            for event in outcome.iter().flatten() {
                match event {
                    ShipmentEvent::Dispatched(_) => left += 1,
                    ShipmentEvent::Cancelled(_) => cancelled += 1,
                    ShipmentEvent::Requested(_) | ShipmentEvent::Booked(_) | ShipmentEvent::Refused(_)
                    | ShipmentEvent::Delivered(_) | ShipmentEvent::CancellationRequested(_)
                    | ShipmentEvent::CancellationRefused(_) => (),
                }
            }
        });
        prop_assert!(left + cancelled <= 1, "left {left} times, cancelled {cancelled} times");
    }

    #[test]
    fn each_fact_is_recorded_once_an_effect(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut facts = std::collections::BTreeSet::new();
        play::<Shipment>(commands, |_, _, outcome, _| {
            for event in outcome.iter().flatten() {
                assert!(facts.insert((event.event_type(), event.effect_key().clone())), "{event:?} twice");
            }
        });
    }

    #[test]
    fn the_same_command_again_changes_nothing(commands in prop::collection::vec(any_command(), 0..40)) {
        play::<Shipment>(commands, |_, command, outcome, after| {
            if outcome.is_ok() {
                assert_eq!(after.decide(command.clone()), Ok(vec![]), "{command:?} again");
            }
        });
    }
}
