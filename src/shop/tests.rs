//! The generated shop: the same for the same seed, and of the shape that it promises.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Fate, PlannedOrder, Shares, Shop};

fn orders(shop: &Shop, count: usize) -> Vec<PlannedOrder> {
    shop.orders(count, Shares::default()).collect()
}

#[test]
fn the_same_seed_gives_the_same_shop_and_another_seed_another() {
    let shop = || Shop::seeded(7, 300, 100);
    assert_eq!(shop().products(), shop().products());
    assert_eq!(orders(&shop(), 200), orders(&shop(), 200));
    let other = Shop::seeded(8, 300, 100);
    assert_ne!(shop().products(), other.products());
    assert_ne!(orders(&shop(), 200), orders(&other, 200));
}

#[test]
fn fates_are_exact_shares_and_known_by_token_and_service() {
    let orders = orders(&Shop::seeded(7, 300, 100), 1000);
    let mut fates = BTreeMap::new();
    for order in &orders {
        *fates.entry(order.fate).or_insert(0) += 1;
        assert_eq!(order.body.payment_token == "tok_decline", order.fate == Fate::Declined);
        assert_eq!(order.body.delivery.service == "hold", order.fate == Fate::Cancelled);
    }
    let expected = [
        (Fate::Completes, 900),
        (Fate::Declined, 50),
        (Fate::SecondCarrier, 20),
        (Fate::NoCarrier, 10),
        (Fate::Cancelled, 20),
    ];
    assert_eq!(fates, BTreeMap::from(expected));
}

#[test]
fn products_are_distinct_and_what_is_ordered_is_for_sale() {
    let shop = Shop::seeded(3, 7_000, 50);
    let skus: HashSet<_> = shop.products().iter().map(|product| product.sku.as_str()).collect();
    let names: HashSet<_> = shop.products().iter().map(|product| product.name.as_str()).collect();
    assert_eq!((skus.len(), names.len()), (7_000, 7_000));
    assert!(shop.products().iter().all(|product| product.price.amount_minor > 0));
    for order in orders(&shop, 100) {
        assert!(order.body.lines.iter().all(|line| skus.contains(line.sku.as_str()) && line.quantity > 0));
        assert!((1..=1_000).contains(&order.body.lines.len()));
    }
    let receipts: Vec<_> = shop.receipts(500).collect();
    assert_eq!(receipts.len(), 7);
    assert!(receipts.iter().all(|(_, body)| body.lines.len() == 1_000));
}

#[test]
fn the_shape_is_that_of_a_real_shop() {
    let shop = Shop::seeded(1, 2_000, 400);
    let orders = orders(&shop, 1_000);
    let mut lines: Vec<_> = orders.iter().map(|order| order.body.lines.len()).collect();
    lines.sort_unstable();
    assert!((10..=20).contains(&lines[500]), "median of {} lines", lines[500]);
    assert!(lines[990] > 100, "hardly a large order: {}", lines[990]);

    let mut sold: HashMap<&str, usize> = HashMap::new();
    for line in orders.iter().flat_map(|order| &order.body.lines) {
        *sold.entry(&line.sku).or_default() += 1;
    }
    let mut counts: Vec<_> = sold.into_values().collect();
    counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    let (top, all): (usize, usize) = (counts.iter().take(200).sum(), counts.iter().sum());
    assert!((30..=55).contains(&(top * 100 / all)), "the top tenth makes {} %", top * 100 / all);

    let guests = orders.iter().filter(|order| order.body.customer_id == "guest").count();
    assert!((40..=110).contains(&guests), "{guests} guests");
    let mut prices: Vec<_> = shop.products().iter().map(|product| product.price.amount_minor).collect();
    prices.sort_unstable();
    assert!((180..=240).contains(&prices[1_000]), "median price {}", prices[1_000]);
}
