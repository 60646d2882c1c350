//! What is true of the log when its primary is lost and a standby takes over, and when its disk is full. Each test proves that its
//! fault happened.

use std::{
    fs::{self, File},
    io::Write,
    sync::Arc,
    time::Duration,
};

use events::{Checkpoint, LogError, Position, Tail, Wake, schema};
use local_services::{PrivatePostgres, testing::PostgresProxy};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    event_store::append_one,
    pool, seeds,
    server_faults::{DATABASE, Told, assert_holds, server, until_more, write},
    store, until,
};
use crate::{EventStore, StoreConfig, StoreError};

/// A primary, a standby that follows it, and a door that leads to whichever is to be written to.
struct Pair {
    primary: PrivatePostgres,
    standby: PrivatePostgres,
    door: PostgresProxy,
}

impl Pair {
    async fn new() -> Self {
        let primary = server().await;
        schema::migrate(&primary.at().url(DATABASE, schema::OWNER)).await.unwrap();
        let standby = primary.standby().await.expect("a standby starts");
        let door = PostgresProxy::before(primary.at()).await.unwrap();
        Self { primary, standby, door }
    }

    /// As a process begins that comes through the door.
    async fn store(&self, tracker: &TaskTracker) -> EventStore {
        store(StoreConfig::default(), &self.door.url(DATABASE, schema::SERVICE), tracker).await
    }

    /// The primary dies, and the standby is opened for writing.
    async fn fail_over(&self) {
        self.primary.kill().await.unwrap();
        assert!(!self.primary.is_running(), "the fault happened");
        let promoted =
            sqlx::query_scalar("SELECT pg_promote(true, 60)").fetch_one(&superuser(&self.standby).await).await;
        assert!(promoted.unwrap_or(false), "it is promoted");
        self.door.lead_to(self.standby.at());
    }
}

async fn superuser(server: &PrivatePostgres) -> PgPool {
    pool(&server.at().superuser_url(DATABASE)).await
}

async fn configure(server: &PrivatePostgres, setting: &str) {
    let superuser = superuser(server).await;
    for sql in [&format!("ALTER SYSTEM SET {setting}"), "SELECT pg_reload_conf()"] {
        sqlx::query(sql).execute(&superuser).await.unwrap();
    }
}

/// Until so many standbys follow in that way.
async fn until_followed(server: &PrivatePostgres, sync_state: &str, count: i64) {
    let superuser = superuser(server).await;
    let following = format!("SELECT count(*) = {count} FROM pg_stat_replication WHERE sync_state = '{sync_state}'");
    until(&superuser, "so many follow", &following).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_synchronous_standby_has_all_that_was_answered_and_everybody_goes_on() {
    for _ in seeds(1) {
        fail_over_under_load().await;
    }
}

async fn fail_over_under_load() {
    let (pair, tracker) = (Pair::new().await, TaskTracker::new());
    configure(&pair.primary, "synchronous_standby_names = '*'").await;
    until_followed(&pair.primary, "sync", 1).await;
    let store = pair.store(&tracker).await;
    let (told, end) = (Arc::<Told>::default(), CancellationToken::new());
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        writers.spawn(write(store.clone(), writer.to_string(), told.clone(), end.clone()));
    }
    until_more(&told.answered, 500).await;
    let start = Checkpoint::start(store.log().id().clone());
    let mut tail = Tail::open(store.log().clone(), start, store.wake(), 100).await.unwrap();
    let read_before = tail.next_raw_page().await.unwrap().len();
    let checkpoint = tail.checkpoint().clone();
    pair.fail_over().await;
    until_more(&told.answered, 500).await;
    end.cancel();
    let known: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_holds(&pair.standby, &known).await;
    let mut tail =
        Tail::open(store.log().clone(), checkpoint, store.wake(), 10_000).await.expect("its last event is there");
    let page = tail.next_raw_page().await.unwrap();
    assert_eq!(page.first().unwrap().position, Position(i64::try_from(read_before).unwrap() + 1), "a reader goes on");
}

#[tokio::test]
async fn a_standby_that_lacked_the_last_commits_is_another_history_for_all_who_have_seen_them() {
    let (pair, tracker) = (Pair::new().await, TaskTracker::new());
    let store = pair.store(&tracker).await;
    for n in 0..10 {
        append_one(&store, "a", n).await.unwrap();
    }
    let superuser = superuser(&pair.standby).await;
    until(&superuser, "the standby follows", "SELECT count(*) >= 10 FROM events").await;
    configure(&pair.standby, "primary_conninfo = ''").await;
    until_followed(&pair.primary, "async", 0).await;
    for n in 10..13 {
        append_one(&store, "a", n).await.expect("nobody waits for a standby that is not synchronous");
    }
    let start = Checkpoint::start(store.log().id().clone());
    let mut tail = Tail::open(store.log().clone(), start, &Wake::default(), 100).await.unwrap();
    assert_eq!(tail.next_raw_page().await.unwrap().len(), 13);
    let seen = tail.checkpoint().clone();
    pair.fail_over().await;

    let refused = async {
        loop {
            match append_one(&store, "a", 13).await {
                // Of the connections that broke.
                Err(error) if error.is_transient() => (),
                other => break other,
            }
        }
    };
    let refused = timeout(Duration::from_secs(30), refused).await.expect("it is told in time");
    assert!(matches!(refused, Err(StoreError::Log(LogError::HistoryChanged { .. }))), "{refused:?}");
    let anew = pair.store(&tracker).await;
    for n in 10..20 {
        assert_eq!(
            append_one(&anew, "a", n).await.unwrap().last,
            Position(n + 1),
            "who begins anew goes on from there"
        );
        let error = anew.log().verify(&seen).await.expect_err("a reader that had seen what is lost stops");
        assert!(matches!(error, LogError::HistoryChanged { .. }), "{error}");
    }
}

/// Of a disk that is used up while it runs.
const DISK: u64 = 160 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_that_was_answered_and_all_goes_on_once_there_is_room() {
    let Some(server) = PrivatePostgres::on_a_small_disk(DISK).await.expect("a private Postgres starts") else {
        return eprintln!("SKIPPED: a full disk (a small one can be mounted by root only)");
    };
    let admin = server.at().superuser_url("postgres");
    schema::ensure_roles(&admin).await.unwrap();
    schema::ensure_database(&admin, DATABASE).await.unwrap();
    schema::migrate(&server.at().url(DATABASE, schema::OWNER)).await.unwrap();
    let tracker = TaskTracker::new();
    let store = store(StoreConfig::default(), &server.at().url(DATABASE, schema::SERVICE), &tracker).await;
    let (told, end) = (Arc::<Told>::default(), CancellationToken::new());
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        writers.spawn(write(store.clone(), writer.to_string(), told.clone(), end.clone()));
    }
    until_more(&told.answered, 200).await;
    let ballast = server.disk().expect("it has one").join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    until_more(&told.failed, 100).await;
    assert!(server.log().contains("No space left on device"), "the fault happened");
    drop(file);
    fs::remove_file(&ballast).unwrap();
    // Where the write-ahead log could not grow, the server has ended, or is on its way down or up.
    let wait = async {
        while PgConnection::connect(&admin).await.is_err() {
            server.start().await.ok();
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it runs again");
    until_more(&told.answered, 200).await;
    end.cancel();
    let known: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_holds(&server, &known).await;
}
