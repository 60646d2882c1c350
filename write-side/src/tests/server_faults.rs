//! What is true of the log when its server dies, is moved, or loses a session. Each test proves that its fault happened.

use std::{sync::Arc, time::Duration};

use events::{Checkpoint, Position, Tail, Wake, schema};
use local_services::{PrivatePostgres, testing::dump_and_restore};
use sqlx::{Connection, PgConnection};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Fixture, command, context,
    event_store::{append_one, assert_whole_in, event, stream},
    handler::place,
    pool, seeds, store_over,
};
use crate::{Append, EventStore, StoreConfig, StoreError, StreamAppend, create, domain::order::Order};

pub(super) const DATABASE: &str = "waybill";

/// A server of its own, with the schema.
pub(super) async fn server() -> PrivatePostgres {
    let server = PrivatePostgres::create().await.expect("a private Postgres starts");
    let admin = server.at().superuser_url("postgres");
    schema::ensure_roles(&admin).await.unwrap();
    schema::ensure_database(&admin, DATABASE).await.unwrap();
    server
}

pub(super) async fn store_on(server: &PrivatePostgres, tracker: &TaskTracker) -> EventStore {
    let pool = pool(&server.at().url(DATABASE, schema::SERVICE)).await;
    store_over(pool, StoreConfig::default(), tracker).await
}

/// How many appends came to which end.
#[derive(Default)]
pub(super) struct Told {
    pub answered: watch::Sender<usize>,
    pub failed: watch::Sender<usize>,
}

/// Until so many more came to that end.
pub(super) async fn until_more(told: &watch::Sender<usize>, count: usize) {
    let mut watched = told.subscribe();
    let wanted = *watched.borrow() + count;
    let waiting = watched.wait_for(|told| *told >= wanted);
    timeout(Duration::from_secs(60), waiting).await.expect("it goes on").unwrap();
}

/// Appends to a stream of its own until told to end; returns where each event stands whose append was answered.
pub(super) async fn write(
    store: EventStore,
    name: String,
    told: Arc<Told>,
    end: CancellationToken,
) -> Vec<(Position, Uuid)> {
    let (mut version, mut known) = (0, Vec::new());
    while !end.is_cancelled() {
        let event = event(&store, "{}");
        let id = event.event_id;
        let stream_id = stream(&name);
        let append = StreamAppend { stream_id, expected_version: version, events: vec![event], commands: vec![] };
        match store.append(Append::to_one(append)).await {
            Ok(appended) => {
                known.push((appended.first, id));
                version += 1;
                told.answered.send_modify(|count| *count += 1);
            }
            // Of an append whose answer was lost.
            Err(StoreError::WrongExpectedVersion { actual, .. }) => version = actual,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                told.failed.send_modify(|count| *count += 1);
            }
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_again_and_again_has_all_that_was_answered() {
    let (server, tracker) = (server().await, TaskTracker::new());
    schema::migrate(&server.at().url(DATABASE, schema::OWNER)).await.unwrap();
    let store = store_on(&server, &tracker).await;
    let (told, end) = (Arc::<Told>::default(), CancellationToken::new());
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        writers.spawn(write(store.clone(), writer.to_string(), told.clone(), end.clone()));
    }
    for round in seeds(4) {
        until_more(&told.answered, 150 * usize::try_from(round.min(4)).unwrap()).await;
        server.kill().await.unwrap();
        assert!(!server.is_running(), "the fault happened");
        server.start().await.unwrap();
    }
    until_more(&told.answered, 100).await;
    end.cancel();
    let known: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_holds(&server, &known).await;
}

/// A whole log, in which each answered event stands where it was said to.
pub(super) async fn assert_holds(server: &PrivatePostgres, answered: &[(Position, Uuid)]) {
    let superuser = pool(&server.at().superuser_url(DATABASE)).await;
    let (positions, ids): (Vec<i64>, Vec<Uuid>) = answered.iter().map(|(at, id)| (at.0, *id)).unzip();
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::bigint[], $2::uuid[]) AS told (position, event_id) JOIN events USING (position, event_id)",
    )
    .bind(positions)
    .bind(ids)
    .fetch_one(&superuser)
    .await
    .unwrap();
    assert_eq!(found, i64::try_from(answered.len()).unwrap());
    assert!(assert_whole_in(&superuser).await >= found);
}

#[tokio::test]
async fn a_log_that_was_dumped_and_restored_on_another_server_goes_on_where_it_was() {
    let fixture = Fixture::new().await;
    for n in 1..=30 {
        let id = events::OrderId(Uuid::from_u128(n));
        create::<Order>(&fixture.store, &id.stream(), place(id), &context(command(&n.to_string()))).await.unwrap();
    }
    let checkpoint = fixture.store.log().checkpoint_at(Position(20)).await.unwrap();
    let (server, tracker) = (server().await, TaskTracker::new());
    dump_and_restore((&fixture.database.postgres, &fixture.database.name), (server.at(), DATABASE)).await;
    let store = store_on(&server, &tracker).await;
    store.log().verify(&checkpoint).await.expect("a reader finds its last event");
    let id = events::OrderId(Uuid::from_u128(7));
    let again = create::<Order>(&store, &id.stream(), place(id), &context(command("7"))).await.unwrap();
    assert!(again.repeated, "a command that was answered there is answered here");
    assert_eq!(append_one(&store, "new", 0).await.unwrap().first, Position(31));
    let refused = sqlx::query("DELETE FROM events").execute(store.log().pool()).await.expect_err("a service may not");
    assert_eq!(refused.into_database_error().unwrap().code().as_deref(), Some("42501"));
    assert_eq!(assert_whole_in(&pool(&server.at().superuser_url(DATABASE)).await).await, 31);
}

#[tokio::test]
async fn a_reader_whose_notifications_are_lost_reads_on_and_is_notified_again() {
    let fixture = Fixture::new().await;
    let (elsewhere, over) = (Wake::default(), CancellationToken::new());
    let mut exchanges = JoinSet::new();
    for wake in [fixture.store.wake().clone(), elsewhere.clone()] {
        exchanges.spawn(wake.exchange(fixture.store.log().pool().clone(), over.clone()));
    }
    let start = Checkpoint::start(fixture.store.log().id().clone());
    let mut tail = Tail::open(fixture.store.log().clone(), start, &elsewhere, 100).await.unwrap();
    let superuser = fixture.superuser().await;
    let (mut heard, mut version) = (elsewhere.subscribe(), 0);
    let mut append_and_read = async || {
        let position = append_one(&fixture.store, "a", version).await.unwrap().last;
        version += 1;
        let page = timeout(Duration::from_secs(10), tail.next_raw_page()).await.expect("in time").unwrap();
        assert_eq!(page.last().unwrap().position, position);
        position
    };
    for _ in 0..2 {
        // What is told before it listens again is lost; so another append, until one is heard of.
        let mut heard_of = false;
        for _ in 0..40 {
            let position = append_and_read().await;
            let told = heard.wait_for(|newest| *newest >= position);
            heard_of = timeout(Duration::from_millis(500), told).await.is_ok();
            if heard_of {
                break;
            }
        }
        assert!(heard_of, "it is notified, again");
        let lost: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&superuser)
        .await
        .unwrap();
        assert!(lost > 0, "the fault happened");
        append_and_read().await;
    }
    over.cancel();
}

#[tokio::test]
async fn a_session_idle_in_its_transaction_is_in_nobodys_way() {
    let fixture = Fixture::new().await;
    let mut idle = PgConnection::connect(&fixture.database.superuser_url()).await.unwrap();
    let mut transaction = idle.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *transaction).await.unwrap();
    let seen = async |connection: &mut PgConnection| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events, txid_current()").fetch_one(connection).await.unwrap()
    };
    assert_eq!(seen(&mut transaction).await, 0);
    let start = Checkpoint::start(fixture.store.log().id().clone());
    let mut tail = Tail::open(fixture.store.log().clone(), start, fixture.store.wake(), 10).await.unwrap();
    for n in 0..50 {
        append_one(&fixture.store, "a", n).await.unwrap();
        assert_eq!(tail.next_raw_page().await.unwrap().len(), 1);
    }
    assert_eq!(seen(&mut transaction).await, 0, "it sees the log as it was all the while");
    transaction.rollback().await.unwrap();
}
