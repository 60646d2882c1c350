//! `waybill log`: the log as an operator looks at it.

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::support::{client::Wish, program::Ended, shop::Shop};

fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code(), Some(0), "{}{}", ended.out, ended.err);
    ended.out.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn refused(ended: &Ended, word: &str) {
    assert_eq!(ended.code(), Some(1), "{}{}", ended.out, ended.err);
    assert!(ended.err.contains(word) && ended.out.is_empty(), "{}{}", ended.out, ended.err);
}

#[tokio::test]
async fn an_operator_sees_the_log_as_it_stands_and_is_told_what_he_asked_wrong() {
    let mut shop = Shop::plan().open().await;
    let placed = shop.place("one", &Wish::new("tok_ok", "standard")).await;
    shop.until(&placed.id, "FulfilmentCompleted").await;
    shop.settled(crate::support::shop::PATIENCE).await;
    shop.stop().await;
    let head = shop.head().await;

    let all = lines(&shop.command(&["log", "tail", "--from", "0", "--no-follow", "--json"]).await);
    let positions: Vec<String> = (1..=head).map(|position| format!("main:{position}")).collect();
    assert_eq!(all.iter().map(|event| event["position"].as_str().unwrap_or_default()).collect::<Vec<_>>(), positions);
    let rest =
        lines(&shop.command(&["log", "tail", "--from", &format!("main:{}", head - 2), "--no-follow", "--json"]).await);
    assert_eq!(rest, all[all.len() - 2..]);
    let stream = format!("order-{}", placed.id);
    let shown = lines(&shop.command(&["log", "show", &stream, "--json"]).await);
    let of_the_stream: Vec<Value> = all.iter().filter(|event| event["stream"] == stream.as_str()).cloned().collect();
    assert_eq!(shown, of_the_stream);
    let exported = lines(&shop.command(&["log", "export", "--stream", &stream]).await);
    assert_eq!(exported.len(), shown.len());

    let stats = &lines(&shop.command(&["log", "stats", "--json"]).await)[0];
    assert_eq!(
        (&stats["head"], &stats["types"]["OrderPlaced"]),
        (&format!("main:{head}").into(), &1.into()),
        "{stats}"
    );
    let streams: std::collections::BTreeSet<&str> = all.iter().filter_map(|event| event["stream"].as_str()).collect();
    assert_eq!(stats["streams"], streams.len());
    let partitions = &lines(&shop.command(&["log", "partitions", "--json"]).await)[0];
    let partitions = partitions.as_array().expect("a list");
    let filled: i64 = partitions.iter().filter_map(|partition| partition["filled"].as_i64()).sum();
    assert!(filled == head && partitions.len() >= 2, "one to spare: {partitions:?}");

    for (arguments, word) in [
        (&["log", "tail", "--from", "99999999", "--no-follow"][..], "beyond the log"),
        (&["log", "tail", "--from", "south:1", "--no-follow"], "another log"),
        (&["log", "show", "order-nobody"], "there is no stream"),
        (&["log", "export", "--from", "99999999"], "beyond the log"),
        (&["log", "export", "--from", "5", "--to", "2"], "before --from"),
        (&["log", "export", "--from", "south:1"], "another log"),
    ] {
        refused(&shop.command(arguments).await, word);
    }
    let nobody = &[("WAYBILL__DATABASE__URL", "postgres://waybill_service@127.0.0.1:1/waybill")];
    let unreachable = shop.command_with(&["log", "stats"], nobody).await;
    refused(&unreachable, "127.0.0.1:1");
    assert!(unreachable.err.contains("refused"), "{}", unreachable.err);
}

#[tokio::test]
async fn doctor_says_what_to_set_before_the_partitions_need_more_locks_than_there_are() {
    let shop = Shop::plan().prepare().await;
    assert_eq!(shop.command(&["doctor"]).await.code(), Some(0));
    let mut connection = PgConnection::connect(&shop.servers.service_url()).await.expect("its database is there");
    let attach = "SELECT attach_event_partitions(204::bigint * 5000000)";
    sqlx::query(attach).execute(&mut connection).await.expect("partitions are attached");
    let doctor = shop.command(&["doctor"]).await;
    let told = doctor.out.contains("set max_locks_per_transaction to 412 and restart Postgres");
    assert!(told && doctor.code() == Some(3), "{doctor:?}");
}
