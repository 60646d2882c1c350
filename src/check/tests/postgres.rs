//! The whole check against a real log: a clean one passes, and what the tables beside it get wrong is found.

use local_services::testing::TestServices;
use sqlx::PgPool;

use super::{
    breach,
    log_of::{LogOf, ORDER},
};
use crate::check::{Options, check};

async fn written(pool: &PgPool, log: &LogOf) {
    for row in &log.0 {
        sqlx::query(
            "INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at) \
             VALUES ($1, $2, $3, gen_random_uuid(), $4, 1, $5::json, $6::json, $7)",
        )
        .bind(row.position)
        .bind(&row.stream_id)
        .bind(row.stream_version)
        .bind(&row.event_type)
        .bind(&row.payload)
        .bind(&row.metadata)
        .bind(row.recorded_at)
        .execute(pool)
        .await
        .expect("the row is written");
    }
    sqlx::query("INSERT INTO streams SELECT stream_id, count(*), 0 FROM events GROUP BY stream_id")
        .execute(pool)
        .await
        .expect("the streams are written");
}

#[tokio::test]
async fn the_log_and_the_tables_beside_it_are_judged() {
    let services = TestServices::shared().await;
    let database = services
        .fresh_database(&events::schema::fingerprint(), async |url: String| events::schema::install(&url).await)
        .await;
    let pool = PgPool::connect(&database.superuser_url()).await.expect("the test's database answers");
    let log = LogOf::completed();
    written(&pool, &log).await;

    let mut heard = Vec::new();
    let report = check(&pool, &Options::default(), |at, last| heard.push((at, last))).await.expect("the log is read");
    assert!(report.ok, "{report:?}");
    assert_eq!(report.position, format!("main:{}", log.len()));
    assert_eq!(heard.last(), Some(&(log.0.len() as u64, log.0.len() as u64)));

    let head = log.len();
    for (from, to) in [(Some(head + 1), None), (None, Some(head + 1)), (Some(3), Some(2))] {
        let options = Options { from, to, ..Options::default() };
        let error = check(&pool, &options, |_, _| ()).await.expect_err("there is nothing to judge").to_string();
        assert!(error.contains(&format!("the log ends at {head}")), "{error}");
    }

    // As if the streams had begun in a partition before.
    for (list, wrong) in [
        ("UPDATE streams SET since_position = -10", None),
        ("INSERT INTO stream_partitions VALUES ('', 0, 0)", Some("in partition 0, and is listed there not at all")),
        ("INSERT INTO stream_partitions SELECT stream_id, 0, 1 FROM streams", Some("and is listed there up to 1")),
        (
            "UPDATE stream_partitions AS p SET last_version = (SELECT max(stream_version) FROM events AS e WHERE e.stream_id = p.stream_id) \
             WHERE stream_id <> ''",
            None,
        ),
    ] {
        sqlx::query(list).execute(&pool).await.expect("the list is changed");
        let report = check(&pool, &Options::default(), |_, _| ()).await.expect("the log is read");
        let found = breach(&report, "O");
        match wrong {
            None => assert!(report.ok, "{list}: {report:?}"),
            Some(wrong) => assert!(found.is_some_and(|found| found.what.ends_with(wrong)), "{list}: {report:?}"),
        }
    }

    sqlx::query("UPDATE streams SET since_position = 1000 WHERE stream_id = $1")
        .bind(format!("order-{ORDER}"))
        .execute(&pool)
        .await
        .expect("the stream is spoilt");
    sqlx::query("INSERT INTO commands VALUES ('payment-x', gen_random_uuid(), 7)")
        .execute(&pool)
        .await
        .expect("the command is spoilt");
    let report = check(&pool, &Options::default(), |_, _| ()).await.expect("the log is read");
    let order = breach(&report, "O").expect("the stream's version is wrong");
    assert_eq!(order.what, format!("order-{ORDER} is said to begin after 1000, and has an event before"));
    let effects = breach(&report, "E").expect("the command's version does not exist");
    assert!(effects.what.contains("version 7 of payment-x"), "{effects:?}");
}
