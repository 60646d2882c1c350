//! Whoever appends to the log past the services, by the function that is for them, while a shop is open.

use sqlx::{Connection, PgConnection, Row};

use crate::support::{
    client::Wish,
    eventually::{eventually, holds},
    shop::{PATIENCE, Shop},
};

const DOCUMENT: &str = include_str!("../../docs/append_events.md");

/// The SQL of the document: a call, the question what a command led to, a stream, a page of the log.
fn documented() -> Vec<&'static str> {
    let blocks = DOCUMENT.split("```sql\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("the block ends").0).collect()
}

async fn session(shop: &Shop) -> PgConnection {
    PgConnection::connect(&shop.servers.service_url()).await.expect("the log's own role may connect")
}

fn wish() -> Wish {
    Wish::new("tok_ok", "standard")
}

#[tokio::test]
async fn what_the_document_for_other_programs_says_works_as_it_stands() {
    let shop = Shop::plan().open().await;
    let mut session = session(&shop).await;
    let [call, led_to, stream, page] = documented()[..] else { panic!("the document shows four statements") };
    let told = sqlx::query(call).fetch_one(&mut session).await.expect("it is a good call");
    let (before, stale): (i64, Vec<i32>) = (told.get("last_position"), told.get("stale_streams"));
    assert!(stale.is_empty());
    let repeated = sqlx::query(call).fetch_one(&mut session).await.expect("nothing is wrong with it");
    assert_eq!(repeated.get::<Vec<i64>, _>("stale_versions"), [2], "the stream is not new any more");
    let answer = sqlx::query(led_to).fetch_one(&mut session).await.expect("the command is known");
    assert_eq!((answer.get::<i64, _>("stream_version"), answer.get::<i64, _>("position")), (2, before + 2));
    let rows = sqlx::query(stream).fetch_all(&mut session).await.expect("whoever appends may read");
    let types: Vec<&str> = rows.iter().map(|row| row.get("event_type")).collect();
    assert_eq!(types, ["PeriodOpened", "EntryBooked"]);
    let again = call.replace("'{0}'", "'{2}'").replace("'{1,2}'", "'{3,4}'").replace("'{2}'\n)", "'{4}'\n)");
    let refused = sqlx::query(&again).fetch_one(&mut session).await.expect_err("the command was given before");
    assert_eq!(refused.as_database_error().and_then(|error| error.constraint()), Some("commands_pkey"));
    let rows = sqlx::query(page).fetch_all(&mut session).await.expect("the log is a table");
    let positions: Vec<i64> = rows.iter().map(|row| row.get("position")).collect();
    assert_eq!(positions, (1..=positions.len() as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_somebody_elses_are_counted_by_every_reader_and_stop_none() {
    let mut shop = Shop::plan().open().await;
    let mut session = session(&shop).await;
    let before = shop.place("before", &wish()).await;
    sqlx::query(documented()[0]).execute(&mut session).await.expect("it is a good call");
    // Of a known type, where it does not belong, and in streams without a category.
    for stream in ["ledger", "order"] {
        let stray = documented()[0].replace("ledger-2026", stream).replace("PeriodOpened", "OrderPlaced");
        sqlx::query(&stray).execute(&mut session).await.expect("it is a good call");
    }
    let head = shop.head().await;
    for order in [before, shop.place("after", &wish()).await] {
        shop.until(&order.id, "FulfilmentCompleted").await;
    }
    eventually("every reader has verified the log beyond them", PATIENCE, async || {
        let metrics = shop.client.get("/metrics").await.text;
        let verified = metrics.lines().filter_map(|line| line.strip_prefix("waybill_verified_position{reader=\""));
        let behind = |line: &&str| line.rsplit_once(' ').and_then(|(_, at)| at.parse::<i64>().ok()) < Some(head);
        let (behind, well): (Vec<&str>, Vec<&str>) = verified.partition(behind);
        // Six projections; the price list, the sagas, and both lanes of the relay.
        holds(behind.is_empty() && well.len() == 10, || format!("{behind:?} {well:?}"))
    })
    .await;
    let log = shop.command(&["check", "log"]).await;
    assert_eq!(log.code(), Some(0), "{}{}", log.out, log.err);
    shop.restart().await;
    let restarted = shop.place("restarted", &wish()).await;
    shop.until(&restarted.id, "FulfilmentCompleted").await;
    let rebuilt = shop.command(&["rebuild", "order-view", "--json"]).await;
    assert_eq!(rebuilt.json()["equal"], true, "{}{}", rebuilt.out, rebuilt.err);
    shop.check().await;
    shop.stop().await;
}

#[tokio::test]
async fn an_order_that_waits_for_who_holds_the_log_is_never_refused_for_good_and_recorded_all_the_same() {
    let mut shop = Shop::plan().private_postgres().open().await;
    let mut session = session(&shop).await;
    // It has a limit of its own, so that it is not ended as one that has gone away.
    let hold = format!("SET idle_in_transaction_session_timeout = '120s'; BEGIN; {}", documented()[0]);
    sqlx::raw_sql(&hold).execute(&mut session).await.expect("it is a good call");
    let answer = shop.client.post("/v1/orders", "held", &wish().body()).await;
    assert!(["outcome-unknown", "overloaded"].contains(&answer.code()), "{answer:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.expect("it held the log until now");
    let placed = Shop::place_stubbornly(&shop.client, "held", &wish()).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    assert_eq!(shop.count("OrderPlaced").await, 1, "placed once");
    shop.check().await;
    shop.stop().await;
}
