//! What holds for a payment whatever comes, in whatever order.

use events::EventPayload;
use proptest::prelude::*;

use super::*;
use crate::domain::given::play;

/// Mostly a key that an effect of this kind would have, so that the runs get somewhere.
fn any_key(kind: EffectKind) -> impl Strategy<Value = &'static str> {
    let own = match kind {
        Authorisation => &["auth"][..],
        Void => &["v1", "v2"],
        Capture => &["c1", "c2", "c3", "c4"],
        Refund => &["r1", "r2", "r3", "r4"],
    };
    prop_oneof![19 => prop::sample::select(own), 1 => prop::sample::select(&["auth", "v1", "c1", "r1"][..])]
}

fn any_effect() -> impl Strategy<Value = (EffectKind, &'static str)> {
    let kind = prop_oneof![2 => Just(Authorisation), 1 => Just(Void), 4 => Just(Capture), 4 => Just(Refund)];
    kind.prop_flat_map(|kind| any_key(kind).prop_map(move |name| (kind, name)))
}

fn any_command() -> impl Strategy<Value = PaymentCommand> {
    let amount = || prop_oneof![9 => 0_i64..120, 1 => prop::sample::select(&[-1, i64::MAX][..])];
    prop_oneof![
        30 => amount().prop_map(authorise),
        2 => any_key(Void).prop_map(void),
        20 => (any_key(Capture), amount()).prop_map(|(name, amount)| capture(name, amount)),
        20 => (any_key(Refund), amount()).prop_map(|(name, amount)| refund(name, amount)),
        40 => any_effect().prop_map(|(kind, name)| done(kind, name)),
        8 => any_effect().prop_map(|(kind, name)| not_done(kind, name)),
    ]
}

/// Most runs begin with money that is held, many with money that is captured: the interesting refusals come after.
fn any_run() -> impl Strategy<Value = Vec<PaymentCommand>> {
    let begun = [authorise(100), done(Authorisation, "auth"), capture("c0", 90), done(Capture, "c0")];
    let begun = prop::sample::select(&[0_usize, 2, 4, 4][..]).prop_map(move |count| begun[..count].to_vec());
    (begun, prop::collection::vec(any_command(), 0..40)).prop_map(|(begun, then)| [begun, then].concat())
}

proptest! {
    /// Acceptance rule M, told in events alone.
    #[test]
    fn captured_never_exceeds_authorised_nor_refunded_captured(commands in any_run()) {
        let (mut authorised, mut captured, mut refunded) = (0, 0, 0);
        play::<Payment>(commands, |_, _, outcome, _| {
            for event in outcome.iter().flatten() {
                match event {
                    PaymentEvent::Authorised(event) => authorised += event.amount.amount_minor,
                    PaymentEvent::Captured(event) => captured += event.amount.amount_minor,
                    PaymentEvent::Refunded(event) => refunded += event.amount.amount_minor,
                    PaymentEvent::AuthorisationRequested(_) | PaymentEvent::Declined(_)
                    | PaymentEvent::VoidRequested(_) | PaymentEvent::Voided(_) | PaymentEvent::VoidRefused(_)
                    | PaymentEvent::CaptureRequested(_) | PaymentEvent::CaptureRefused(_)
                    | PaymentEvent::RefundRequested(_) | PaymentEvent::RefundRefused(_) => (),
                }
            }
            assert!(captured <= authorised && refunded <= captured, "{authorised} {captured} {refunded}");
        });
    }

    #[test]
    fn each_effect_is_intended_once_and_answered_once(commands in any_run()) {
        let mut events = Vec::new();
        play::<Payment>(commands, |_, _, outcome, _| events.extend(outcome.iter().flatten().cloned()));
        let intent = |event: &PaymentEvent| event.event_type().ends_with("Requested");
        for (index, event) in events.iter().enumerate() {
            let twin = |other: &&PaymentEvent| other.effect_key() == event.effect_key() && intent(other) == intent(event);
            prop_assert_eq!(events[..index].iter().find(twin), None);
        }
    }

    #[test]
    fn the_same_command_again_changes_nothing(commands in any_run()) {
        play::<Payment>(commands, |_, command, outcome, after| {
            if outcome.is_ok() {
                assert_eq!(after.decide(command.clone()), Ok(vec![]), "{command:?} again");
            }
        });
    }

    #[test]
    fn every_new_command_of_the_saga_ends_in_an_event(commands in any_run()) {
        play::<Payment>(commands, |before, command, outcome, _| {
            let key = match command {
                PaymentCommand::Authorise { effect_key, .. } | PaymentCommand::Void { effect_key, .. }
                | PaymentCommand::Capture { effect_key, .. } | PaymentCommand::Refund { effect_key, .. } => effect_key,
                PaymentCommand::RecordAuthorised { .. } | PaymentCommand::RecordDeclined { .. }
                | PaymentCommand::RecordVoided { .. } | PaymentCommand::RecordVoidRefused { .. }
                | PaymentCommand::RecordCaptured { .. } | PaymentCommand::RecordCaptureRefused { .. }
                | PaymentCommand::RecordRefunded { .. } | PaymentCommand::RecordRefundRefused { .. } => return,
            };
            if before.effect(key).is_none() {
                assert_eq!(outcome.as_ref().map(Vec::len), Ok(1), "{command:?}");
            }
        });
    }
}
