//! What is found, in which order, and counted how.

use events::{Currency, DomainEvent, product::ProductDelisted};

use super::{
    life,
    shop::{Projector, Shop},
};
use crate::{
    OrderStatus, ReadError,
    search::{OrderSearch, OrderSort, ProductHits, ProductSearch, ProductSort},
};

async fn catalogue() -> (Shop, Projector) {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let position = shop
        .append(vec![
            life::listed("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", "Candles", 255),
            life::listed("71053", "WHITE METAL LANTERN", "Candles", 339),
            life::listed("84406B", "CREAM CUPID HEARTS COAT HANGER", "Home", 275),
            life::listed("22752", "SET 7 BABUSHKA NESTING BOXES", "Toys", 765),
            life::listed("21730", "GLASS STAR FROSTED T-LIGHT HOLDER", "Candles", 12_500),
            life::listed("GONE", "WHITE LANTERN NO LONGER SOLD", "Candles", 100),
            DomainEvent::Product(ProductDelisted { sku: life::sku("GONE") }.into()),
            life::received("71053", 6),
            life::received("UNLISTED", 6),
        ])
        .await;
    projector.reaches(&position).await;
    (shop, projector)
}

async fn search(projector: &Projector, search: ProductSearch) -> ProductHits {
    projector.indexes.search_products(ProductSearch { limit: 10, ..search }).await.expect("built").value
}

async fn skus(projector: &Projector, text: &str) -> Vec<String> {
    let text = Some(text.into());
    let hits = search(projector, ProductSearch { text, ..ProductSearch::default() }).await;
    hits.items.iter().map(|hit| hit.sku.to_string()).collect()
}

#[tokio::test]
async fn products_are_found_by_words_typing_errors_and_beginnings() {
    let (_shop, projector) = catalogue().await;
    assert_eq!(skus(&projector, "lantern").await, ["71053"]);
    assert_eq!(skus(&projector, "lanetrn").await, ["71053"], "a swap is one error");
    assert_eq!(skus(&projector, "babuska nestng").await, ["22752"], "an error in each word");
    assert_eq!(skus(&projector, "white lant").await, ["71053"], "the last word is unfinished");
    assert_eq!(skus(&projector, "85123a").await, ["85123A"], "a SKU in any case");
    assert_eq!(skus(&projector, "heart").await.first().map(String::as_str), Some("85123A"), "exact before similar");
    assert_eq!(skus(&projector, "zeppelin").await, Vec::<String>::new());
    assert_eq!(skus(&projector, "holder t-light white").await, ["85123A"], "words in any order, all of them");
    projector.stop().await;
}

#[tokio::test]
async fn products_are_narrowed_sorted_and_counted() {
    let (_shop, projector) = catalogue().await;
    let all = search(&projector, ProductSearch::default()).await;
    assert_eq!(all.total, 5, "neither what is no longer sold nor what was never listed");
    insta::assert_json_snapshot!(all.facets);
    let hits = search(&projector, ProductSearch { in_stock: Some(true), ..ProductSearch::default() }).await;
    assert_eq!(hits.items.iter().map(|hit| hit.sku.as_str()).collect::<Vec<_>>(), ["71053"]);
    let narrowed = ProductSearch {
        category: Some("Candles".into()),
        price_min: Some(255),
        price_max: Some(339),
        currency: Some(Currency::GBP),
        sort: ProductSort::PriceDescending,
        ..ProductSearch::default()
    };
    let hits = search(&projector, narrowed).await;
    assert_eq!(hits.items.iter().map(|hit| hit.price.amount_minor).collect::<Vec<_>>(), [339, 255]);
    projector.stop().await;
}

#[tokio::test]
async fn paging_shows_every_product_once_in_each_order() {
    let (_shop, projector) = catalogue().await;
    let text = Some("t-light holder white heart lantern".to_owned());
    for (sort, text) in [
        (ProductSort::Name, None),
        (ProductSort::PriceAscending, None),
        (ProductSort::PriceDescending, None),
        (ProductSort::Relevance, None),
        (ProductSort::Relevance, text.map(|_| "holder".to_owned())),
    ] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = ProductSearch { sort, text: text.clone(), after, limit: 1, ..ProductSearch::default() };
            let hits = projector.indexes.search_products(query).await.expect("built").value;
            seen.extend(hits.items.iter().map(|hit| hit.sku.to_string()));
            after = hits.next;
            if after.is_none() {
                break;
            }
        }
        let whole = search(&projector, ProductSearch { sort, text, ..ProductSearch::default() }).await;
        assert_eq!(seen, whole.items.iter().map(|hit| hit.sku.to_string()).collect::<Vec<_>>(), "{sort:?}");
    }
    projector.stop().await;
}

#[tokio::test]
async fn orders_are_found_by_the_beginning_of_anything() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    let mut events = (1..=3).flat_map(life::completed).collect::<Vec<_>>();
    events.extend(life::refused(12));
    let position = shop.append(events).await;
    projector.reaches(&position).await;
    let found = async |search: OrderSearch| {
        let hits = projector.indexes.search_orders(OrderSearch { limit: 10, ..search }).await.expect("built").value;
        hits.items.iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let by_text = async |text: &str| found(OrderSearch { text: Some(text.into()), ..OrderSearch::default() }).await;
    assert_eq!(by_text(&life::order_id(2).to_string()).await, [life::order_id(2)]);
    assert_eq!(by_text("INV-12").await, [life::order_id(12)]);
    assert_eq!(by_text("C-2 canc").await, [life::order_id(12)], "customer and status");
    assert_eq!(by_text("01980000").await.len(), 4, "the beginning of an id");
    assert_eq!(by_text("shopper").await, [], "personal data is not in the index");
    let sku = Some(life::sku("B"));
    let completed = OrderSearch { sku, status: Some(OrderStatus::Completed), ..OrderSearch::default() };
    assert_eq!(found(completed).await.len(), 3);
    let none = OrderSearch { total_min: Some(2_510), ..OrderSearch::default() };
    assert_eq!(found(none).await, []);
    projector.stop().await;
}

#[tokio::test]
async fn orders_page_by_time_both_ways_and_a_foreign_cursor_is_refused() {
    let mut shop = Shop::open().await;
    let projector = shop.projector();
    for n in 0..5 {
        shop.append(vec![life::place(n * 2), life::place(n * 2 + 1)]).await;
    }
    let position = shop.append(vec![life::place(10)]).await;
    projector.reaches(&position).await;
    let mut cursors = Vec::new();
    for sort in [OrderSort::Newest, OrderSort::Oldest] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = OrderSearch { sort, after, limit: 3, ..OrderSearch::default() };
            let hits = projector.indexes.search_orders(query).await.expect("built").value;
            assert_eq!(hits.total, 11);
            seen.extend(hits.items.iter().map(|order| (order.placed_at, order.id)));
            after = hits.next;
            cursors.extend(after.clone());
            if after.is_none() {
                break;
            }
        }
        let mut sorted = seen.clone();
        sorted.sort_by(|one, other| match sort {
            OrderSort::Newest => other.0.cmp(&one.0).then(one.1.cmp(&other.1)),
            OrderSort::Oldest => one.cmp(other),
        });
        assert_eq!((seen.len(), &seen), (11, &sorted), "{sort:?}");
    }
    let query =
        OrderSearch { sort: OrderSort::Oldest, after: cursors.first().cloned(), limit: 3, ..OrderSearch::default() };
    assert!(matches!(projector.indexes.search_orders(query).await, Err(ReadError::BadCursor)));
    projector.stop().await;
}
