//! RabbitMQ stopped, killed, cut off, and emptied while orders flow: everything converges without a person.

use crate::support::{
    client::Wish,
    eventually::{eventually, holds},
    flow::Flow,
    shop::{PATIENCE, Shop},
};

fn wish(number: usize) -> Wish {
    Wish::new(if number % 10 == 3 { "tok_decline" } else { "tok_ok" }, "standard")
}

/// Waits until so many sagas have begun, so that the fault comes in the middle of them.
async fn begun(shop: &Shop, orders: i64) {
    eventually(&format!("{orders} sagas have begun"), PATIENCE, async || {
        let begun = shop.count("FulfilmentStarted").await;
        holds(begun >= orders, || format!("{begun} have"))
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_stopped_killed_cut_off_or_emptied_under_load_costs_time_and_nothing_else() {
    const EACH: usize = 40;
    let mut shop = Shop::plan().private_rabbitmq().open().await;
    let mut before = 0;
    for fault in ["stopped", "killed", "cut off", "emptied"] {
        let name = if fault == "cut off" { "cut-off" } else { fault };
        let placing = Flow::start(&shop.client, name, EACH, wish);
        begun(&shop, before + 10).await;
        let broker = shop.servers.rabbitmq();
        match fault {
            "stopped" => broker.stop().await.expect("it stops"),
            "killed" => broker.kill().await.expect("it can be killed"),
            "emptied" => broker.wipe().await.expect("it can be emptied"),
            _ => drop(broker.control(&["close_all_connections", "a test"]).await.expect("connections can be closed")),
        }
        broker.start().await.expect("it comes back");
        let placed = placing.placed().await;
        assert_eq!(placed.len(), EACH, "{fault}");
        shop.settled(PATIENCE * 2).await;
        before += i64::try_from(EACH).expect("a small number");
        assert_eq!(shop.count("FulfilmentStarted").await, before, "{fault}");
    }
    shop.check().await;
    shop.stop().await;
}
