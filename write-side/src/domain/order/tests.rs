//! The rules of an order.

use events::{Currency, Delivery};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::given::{Given, given, play};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(2));
const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(3));

fn gbp(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn line(sku: &str, quantity: u32, unit_price: Money) -> OrderLine {
    OrderLine {
        sku: sku.parse().expect("a valid SKU"),
        kind: ProductKind::Goods,
        quantity,
        unit_price,
        total: unit_price.times(quantity).expect("small numbers"),
        product_version: Some(1),
    }
}

fn order(lines: Vec<OrderLine>) -> OrderPlaced {
    let total = Money::sum(lines.iter().map(|line| line.total)).unwrap_or(gbp(0));
    OrderPlaced {
        order_id: ORDER,
        customer_id: "17850".parse().expect("a valid id"),
        lines,
        total,
        payment_token: "tok".into(),
        delivery: Delivery {
            recipient: "A. Shopper".into(),
            street: "1 High Street".into(),
            city: "Leeds".into(),
            postal_code: "LS1 1AA".into(),
            country: "GB".into(),
            service: "standard".into(),
        },
        location: "main".parse().expect("a valid location"),
        reference: None,
    }
}

fn a_mug() -> OrderPlaced {
    order(vec![line("MUG", 2, gbp(450))])
}

fn postage_only() -> OrderPlaced {
    order(vec![OrderLine { kind: ProductKind::Service, ..line("POST", 1, gbp(300)) }])
}

fn place(order: OrderPlaced) -> OrderCommand {
    OrderCommand::Place { order }
}

fn placed() -> OrderEvent {
    a_mug().into()
}

fn confirmed() -> OrderEvent {
    OrderConfirmed { order_id: ORDER, payment_id: PAYMENT }.into()
}

fn wished() -> OrderEvent {
    OrderCancellationRequested { order_id: ORDER, reason: "changed my mind".into() }.into()
}

fn cancelled(reason: &str) -> OrderEvent {
    OrderCancelled { order_id: ORDER, reason: reason.into() }.into()
}

fn shipped() -> OrderEvent {
    OrderShipped { order_id: ORDER, shipment_id: SHIPMENT, tracking: "T1".into() }.into()
}

fn completed() -> OrderEvent {
    OrderCompleted { order_id: ORDER }.into()
}

fn confirm() -> OrderCommand {
    OrderCommand::Confirm { payment_id: PAYMENT }
}

fn wish() -> OrderCommand {
    OrderCommand::RequestCancellation { reason: "changed my mind".into() }
}

fn cancel() -> OrderCommand {
    OrderCommand::Cancel { reason: "no stock".into() }
}

fn ship() -> OrderCommand {
    OrderCommand::RecordShipment { shipment_id: SHIPMENT, tracking: "T1".into() }
}

fn unplaced() -> Given<Order> {
    given([])
}

fn after(events: &[OrderEvent]) -> Given<Order> {
    given(std::iter::once(placed()).chain(events.iter().cloned()))
}

#[test]
fn an_order_is_placed_with_the_sum_of_its_lines() {
    let wanted = order(vec![line("MUG", 2, gbp(450)), line("PLATE", 1, gbp(1))]);
    assert_eq!(wanted.total, gbp(901));
    unplaced().when(place(wanted.clone())).then([wanted.into()]);
}

#[test]
fn an_order_is_placed_once() {
    after(&[]).when(place(a_mug())).then_error(OrderError::AlreadyPlaced);
    after(&[cancelled("no stock")]).when(place(a_mug())).then_error(OrderError::AlreadyPlaced);
}

#[test]
fn an_order_without_lines_is_refused() {
    unplaced().when(place(order(vec![]))).then_error(OrderError::NoLines);
}

#[test]
fn a_line_without_pieces_is_refused() {
    let sku = "MUG".parse().expect("a valid SKU");
    unplaced().when(place(order(vec![line("MUG", 0, gbp(1))]))).then_error(OrderError::NoPieces { sku });
}

#[test]
fn mixed_currencies_are_refused() {
    let euros = line("PLATE", 1, Money::new(1, Currency::EUR));
    let lines = vec![line("MUG", 1, gbp(1)), euros.clone()];
    let mixed = OrderError::Money(MoneyError::MixedCurrencies(Currency::GBP, Currency::EUR));
    unplaced().when(place(OrderPlaced { lines, ..a_mug() })).then_error(mixed.clone());

    let within_a_line = OrderLine { unit_price: gbp(1), ..euros };
    unplaced().when(place(order(vec![within_a_line]))).then_error(mixed);
}

#[test]
fn a_negative_price_is_refused() {
    let sku = "MUG".parse().expect("a valid SKU");
    unplaced().when(place(order(vec![line("MUG", 1, gbp(-1))]))).then_error(OrderError::NegativePrice { sku });
}

#[test]
fn a_line_costs_its_pieces_times_their_price() {
    let wrong = OrderLine { total: gbp(899), ..line("MUG", 2, gbp(450)) };
    let sku = wrong.sku.clone();
    let differs = OrderError::LineTotalDiffers { sku, stated: gbp(899), computed: gbp(900) };
    unplaced().when(place(order(vec![wrong]))).then_error(differs);
}

#[test]
fn a_price_agreed_elsewhere_states_its_own_line_total() {
    let agreed = OrderLine { total: gbp(899), product_version: None, ..line("MUG", 2, gbp(450)) };
    let wanted = order(vec![agreed]);
    unplaced().when(place(wanted.clone())).then([wanted.into()]);
}

#[test]
fn a_total_that_is_not_the_sum_is_refused() {
    let wrong = OrderPlaced { total: gbp(901), ..a_mug() };
    unplaced().when(place(wrong)).then_error(OrderError::TotalDiffers { stated: gbp(901), computed: gbp(900) });
}

#[test]
fn prices_that_overflow_are_refused() {
    let dear = OrderLine { total: gbp(i64::MAX), ..line("MUG", 1, gbp(i64::MAX)) };
    let two = OrderPlaced { lines: vec![dear.clone(), dear.clone()], ..a_mug() };
    unplaced().when(place(two)).then_error(OrderError::Money(MoneyError::Overflow));
    let pair = OrderLine { quantity: 2, ..dear };
    unplaced().when(place(order(vec![pair]))).then_error(OrderError::Money(MoneyError::Overflow));
}

#[test]
fn more_pieces_than_a_reservation_can_count_are_refused() {
    let many = OrderLine { product_version: None, quantity: u32::MAX, ..line("MUG", 1, gbp(0)) };
    unplaced().when(place(order(vec![many.clone(), many]))).then_error(OrderError::TooManyPieces);
}

#[test]
fn an_order_that_costs_nothing_can_be_placed() {
    let gift = order(vec![line("SAMPLE", 1, gbp(0))]);
    unplaced().when(place(gift.clone())).then([gift.into()]);
}

#[test]
fn nothing_happens_to_an_order_that_was_never_placed() {
    for command in [confirm(), wish(), cancel(), ship(), OrderCommand::Complete] {
        unplaced().when(command).then_error(OrderError::NotPlaced);
    }
}

#[test]
fn an_order_goes_from_placed_to_completed() {
    after(&[]).when(confirm()).then([confirmed()]);
    after(&[confirmed()]).when(ship()).then([shipped()]);
    after(&[confirmed(), shipped()]).when(OrderCommand::Complete).then([completed()]);
}

#[test]
fn no_step_may_be_left_out() {
    after(&[]).when(ship()).then_error(OrderError::NotConfirmed);
    after(&[]).when(OrderCommand::Complete).then_error(OrderError::NotConfirmed);
    after(&[confirmed()]).when(OrderCommand::Complete).then_error(OrderError::NotShipped);
}

#[test]
fn an_order_of_services_alone_is_completed_without_a_parcel() {
    given::<Order>([postage_only().into(), confirmed()]).when(OrderCommand::Complete).then([completed()]);
}

#[test]
fn asking_again_for_what_is_done_does_nothing() {
    let all = [confirmed(), shipped(), completed()];
    for done in 1..=3 {
        after(&all[..done]).when(confirm()).then_nothing();
    }
    for done in 2..=3 {
        after(&all[..done]).when(ship()).then_nothing();
    }
    after(&all).when(OrderCommand::Complete).then_nothing();
    after(&[wished()]).when(wish()).then_nothing();
    after(&[confirmed(), wished()]).when(wish()).then_nothing();
    after(&[cancelled("no stock")]).when(cancel()).then_nothing();
}

#[test]
fn a_wish_to_cancel_before_the_pivot_beats_the_confirmation() {
    after(&[]).when(wish()).then([wished()]);
    after(&[wished()]).when(confirm()).then([cancelled("changed my mind")]);
    after(&[wished(), cancelled("changed my mind")]).when(confirm()).then_nothing();
}

#[test]
fn the_saga_cancels_before_and_after_the_pivot_until_the_parcel_left() {
    for so_far in [vec![], vec![wished()], vec![confirmed()], vec![confirmed(), wished()]] {
        after(&so_far).when(cancel()).then([cancelled("no stock")]);
    }
    after(&[confirmed(), shipped()]).when(cancel()).then_error(OrderError::AlreadyShipped);
    after(&[confirmed(), shipped(), completed()]).when(cancel()).then_error(OrderError::AlreadyCompleted);
}

#[test]
fn a_wish_to_cancel_after_the_pivot_is_recorded_and_a_parcel_that_left_ends_it() {
    after(&[confirmed()]).when(wish()).then([wished()]);
    after(&[confirmed(), wished()]).when(ship()).then([shipped()]);
    let left = after(&[confirmed(), wished(), shipped()]);
    left.when(OrderCommand::Complete).then([completed()]);
    assert_eq!(left.state(), Order::Shipped(ORDER));
}

#[test]
fn a_wish_to_cancel_is_refused_once_the_order_left_or_ended() {
    after(&[confirmed(), shipped()]).when(wish()).then_error(OrderError::AlreadyShipped);
    after(&[confirmed(), shipped(), completed()]).when(wish()).then_error(OrderError::AlreadyCompleted);
    after(&[cancelled("no stock")]).when(wish()).then_error(OrderError::AlreadyCancelled);
}

#[test]
fn a_cancelled_order_stays_cancelled() {
    for command in [ship(), OrderCommand::Complete] {
        after(&[cancelled("no stock")]).when(command).then_error(OrderError::AlreadyCancelled);
    }
}

fn any_command() -> impl Strategy<Value = OrderCommand> {
    prop_oneof![
        Just(place(a_mug())),
        Just(place(postage_only())),
        Just(place(order(vec![]))),
        Just(confirm()),
        Just(wish()),
        Just(cancel()),
        Just(ship()),
        Just(OrderCommand::Complete),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_an_order_ends_once_and_never_both_ways(commands in prop::collection::vec(any_command(), 0..24)) {
        let (mut confirmations, mut ends) = (0, 0);
        play::<Order>(commands, |before, command, outcome, after| {
            let happened = outcome.iter().flatten();
            if matches!(before, Order::Completed | Order::Cancelled) {
                assert_eq!(happened.clone().count(), 0, "{command:?} moved {before:?}");
            }
            for event in happened {
                match event {
                    OrderEvent::Confirmed(_) => confirmations += 1,
                    OrderEvent::Cancelled(_) | OrderEvent::Completed(_) => ends += 1,
                    OrderEvent::Placed(_) | OrderEvent::CancellationRequested(_) | OrderEvent::Shipped(_) => (),
                }
            }
            if matches!(after, Order::Shipped(_) | Order::Completed) {
                assert_eq!(confirmations, 1, "it left unconfirmed");
            }
        });
        prop_assert!(confirmations <= 1 && ends <= 1);
    }

    #[test]
    fn the_same_command_again_changes_nothing(commands in prop::collection::vec(any_command(), 0..24)) {
        play::<Order>(commands, |_, command, outcome, after| {
            if outcome.is_ok() {
                assert!(after.decide(command.clone()).iter().flatten().next().is_none(), "{command:?} again");
            }
        });
    }
}
