//! What a statement costs must not depend on how large the tables were when its plan was made: plans are made while the newest partition is
//! empty, and are kept.

use std::str::FromStr;

use events::schema;
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{Fixture, outsider::APPEND};
use crate::{
    append_sql,
    event_store::{ANSWERED, LOAD, POSITION_OF},
};

/// Far more pages of each index than any statement needs to look into.
const MANY: i64 = 100_000;
/// Pages that a statement may look into; with the tables full, each index has some hundreds.
const FEW: i64 = 80;

/// A session as the store opens it, and which may look at its own statistics.
struct Session(PgConnection);

impl Session {
    async fn on(fixture: &Fixture, settings: &[(&str, &str)]) -> Self {
        let options = PgConnectOptions::from_str(&fixture.database.superuser_url()).unwrap();
        let options = options.options(schema::SESSION).options(settings.iter().copied());
        Self(PgConnection::connect_with(&options).await.unwrap())
    }

    async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(sql).execute(&mut self.0).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Looked into so far, of the log's tables and indexes.
    async fn pages(&mut self) -> i64 {
        let sql = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        sqlx::raw_sql(sql).fetch_one(&mut self.0).await.unwrap().get(0)
    }

    /// What each way to append and to be refused costs in a log that ends at `head`, and has an event at `early`. Nothing is kept.
    async fn appends(&mut self, early: i64, head: i64) -> Vec<(String, i64)> {
        let mut costs = Vec::new();
        let one_behind = head - 1;
        for (known, expected, look) in [
            (head, 1, false),
            (one_behind, 1, false),
            (one_behind, 1, true),
            (one_behind, 7, true),
            (early, 1, false),
            (0, 1, true),
        ] {
            let event = if known == 0 { "NULL".to_owned() } else { format!("md5('e{known}')::uuid") };
            let known = format!("{head}, {known}, {event}");
            costs.push(self.cost(&format!(
                "SELECT append_batch({known}, NULL, NULL, NULL, '{{test-a,test-b}}', '{{0,1}}', '{{{expected},{expected}}}', '{{{look},{look}}}', \
                 '{{0,1}}', '{{test-a,test-b}}', '{{2,2}}', ARRAY[gen_random_uuid(), gen_random_uuid()], '{{Tested,Tested}}', '{{1,1}}', \
                 ARRAY['{{}}', '{{}}']::json[], ARRAY['{{}}', '{{}}']::json[], '{{0}}', '{{test-a}}', ARRAY[gen_random_uuid()], '{{2}}')"
            )).await);
            costs.push(self.cost(&format!(
                "SELECT append_one({known}, 'test-a', {expected}, {look}, gen_random_uuid(), 'Tested', 1::smallint, '{{}}', '{{}}', gen_random_uuid())"
            )).await);
        }
        for expected in ["1", "7"] {
            let sql = APPEND.replace("$1", "'test-a'").replace("$2", expected);
            costs.push(self.cost(&sql).await);
        }
        costs
    }

    /// What each way to look for a stream's events costs, prepared with a plan for any stream.
    async fn lookups(&mut self) -> Vec<(String, i64)> {
        let mut costs = Vec::new();
        self.run("BEGIN").await;
        for sql in [LOAD, ANSWERED, POSITION_OF] {
            let query = sqlx::query(sql).bind("test-a");
            let id = Uuid::from_u128(1);
            let query = match sql {
                LOAD => query.bind(0_i64).bind(id),
                ANSWERED => query.bind(vec![id]),
                _ => query.bind(1_i64),
            };
            let before = self.pages().await;
            assert_eq!(query.fetch_all(&mut self.0).await.unwrap().len(), 1);
            costs.push((sql.to_owned(), self.pages().await - before));
        }
        self.run("ROLLBACK").await;
        costs
    }

    async fn cost(&mut self, sql: &str) -> (String, i64) {
        self.run("BEGIN").await;
        let before = self.pages().await;
        self.run(sql).await;
        let cost = self.pages().await - before;
        self.run("ROLLBACK").await;
        (sql.to_owned(), cost)
    }
}

#[tokio::test]
async fn plans_that_were_made_for_an_almost_empty_partition_are_good_when_it_is_full() {
    for in_the_newest in [0, 1, 2] {
        let fixture = Fixture::new().await;
        let mut appending = Session::on(&fixture, &append_sql::SESSION).await;
        let mut loading = Session::on(&fixture, &[("plan_cache_mode", "force_generic_plan")]).await;
        // Three events, of which so many stand in the second partition.
        let head = 4_999_999 + in_the_newest;
        let few = format!(
            "SELECT attach_event_partitions(5000000); ALTER TABLE events_p000001 SET (autovacuum_enabled = off); \
             ALTER TABLE streams SET (autovacuum_enabled = off); ALTER TABLE commands SET (autovacuum_enabled = off); \
             INSERT INTO streams (stream_id, since_position) SELECT 'test-' || n, 0 FROM unnest('{{a,b}}'::text[]) AS n; \
             INSERT INTO events SELECT {head} - 3 + n, 'test-' || chr(96 + n), 1, md5('e' || {head} - 3 + n)::uuid, 'Tested', 1, '{{}}', \
                 '{{}}', now() FROM generate_series(1, 3) AS n; \
             INSERT INTO commands VALUES ('test-a', '00000000-0000-0000-0000-000000000001', 1)"
        );
        appending.run(&few).await;
        appending.run("VACUUM (ANALYZE) events, streams, commands").await;
        appending.appends(head - 1, head).await;
        loading.lookups().await;
        let many = format!(
            "INSERT INTO events SELECT {head} + n, 'test-' || n, 1, md5('e' || {head} + n)::uuid, 'Tested', 1, '{{}}', '{{}}', now() \
                 FROM generate_series(1, {MANY}) AS n; \
             INSERT INTO streams (stream_id, since_position) SELECT 'test-' || n, 0 FROM generate_series(1, {MANY}) AS n; \
             INSERT INTO commands SELECT 'test-a', gen_random_uuid(), 1 FROM generate_series(1, {MANY}) AS n"
        );
        appending.run(&many).await;
        // With the plans that are there, and with those that are made once the tables were analysed.
        for analyse in ["", "ANALYZE events, streams, commands"] {
            appending.run(analyse).await;
            let appends = appending.appends(head - 1, head + MANY).await;
            for (sql, cost) in appends.into_iter().chain(loading.lookups().await) {
                assert!(cost <= FEW, "{in_the_newest} in the newest partition, {analyse}: {cost} pages for {sql}");
            }
        }
    }
}
