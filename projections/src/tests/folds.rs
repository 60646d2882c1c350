//! The folds, without any store: a whole life, pinned.

use events::{DomainEvent, Recorded};

use super::life;
use crate::{
    CustomerOrders, OrderStatus, OrderView, ProductView, ReadModel, StockDocument, StockView, fold_order_events,
};

/// The document of one key after these events.
fn fold<M: ReadModel>(wanted: &M::Key, events: &[Recorded<DomainEvent>]) -> Option<M::Document> {
    events.iter().fold(None, |document, event| {
        if M::keys(event).into_iter().any(|key| key == *wanted) { M::apply(wanted, document, event) } else { document }
    })
}

#[test]
fn the_page_of_a_completed_order_tells_its_whole_life() {
    let events = life::recorded(life::completed(7));
    insta::assert_json_snapshot!(fold::<OrderView>(&life::order_id(7), &events));
}

#[test]
fn the_page_of_a_refused_order_tells_why() {
    let events = life::recorded(life::refused(8));
    insta::assert_json_snapshot!(fold::<OrderView>(&life::order_id(8), &events));
}

#[test]
fn the_page_says_at_every_moment_what_it_waits_for() {
    let events = life::recorded(life::completed(7));
    let told = (1..=events.len())
        .map(|count| {
            let order = fold_order_events(&events[..count]).expect("it is placed with the first event");
            let fulfilment = order.fulfilment;
            let or_nothing = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            format!(
                "{}: {} | {}",
                events[count - 1].payload.event_type(),
                or_nothing(fulfilment.waiting_for),
                or_nothing(fulfilment.next)
            )
        })
        .collect::<Vec<_>>();
    insta::assert_json_snapshot!(told);
}

#[test]
fn what_comes_before_its_order_makes_no_page() {
    let events = life::recorded(life::completed(7).split_off(1));
    assert_eq!(fold_order_events(&events), None);
}

#[test]
fn a_command_sent_again_is_one_line_of_the_timeline() {
    let order = fold_order_events(&life::recorded(life::refused(8))).expect("it is placed");
    let resent = order.timeline.iter().filter(|entry| entry.event_type == "StepResent").collect::<Vec<_>>();
    assert_eq!(resent.len(), 1);
    assert!(resent[0].what.ends_with("attempt 3."), "{}", resent[0].what);
}

#[test]
fn a_page_from_the_log_is_the_page_from_the_view() {
    let mut events = life::recorded(life::completed(7));
    let view = fold::<OrderView>(&life::order_id(7), &events);
    events.retain(|event| event.payload.order_id() == Some(life::order_id(7)));
    assert_eq!(fold_order_events(&events), view);
}

#[test]
fn a_summary_follows_the_status() {
    let events = life::recorded(life::completed(7));
    let key = crate::customer_orders::CustomerOrdersKey::Order(life::order_id(7));
    let summary = fold::<CustomerOrders>(&key, &events).expect("it is placed");
    assert_eq!((summary.status, summary.lines, summary.version), (OrderStatus::Completed, 2, 4));
}

#[test]
fn available_is_what_is_on_hand_less_what_is_reserved() {
    let stock = |document: Option<StockDocument>| {
        document.map(|document| (document.total.on_hand, document.total.reserved, document.total.available))
    };
    let mut events = vec![life::received("A", 10)];
    events.extend(life::completed(1));
    let events = life::recorded(events);
    assert_eq!(stock(fold::<StockView>(&life::sku("A"), &events[..1])), Some((10, 0, 10)));
    assert_eq!(stock(fold::<StockView>(&life::sku("A"), &events[..5])), Some((10, 2, 8)));
    assert_eq!(stock(fold::<StockView>(&life::sku("A"), &events)), Some((8, 0, 8)));
}

#[test]
fn a_product_that_is_no_longer_sold_stays_readable() {
    let listed = life::listed("A", "WHITE HANGING HEART T-LIGHT HOLDER", "Candles", 255);
    let delisted = events::product::ProductDelisted { sku: life::sku("A") };
    let events = life::recorded(vec![listed, DomainEvent::Product(delisted.into())]);
    insta::assert_json_snapshot!(fold::<ProductView>(&life::sku("A"), &events));
}
