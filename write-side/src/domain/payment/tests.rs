//! The rules of a payment.

mod properties;

use events::Currency;
use uuid::Uuid;

use super::*;
use crate::domain::given::{Given, given};

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(2));

fn gbp(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn key(name: &str) -> EffectKey {
    name.parse().expect("a valid key")
}

fn authorise(amount: i64) -> PaymentCommand {
    let (effect_key, amount) = (key("auth"), gbp(amount));
    PaymentCommand::Authorise { payment_id: PAYMENT, order_id: ORDER, effect_key, amount, token: "tok".into() }
}

fn void(name: &str) -> PaymentCommand {
    let (effect_key, authorisation_key) = (key(name), key("auth"));
    PaymentCommand::Void { payment_id: PAYMENT, order_id: ORDER, effect_key, authorisation_key }
}

fn capture(name: &str, amount: i64) -> PaymentCommand {
    PaymentCommand::Capture { payment_id: PAYMENT, order_id: ORDER, effect_key: key(name), amount: gbp(amount) }
}

fn refund(name: &str, amount: i64) -> PaymentCommand {
    PaymentCommand::Refund { payment_id: PAYMENT, order_id: ORDER, effect_key: key(name), amount: gbp(amount) }
}

/// An event of this payment; the key comes first.
macro_rules! event {
    ($event:ident, $key:expr $(, $field:ident: $value:expr)*) => {
        PaymentEvent::from($event { payment_id: PAYMENT, order_id: ORDER, effect_key: key($key) $(, $field: $value)* })
    };
}

fn auth_requested(amount: i64) -> PaymentEvent {
    event!(PaymentAuthorisationRequested, "auth", amount: gbp(amount), token: "tok".into())
}

fn authorised(amount: i64) -> PaymentEvent {
    event!(PaymentAuthorised, "auth", amount: gbp(amount), provider_reference: "P1".into())
}

fn declined(reason: &str) -> PaymentEvent {
    event!(PaymentDeclined, "auth", reason: reason.into())
}

fn void_requested(name: &str) -> PaymentEvent {
    event!(VoidRequested, name)
}

fn voided(name: &str) -> PaymentEvent {
    event!(PaymentVoided, name)
}

fn void_refused(name: &str, reason: &str) -> PaymentEvent {
    event!(VoidRefused, name, reason: reason.into())
}

fn capture_requested(name: &str, amount: i64) -> PaymentEvent {
    event!(CaptureRequested, name, amount: gbp(amount))
}

fn captured(name: &str, amount: i64) -> PaymentEvent {
    event!(PaymentCaptured, name, amount: gbp(amount), provider_reference: "P2".into())
}

fn capture_refused(name: &str, reason: &str) -> PaymentEvent {
    event!(CaptureRefused, name, reason: reason.into())
}

fn refund_requested(name: &str, amount: i64) -> PaymentEvent {
    event!(RefundRequested, name, amount: gbp(amount))
}

fn refunded(name: &str, amount: i64) -> PaymentEvent {
    event!(PaymentRefunded, name, amount: gbp(amount), provider_reference: "P3".into())
}

fn refund_refused(name: &str, reason: &str) -> PaymentEvent {
    event!(RefundRefused, name, reason: reason.into())
}

/// The provider's word that an effect is done, or refused.
fn done(kind: EffectKind, name: &str) -> PaymentCommand {
    let (effect_key, provider_reference) = (key(name), "P".into());
    match kind {
        Authorisation => PaymentCommand::RecordAuthorised { effect_key, provider_reference },
        Void => PaymentCommand::RecordVoided { effect_key },
        Capture => PaymentCommand::RecordCaptured { effect_key, provider_reference },
        Refund => PaymentCommand::RecordRefunded { effect_key, provider_reference },
    }
}

fn not_done(kind: EffectKind, name: &str) -> PaymentCommand {
    let (effect_key, reason) = (key(name), "no".into());
    match kind {
        Authorisation => PaymentCommand::RecordDeclined { effect_key, reason },
        Void => PaymentCommand::RecordVoidRefused { effect_key, reason },
        Capture => PaymentCommand::RecordCaptureRefused { effect_key, reason },
        Refund => PaymentCommand::RecordRefundRefused { effect_key, reason },
    }
}

fn payment(events: impl IntoIterator<Item = PaymentEvent>) -> Given<Payment> {
    given(events)
}

fn holding_100(and: impl IntoIterator<Item = PaymentEvent>) -> Given<Payment> {
    given([auth_requested(100), authorised(100)].into_iter().chain(and))
}

fn captured_100(and: impl IntoIterator<Item = PaymentEvent>) -> Given<Payment> {
    holding_100([capture_requested("cap", 100), captured("cap", 100)].into_iter().chain(and))
}

#[test]
fn money_is_authorised_captured_and_refunded_each_intent_first() {
    payment([]).when(authorise(100)).then([auth_requested(100)]);
    let reference = || "P1".into();
    let told = PaymentCommand::RecordAuthorised { effect_key: key("auth"), provider_reference: reference() };
    payment([auth_requested(100)]).when(told).then([authorised(100)]);
    holding_100([]).when(capture("cap", 100)).then([capture_requested("cap", 100)]);
    let told = PaymentCommand::RecordCaptured { effect_key: key("cap"), provider_reference: "P2".into() };
    holding_100([capture_requested("cap", 100)]).when(told).then([captured("cap", 100)]);
    captured_100([]).when(refund("r1", 40)).then([refund_requested("r1", 40)]);
    let told = PaymentCommand::RecordRefunded { effect_key: key("r1"), provider_reference: "P3".into() };
    captured_100([refund_requested("r1", 40)]).when(told).then([refunded("r1", 40)]);
}

#[test]
fn what_the_provider_refuses_is_recorded_with_its_reason() {
    payment([auth_requested(100)]).when(not_done(Authorisation, "auth")).then([declined("no")]);
    holding_100([void_requested("v")]).when(not_done(Void, "v")).then([void_refused("v", "no")]);
    holding_100([capture_requested("c", 1)]).when(not_done(Capture, "c")).then([capture_refused("c", "no")]);
    captured_100([refund_requested("r", 1)]).when(not_done(Refund, "r")).then([refund_refused("r", "no")]);
}

#[test]
fn two_concurrent_refunds_of_60_on_100_leave_one_refused() {
    let reason = "it exceeds what is captured and not refunded yet";
    captured_100([refund_requested("r1", 60)]).when(refund("r2", 60)).then([refund_refused("r2", reason)]);
    let one_done = [refund_requested("r1", 60), refunded("r1", 60)];
    captured_100(one_done.clone()).when(refund("r2", 60)).then([refund_refused("r2", reason)]);
    captured_100(one_done).when(refund("r2", 40)).then([refund_requested("r2", 40)]);
}

#[test]
fn a_refused_refund_frees_its_amount() {
    let first_refused = [refund_requested("r1", 60), refund_refused("r1", "no")];
    captured_100(first_refused).when(refund("r2", 60)).then([refund_requested("r2", 60)]);
}

#[test]
fn only_captured_money_is_refunded() {
    holding_100([]).when(refund("r", 1)).then([refund_refused("r", "nothing is captured")]);
    let pending = holding_100([capture_requested("cap", 100)]);
    pending.when(refund("r", 1)).then([refund_refused("r", "nothing is captured")]);
    captured_100([]).when(refund("r", -1)).then([refund_refused("r", "the amount is negative")]);
}

#[test]
fn no_more_is_captured_than_authorised() {
    let reason = "it exceeds what is authorised";
    holding_100([]).when(capture("c", 101)).then([capture_refused("c", reason)]);
    holding_100([]).when(capture("c", i64::MAX)).then([capture_refused("c", reason)]);
    let part = holding_100([capture_requested("c", 60)]);
    part.when(capture("d", 60)).then([capture_refused("d", reason)]);
    part.when(capture("d", 40)).then([capture_requested("d", 40)]);
}

#[test]
fn nothing_is_captured_before_it_is_authorised() {
    let refused = || [capture_refused("c", "nothing is authorised")];
    payment([]).when(capture("c", 1)).then(refused());
    payment([auth_requested(100)]).when(capture("c", 1)).then(refused());
    payment([auth_requested(100), declined("no")]).when(capture("c", 1)).then(refused());
}

#[test]
fn nothing_is_captured_once_a_void_is_wanted() {
    let refused = || [capture_refused("c", "the authorisation is voided")];
    holding_100([void_requested("v")]).when(capture("c", 1)).then(refused());
    holding_100([void_requested("v"), voided("v")]).when(capture("c", 1)).then(refused());
    let refused_void = holding_100([void_requested("v"), void_refused("v", "no")]);
    refused_void.when(capture("c", 1)).then([capture_requested("c", 1)]);
}

#[test]
fn another_currency_is_refused() {
    let euros = |effect_key, amount| (PAYMENT, ORDER, effect_key, Money::new(amount, Currency::EUR));
    let (payment_id, order_id, effect_key, amount) = euros(key("c"), 1);
    let capture = PaymentCommand::Capture { payment_id, order_id, effect_key, amount };
    holding_100([]).when(capture).then([capture_refused("c", "the currency is not the authorised one")]);
    let (payment_id, order_id, effect_key, amount) = euros(key("r"), 1);
    let refund = PaymentCommand::Refund { payment_id, order_id, effect_key, amount };
    captured_100([]).when(refund).then([refund_refused("r", "the currency is not the captured one")]);
}

#[test]
fn a_payment_of_nothing_goes_all_the_way() {
    payment([]).when(authorise(0)).then([auth_requested(0)]);
    let held = payment([auth_requested(0), authorised(0)]);
    held.when(capture("c", 0)).then([capture_requested("c", 0)]);
    payment([]).when(authorise(-1)).then([declined("the amount is negative")]);
}

#[test]
fn an_authorisation_is_voided_whether_it_is_known_to_have_happened_or_not() {
    payment([auth_requested(100)]).when(void("v")).then([void_requested("v")]);
    holding_100([]).when(void("v")).then([void_requested("v")]);
    holding_100([void_requested("v")]).when(done(Void, "v")).then([voided("v")]);
}

#[test]
fn a_void_before_its_authorisation_is_a_tombstone_that_declines_it() {
    payment([]).when(void("v")).then([void_requested("v")]);
    for so_far in [vec![void_requested("v")], vec![void_requested("v"), voided("v")]] {
        payment(so_far.clone()).when(authorise(100)).then([declined("voided before it came")]);
        let late = payment(so_far.into_iter().chain([declined("voided before it came")]));
        late.when(authorise(100)).then_nothing();
        late.when(void("v")).then_nothing();
    }
}

#[test]
fn a_declined_authorisation_is_voided_without_asking_the_provider() {
    payment([auth_requested(100), declined("no")]).when(void("v")).then([voided("v")]);
}

#[test]
fn captured_money_is_not_voided() {
    let reason = "the money is being captured or is captured: refund it instead";
    holding_100([capture_requested("cap", 100)]).when(void("v")).then([void_refused("v", reason)]);
    captured_100([]).when(void("v")).then([void_refused("v", reason)]);
    let capture_failed = holding_100([capture_requested("cap", 100), capture_refused("cap", "no")]);
    capture_failed.when(void("v")).then([void_requested("v")]);
}

#[test]
fn a_void_names_the_authorisation_of_its_own_run() {
    let (effect_key, authorisation_key) = (key("v"), key("auth-of-another-run"));
    let foreign = PaymentCommand::Void { payment_id: PAYMENT, order_id: ORDER, effect_key, authorisation_key };
    holding_100([]).when(foreign).then([void_refused("v", "the payment has another authorisation")]);
}

#[test]
fn one_void_at_a_time_and_a_refused_one_may_be_tried_again() {
    holding_100([void_requested("v")]).when(void("w")).then([void_refused("w", "another void is under way")]);
    let over = holding_100([void_requested("v"), voided("v")]);
    over.when(void("w")).then([void_refused("w", "the payment is voided already")]);
    let failed = holding_100([void_requested("v"), void_refused("v", "no")]);
    failed.when(void("w")).then([void_requested("w")]);
}

#[test]
fn a_payment_has_one_authorisation() {
    let (effect_key, reason) = (key("again"), "the payment has an authorisation already");
    let again = PaymentCommand::Authorise {
        payment_id: PAYMENT,
        order_id: ORDER,
        effect_key,
        amount: gbp(1),
        token: "tok".into(),
    };
    let refused = event!(PaymentDeclined, "again", reason: reason.into());
    holding_100([]).when(again.clone()).then([refused.clone()]);
    let after = holding_100([refused]);
    after.when(again).then_nothing();
    assert_eq!(after.state().authorised(), Some(gbp(100)), "the first authorisation is untouched");
}

#[test]
fn asking_again_under_the_same_key_adds_nothing() {
    payment([auth_requested(100)]).when(authorise(100)).then_nothing();
    holding_100([]).when(authorise(100)).then_nothing();
    payment([auth_requested(100), declined("no")]).when(authorise(100)).then_nothing();
    holding_100([void_requested("v")]).when(void("v")).then_nothing();
    holding_100([capture_requested("c", 1)]).when(capture("c", 1)).then_nothing();
    holding_100([capture_refused("c", "no")]).when(capture("c", 1)).then_nothing();
    captured_100([]).when(capture("cap", 100)).then_nothing();
    captured_100([refund_requested("r", 60)]).when(refund("r", 60)).then_nothing();
}

#[test]
fn a_key_names_one_effect_for_ever() {
    let taken = PaymentError::KeyTaken { effect_key: key("auth"), kind: Authorisation };
    holding_100([]).when(capture("auth", 1)).then_error(taken.clone());
    holding_100([]).when(void("auth")).then_error(taken);
}

#[test]
fn the_provider_may_say_everything_twice() {
    holding_100([]).when(done(Authorisation, "auth")).then_nothing();
    payment([auth_requested(1), declined("no")]).when(not_done(Authorisation, "auth")).then_nothing();
    holding_100([void_requested("v"), voided("v")]).when(done(Void, "v")).then_nothing();
    captured_100([]).when(done(Capture, "cap")).then_nothing();
    captured_100([refund_requested("r", 1), refund_refused("r", "no")]).when(not_done(Refund, "r")).then_nothing();
}

#[test]
fn the_provider_cannot_take_its_word_back() {
    let contradicted =
        |kind, name, recorded, told| PaymentError::Contradicted { kind, effect_key: key(name), recorded, told };
    let no = payment([auth_requested(1), declined("no")]);
    no.when(done(Authorisation, "auth")).then_error(contradicted(Authorisation, "auth", Refused, Done));
    holding_100([]).when(not_done(Authorisation, "auth")).then_error(contradicted(
        Authorisation,
        "auth",
        Done,
        Refused,
    ));
    captured_100([]).when(not_done(Capture, "cap")).then_error(contradicted(Capture, "cap", Done, Refused));
}

#[test]
fn a_contradiction_names_both_words() {
    let error = payment([auth_requested(1), declined("no")]).state().decide(done(Authorisation, "auth"));
    let text = error.expect_err("it was declined").to_string();
    assert_eq!(text, "the authorisation auth is recorded as refused, and now the provider says done");
}

#[test]
fn what_nobody_asked_for_is_not_recorded() {
    for kind in [Authorisation, Void, Capture, Refund] {
        let error = PaymentError::NotRequested { kind, effect_key: key("x") };
        payment([]).when(done(kind, "x")).then_error(error.clone());
        captured_100([]).when(not_done(kind, "x")).then_error(error);
    }
    let other_kind = PaymentError::NotRequested { kind: Capture, effect_key: key("auth") };
    holding_100([]).when(done(Capture, "auth")).then_error(other_kind);
}

#[test]
fn an_authorisation_that_comes_after_its_void_is_recorded_and_stays_void() {
    let told = || PaymentCommand::RecordAuthorised { effect_key: key("auth"), provider_reference: "P1".into() };
    for void_so_far in [vec![void_requested("v")], vec![void_requested("v"), voided("v")]] {
        let so_far = std::iter::once(auth_requested(100)).chain(void_so_far);
        payment(so_far.clone()).when(told()).then([authorised(100)]);
        let after = payment(so_far.chain([authorised(100)]));
        after.when(capture("c", 1)).then([capture_refused("c", "the authorisation is voided")]);
    }
}

#[test]
fn what_is_pending_is_known_with_its_amount() {
    let state = holding_100([void_requested("v")]).state();
    let pending = state.pending();
    assert_eq!(pending.iter().map(|effect| (effect.kind, effect.amount)).collect::<Vec<_>>(), [(Void, None)]);
    let state = captured_100([refund_requested("r", 60)]).state();
    let pending = state.pending();
    assert_eq!(
        pending.iter().map(|effect| (effect.kind, effect.amount)).collect::<Vec<_>>(),
        [(Refund, Some(gbp(60)))]
    );
    assert_eq!(state.effect(&key("cap")).map(|effect| effect.fate), Some(Done));
    let authorisation = state.authorisation().expect("it was asked for");
    assert_eq!(authorisation.provider_reference.as_deref(), Some("P1"));
}
