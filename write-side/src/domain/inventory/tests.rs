//! The rules of the stock at one location.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::given::{Given, given, play};

fn location() -> LocationId {
    "main".parse().expect("a valid location")
}

fn sku(name: &str) -> Sku {
    name.parse().expect("a valid SKU")
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

/// The key of an order's reservation.
fn key(number: u128) -> EffectKey {
    format!("fulfilment/{}/reserve_stock/1", order(number)).parse().expect("a valid key")
}

fn lines(wanted: &[(&str, u32)]) -> Vec<StockLine> {
    wanted.iter().map(|&(name, quantity)| StockLine { sku: sku(name), quantity }).collect()
}

fn receive(pieces: &[(&str, u32)]) -> InventoryCommand {
    InventoryCommand::Receive { location: location(), lines: lines(pieces), reference: "PO-1".into() }
}

fn received(pieces: &[(&str, u32)]) -> InventoryEvent {
    StockReceived { location: location(), lines: lines(pieces), reference: "PO-1".into() }.into()
}

fn adjust(name: &str, delta: i64) -> InventoryCommand {
    InventoryCommand::Adjust { location: location(), sku: sku(name), delta, reason: "count".into() }
}

fn adjusted(name: &str, delta: i64) -> InventoryEvent {
    StockAdjusted { location: location(), sku: sku(name), delta, reason: "count".into() }.into()
}

fn reserve(number: u128, wanted: &[(&str, u32)]) -> InventoryCommand {
    let (order_id, effect_key) = (order(number), key(number));
    InventoryCommand::Reserve { location: location(), order_id, effect_key, lines: lines(wanted) }
}

fn release(number: u128) -> InventoryCommand {
    InventoryCommand::Release { location: location(), order_id: order(number), effect_key: key(number) }
}

fn commit(number: u128) -> InventoryCommand {
    InventoryCommand::Commit { location: location(), order_id: order(number), effect_key: key(number) }
}

fn put_back(number: u128) -> InventoryCommand {
    InventoryCommand::PutBack { location: location(), order_id: order(number), effect_key: key(number) }
}

fn refused(number: u128, shortages: Vec<Shortage>) -> InventoryEvent {
    StockRefused { location: location(), order_id: order(number), effect_key: key(number), shortages }.into()
}

macro_rules! reservation_events {
    ($($name:ident => $event:ident;)*) => {$(
        fn $name(number: u128, pieces: &[(&str, u32)]) -> InventoryEvent {
            let (order_id, effect_key) = (order(number), key(number));
            $event { location: location(), order_id, effect_key, lines: lines(pieces) }.into()
        }
    )*};
}

reservation_events! {
    reserved => StockReserved;
    released => StockReleased;
    committed => StockCommitted;
    back => StockPutBack;
}

fn ten_mugs(and: impl IntoIterator<Item = InventoryEvent>) -> Given<Inventory> {
    given(std::iter::once(received(&[("MUG", 10)])).chain(and))
}

fn nothing_here() -> Given<Inventory> {
    given([])
}

#[test]
fn what_is_received_is_on_hand() {
    nothing_here().when(receive(&[("MUG", 10)])).then([received(&[("MUG", 10)])]);
    assert_eq!(ten_mugs([]).state().level(&sku("MUG")), Level { on_hand: 10, reserved: 0 });
}

#[test]
fn the_same_article_on_two_lines_is_received_together() {
    nothing_here().when(receive(&[("MUG", 1), ("CUP", 5), ("MUG", 2)])).then([received(&[("CUP", 5), ("MUG", 3)])]);
}

#[test]
fn a_receipt_names_articles_and_pieces() {
    nothing_here().when(receive(&[])).then_error(InventoryError::NoLines);
    nothing_here().when(receive(&[("MUG", 0)])).then_error(InventoryError::NoPieces { sku: sku("MUG") });
}

#[test]
fn more_than_a_location_holds_is_refused() {
    let too_many = InventoryError::TooMany { sku: sku("MUG") };
    nothing_here().when(receive(&[("MUG", u32::MAX), ("MUG", 1)])).then_error(too_many.clone());
    nothing_here().when(adjust("MUG", i64::MAX)).then_error(too_many.clone());
    let full = given::<Inventory>([adjusted("MUG", PIECES_MAX)]);
    full.when(receive(&[("MUG", 1)])).then_error(too_many.clone());
    full.when(adjust("MUG", 1)).then_error(too_many);
}

#[test]
fn a_count_is_corrected_up_and_down() {
    ten_mugs([]).when(adjust("MUG", -10)).then([adjusted("MUG", -10)]);
    ten_mugs([]).when(adjust("MUG", 3)).then([adjusted("MUG", 3)]);
    ten_mugs([]).when(adjust("MUG", 0)).then_error(InventoryError::NoChange);
}

#[test]
fn what_is_reserved_cannot_be_written_off() {
    let available = |available| InventoryError::NotAvailable { sku: sku("MUG"), available };
    let four_held = ten_mugs([reserved(1, &[("MUG", 4)])]);
    four_held.when(adjust("MUG", -7)).then_error(available(6));
    four_held.when(adjust("MUG", i64::MIN)).then_error(available(6));
    four_held.when(adjust("MUG", -6)).then([adjusted("MUG", -6)]);
    nothing_here().when(adjust("MUG", -1)).then_error(available(0));
}

#[test]
fn a_reservation_holds_pieces_that_then_are_not_available() {
    ten_mugs([]).when(reserve(1, &[("MUG", 10)])).then([reserved(1, &[("MUG", 10)])]);
    let level = ten_mugs([reserved(1, &[("MUG", 4)])]).state().level(&sku("MUG"));
    assert_eq!((level.on_hand, level.reserved, level.available()), (10, 4, 6));
}

#[test]
fn the_same_article_on_two_lines_is_wanted_twice() {
    ten_mugs([]).when(reserve(1, &[("MUG", 5), ("MUG", 5)])).then([reserved(1, &[("MUG", 10)])]);
    let short = Shortage { sku: sku("MUG"), wanted: 11, available: 10 };
    ten_mugs([]).when(reserve(1, &[("MUG", 5), ("MUG", 6)])).then([refused(1, vec![short])]);
}

#[test]
fn a_reservation_is_all_or_nothing_and_tells_each_shortage() {
    let short = vec![
        Shortage { sku: sku("CUP"), wanted: 1, available: 0 },
        Shortage { sku: sku("MUG"), wanted: 7, available: 6 },
    ];
    let some_left = ten_mugs([reserved(1, &[("MUG", 4)]), received(&[("PLATE", 1)])]);
    some_left.when(reserve(2, &[("MUG", 7), ("PLATE", 1), ("CUP", 1)])).then([refused(2, short)]);
}

#[test]
fn pieces_beyond_counting_are_a_shortage() {
    let short = Shortage { sku: sku("MUG"), wanted: u32::MAX, available: PIECES_MAX };
    let full = given::<Inventory>([adjusted("MUG", PIECES_MAX)]);
    full.when(reserve(1, &[("MUG", u32::MAX), ("MUG", 1)])).then([refused(1, vec![short])]);
}

#[test]
fn a_reservation_of_nothing_is_granted() {
    nothing_here().when(reserve(1, &[])).then([reserved(1, &[])]);
    given::<Inventory>([reserved(1, &[])]).when(commit(1)).then([committed(1, &[])]);
    given::<Inventory>([reserved(1, &[])]).when(release(1)).then([released(1, &[])]);
}

#[test]
fn an_order_holds_one_reservation_at_a_time() {
    let first = "fulfilment/first".parse::<EffectKey>().expect("a valid key");
    let event = StockReserved { location: location(), order_id: order(1), effect_key: first, lines: vec![] };
    given::<Inventory>([event.into()]).when(reserve(1, &[])).then([refused(1, vec![])]);
}

#[test]
fn a_released_reservation_makes_room_for_another_of_the_order() {
    let first = "fulfilment/first".parse::<EffectKey>().expect("a valid key");
    let (location, order_id) = (location(), order(1));
    let event = StockReserved { location: location.clone(), order_id, effect_key: first.clone(), lines: vec![] };
    let undone = StockReleased { location, order_id, effect_key: first, lines: vec![] };
    given::<Inventory>([event.into(), undone.into()]).when(reserve(1, &[])).then([reserved(1, &[])]);
}

#[test]
fn a_tombstone_of_one_reservation_leaves_another_of_the_order_alone() {
    let mine = ten_mugs([reserved(1, &[("MUG", 4)])]);
    let other = "fulfilment/other".parse::<EffectKey>().expect("a valid key");
    let tombstone =
        StockReleased { location: location(), order_id: order(1), effect_key: other.clone(), lines: vec![] };
    let release = InventoryCommand::Release { location: location(), order_id: order(1), effect_key: other };
    mine.when(release).then([tombstone.clone().into()]);
    let after = ten_mugs([reserved(1, &[("MUG", 4)]), tombstone.into()]);
    after.when(commit(1)).then([committed(1, &[("MUG", 4)])]);
    let (order_id, effect_key) = (order(1), "fulfilment/third".parse::<EffectKey>().expect("a valid key"));
    let third = StockRefused { location: location(), order_id, effect_key: effect_key.clone(), shortages: vec![] };
    let reserve = InventoryCommand::Reserve { location: location(), order_id, effect_key, lines: lines(&[("MUG", 1)]) };
    after.when(reserve).then([third.into()]);
}

#[test]
fn a_reservation_is_released_or_committed_and_put_back() {
    let held = ten_mugs([reserved(1, &[("MUG", 4)])]);
    held.when(release(1)).then([released(1, &[("MUG", 4)])]);
    held.when(commit(1)).then([committed(1, &[("MUG", 4)])]);
    let left = ten_mugs([reserved(1, &[("MUG", 4)]), committed(1, &[("MUG", 4)])]);
    left.when(put_back(1)).then([back(1, &[("MUG", 4)])]);
    assert_eq!(left.state().level(&sku("MUG")), Level { on_hand: 6, reserved: 0 });
}

#[test]
fn a_release_before_its_reservation_leaves_a_tombstone_that_refuses_it() {
    ten_mugs([]).when(release(1)).then([released(1, &[])]);
    let tombstone = ten_mugs([released(1, &[])]);
    tombstone.when(release(1)).then_nothing();
    tombstone.when(reserve(1, &[("MUG", 1)])).then([refused(1, vec![])]);
    let late = ten_mugs([released(1, &[]), refused(1, vec![])]);
    late.when(reserve(1, &[("MUG", 1)])).then_nothing();
    late.when(release(1)).then_nothing();
}

#[test]
fn a_refused_reservation_stays_refused_and_can_be_released_once() {
    let short = || refused(1, vec![Shortage { sku: sku("MUG"), wanted: 11, available: 10 }]);
    let no = ten_mugs([short(), received(&[("MUG", 10)])]);
    no.when(reserve(1, &[("MUG", 11)])).then_nothing();
    no.when(release(1)).then([released(1, &[])]);
    ten_mugs([short(), released(1, &[])]).when(release(1)).then_nothing();
}

#[test]
fn asking_again_for_what_is_done_does_nothing() {
    let life = [reserved(1, &[("MUG", 4)]), committed(1, &[("MUG", 4)]), back(1, &[("MUG", 4)])];
    for done in 1..=3 {
        ten_mugs(life[..done].to_vec()).when(reserve(1, &[("MUG", 4)])).then_nothing();
    }
    for done in 2..=3 {
        ten_mugs(life[..done].to_vec()).when(commit(1)).then_nothing();
    }
    ten_mugs(life).when(put_back(1)).then_nothing();
    let undone = ten_mugs([reserved(1, &[("MUG", 4)]), released(1, &[("MUG", 4)])]);
    undone.when(release(1)).then_nothing();
    undone.when(reserve(1, &[("MUG", 4)])).then_nothing();
}

#[test]
fn only_what_is_held_can_leave_and_only_what_left_comes_back() {
    let not_reserved = InventoryError::NotReserved { effect_key: key(1) };
    let not_committed = InventoryError::NotCommitted { effect_key: key(1) };
    let undone = [reserved(1, &[("MUG", 4)]), released(1, &[("MUG", 4)])];
    for so_far in [vec![], vec![released(1, &[])], vec![refused(1, vec![])], undone.to_vec()] {
        ten_mugs(so_far.clone()).when(commit(1)).then_error(not_reserved.clone());
        ten_mugs(so_far).when(put_back(1)).then_error(not_committed.clone());
    }
    ten_mugs([reserved(1, &[("MUG", 4)])]).when(put_back(1)).then_error(not_committed);
}

#[test]
fn what_has_left_cannot_be_released() {
    let left = InventoryError::AlreadyCommitted { effect_key: key(1) };
    let life = [reserved(1, &[("MUG", 4)]), committed(1, &[("MUG", 4)]), back(1, &[("MUG", 4)])];
    for done in 2..=3 {
        ten_mugs(life[..done].to_vec()).when(release(1)).then_error(left.clone());
    }
}

#[test]
fn a_reservation_is_not_touched_in_the_name_of_another_order() {
    let held = ten_mugs([reserved(1, &[("MUG", 4)])]);
    let (order_id, effect_key) = (order(2), key(1));
    let error = InventoryError::OtherOrder { effect_key: effect_key.clone() };
    for command in [
        InventoryCommand::Release { location: location(), order_id, effect_key: effect_key.clone() },
        InventoryCommand::Commit { location: location(), order_id, effect_key: effect_key.clone() },
        InventoryCommand::Reserve { location: location(), order_id, effect_key, lines: vec![] },
    ] {
        held.when(command).then_error(error.clone());
    }
}

const SNAPSHOTS: Snapshots<Inventory> = Inventory::SNAPSHOTS.expect("a location's stream is long");

fn written(state: &Inventory) -> String {
    let mut text = Vec::new();
    (SNAPSHOTS.write)(state, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn as_json(state: &Inventory) -> serde_json::Value {
    serde_json::from_str(&written(state)).unwrap()
}

#[test]
fn a_change_of_what_a_snapshot_holds_needs_another_state_version() {
    let one = [("MUG", 1)];
    let state = ten_mugs([
        adjusted("CUP", 3),
        reserved(1, &one),
        refused(2, vec![]),
        released(3, &[]),
        reserved(4, &one),
        released(4, &one),
        reserved(5, &one),
        committed(5, &one),
        reserved(6, &one),
        committed(6, &one),
        back(6, &one),
    ])
    .state();
    let digest = |number| KeyDigest::of(&key(number)).0.to_string();
    let line = serde_json::json!([{ "sku": "MUG", "quantity": 1 }]);
    let expected = serde_json::json!({
        "levels": { "MUG": { "on_hand": 9, "reserved": 1 }, "CUP": { "on_hand": 3, "reserved": 0 } },
        "reservations": {
            digest(1): { "Held": { "order_id": order(1), "lines": line } },
            digest(2): "Refused",
            digest(3): "Tombstone",
            digest(4): "Released",
            digest(5): { "Committed": line },
            digest(6): "PutBack",
        },
        "holding": { order(1).0.to_string(): digest(1) },
    });
    assert_eq!((SNAPSHOTS.state_version, as_json(&state)), (1, expected));
}

const ARTICLES: [&str; 3] = ["CUP", "MUG", "PLATE"];

fn any_lines() -> impl Strategy<Value = Vec<(&'static str, u32)>> {
    prop::collection::vec((prop::sample::select(&ARTICLES[..]), 0_u32..5), 0..4)
}

fn any_command() -> impl Strategy<Value = InventoryCommand> {
    let number = 0_u128..5;
    prop_oneof![
        2 => any_lines().prop_map(|lines| receive(&lines)),
        1 => (prop::sample::select(&ARTICLES[..]), -4_i64..4).prop_map(|(name, delta)| adjust(name, delta)),
        4 => (number.clone(), any_lines()).prop_map(|(number, lines)| reserve(number, &lines)),
        2 => number.clone().prop_map(release),
        2 => number.clone().prop_map(commit),
        1 => number.prop_map(put_back),
    ]
}

/// Acceptance rule S, told in events alone: on hand = received + adjusted + put back - committed; reserved = sum of what is
/// reserved and neither released nor committed.
#[derive(Default)]
struct Ledger {
    on_hand: BTreeMap<Sku, i64>,
    reserved: BTreeMap<Sku, i64>,
    applied: BTreeSet<(&'static str, EffectKey)>,
}

impl Ledger {
    fn post(&mut self, event: &InventoryEvent) {
        let mut add = |lines: &[StockLine], on_hand: i64, reserved: i64| {
            for line in lines {
                *self.on_hand.entry(line.sku.clone()).or_default() += on_hand * i64::from(line.quantity);
                *self.reserved.entry(line.sku.clone()).or_default() += reserved * i64::from(line.quantity);
            }
        };
        let effect = match event {
            InventoryEvent::Received(event) => return add(&event.lines, 1, 0),
            InventoryEvent::Adjusted(event) => {
                return *self.on_hand.entry(event.sku.clone()).or_default() += event.delta;
            }
            InventoryEvent::Reserved(event) => {
                add(&event.lines, 0, 1);
                ("answered", &event.effect_key)
            }
            InventoryEvent::Refused(event) => ("answered", &event.effect_key),
            InventoryEvent::Released(event) => {
                add(&event.lines, 0, -1);
                ("released", &event.effect_key)
            }
            InventoryEvent::Committed(event) => {
                add(&event.lines, -1, -1);
                ("committed", &event.effect_key)
            }
            InventoryEvent::PutBack(event) => {
                add(&event.lines, 1, 0);
                ("put back", &event.effect_key)
            }
        };
        assert!(self.applied.insert((effect.0, effect.1.clone())), "{effect:?} twice");
    }
}

proptest! {
    #[test]
    fn stock_equals_the_sum_of_its_events_and_nothing_is_promised_twice(commands in prop::collection::vec(any_command(), 0..60)) {
        let mut ledger = Ledger::default();
        play::<Inventory>(commands, |_, _, outcome, after| {
            for event in outcome.iter().flatten() {
                ledger.post(event);
            }
            for article in ARTICLES.map(sku) {
                let level = after.level(&article);
                let sum = |of: &BTreeMap<Sku, i64>| of.get(&article).copied().unwrap_or_default();
                assert_eq!((level.on_hand, level.reserved), (sum(&ledger.on_hand), sum(&ledger.reserved)));
                assert!(level.reserved >= 0 && level.available() >= 0, "{article}: {level:?}");
            }
        });
    }

    #[test]
    fn the_same_command_of_a_saga_again_changes_nothing(commands in prop::collection::vec(any_command(), 0..60)) {
        play::<Inventory>(commands, |_, command, outcome, after| {
            let receipt = matches!(command, InventoryCommand::Receive { .. } | InventoryCommand::Adjust { .. });
            if outcome.is_ok() && !receipt {
                assert_eq!(after.decide(command.clone()), Ok(vec![]), "{command:?} again");
            }
        });
    }

    #[test]
    fn a_snapshot_gives_back_the_state_that_it_was_taken_of(commands in prop::collection::vec(any_command(), 0..60)) {
        play::<Inventory>(commands, |_, command, _, after| {
            let restored = (SNAPSHOTS.read)(&written(after)).unwrap();
            assert_eq!(as_json(&restored), as_json(after));
            assert_eq!(restored.decide(command.clone()), after.decide(command.clone()));
        });
    }

    #[test]
    fn a_replay_gives_the_state_that_was_decided_on(commands in prop::collection::vec(any_command(), 0..60)) {
        let (mut log, mut live) = (Vec::new(), Inventory::default());
        play::<Inventory>(commands, |_, _, outcome, after| {
            log.extend(outcome.iter().flatten().cloned());
            live = after.clone();
        });
        prop_assert_eq!(given::<Inventory>(log).state(), live);
    }
}
