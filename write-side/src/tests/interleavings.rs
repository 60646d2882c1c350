//! Everything at once, from a seed: writers in each other's way, batches over several streams, repeated command ids, transactions that
//! are rolled back, backends that are killed; and one reader for each way of being woken. What each was told must be what is there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use events::{Checkpoint, CommandId, Position, StreamVersion, Tail, Wake};
use local_services::testing::eventually;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sqlx::{Connection, PgConnection};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Fixture,
    event_store::{append_one, assert_whole, event, stream},
    seeds,
};
use crate::{Append, EventStore, StoreError, StreamAppend};

const WRITERS: u64 = 6;
const APPENDS: usize = 120;
const STREAMS: usize = 10;
/// Appends between one kill and the next.
const KILL_EVERY: i64 = 60;
/// The last stream that anybody writes to: readers end there.
const END: &str = "end";

/// What became of an append, as its caller was told.
enum Told {
    Committed { first: Position, last: Position },
    Refused,
    Unknown,
}

/// The ids of an append's events in order, and what its caller was told.
type Record = (Vec<Uuid>, Told);

struct Writer {
    store: EventStore,
    random: StdRng,
    /// Of each stream, as this writer last heard.
    versions: HashMap<usize, StreamVersion>,
    /// Commands that had an effect on a stream.
    done: Vec<(usize, CommandId)>,
    told: Vec<Record>,
}

impl Writer {
    fn new(store: EventStore, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { store, random, versions: HashMap::new(), done: Vec::new(), told: Vec::new() }
    }

    async fn run(mut self, answered: Arc<watch::Sender<i64>>) -> Vec<Record> {
        for _ in 0..APPENDS {
            self.append().await;
            answered.send_modify(|count| *count += 1);
        }
        self.told
    }

    async fn append(&mut self) {
        let count = self.random.random_range(1..=3);
        let streams = rand::seq::index::sample(&mut self.random, STREAMS, count).into_vec();
        // Now and then one of its own old commands, which must not have an effect again.
        let repeated = self.done.choose(&mut self.random).copied().filter(|_| self.random.random_bool(0.1));
        let command = repeated.map_or_else(|| CommandId(Uuid::from_u128(self.random.random())), |(_, command)| command);
        let streams = repeated.map_or(streams, |(stream, _)| vec![stream]);
        let appends: Vec<_> = streams.iter().map(|&number| self.stream_append(number, command)).collect();
        let ids = appends.iter().flat_map(|append| &append.events).map(|event| event.event_id).collect();
        let told = match self.store.append(Append { streams: appends, keys: vec![] }).await {
            Ok(appended) => {
                assert!(repeated.is_none(), "a command had an effect twice");
                for number in streams {
                    *self.versions.entry(number).or_default() += 1;
                    self.done.push((number, command));
                }
                Told::Committed { first: appended.first, last: appended.last }
            }
            Err(StoreError::WrongExpectedVersion { stream: stale, actual, .. }) => {
                let stale = streams.into_iter().find(|number| stream(&number.to_string()) == stale);
                self.versions.insert(stale.expect("one that was named"), actual);
                Told::Refused
            }
            Err(StoreError::Postgres { source, .. }) => {
                // Its command id stands in the stream already: whoever repeats a command has not looked for its answer here.
                let constraint = source.as_database_error().and_then(|error| error.constraint());
                assert!(repeated.is_some() && constraint == Some("commands_pkey"), "{source}");
                Told::Refused
            }
            Err(StoreError::OutcomeUnknown { .. }) => Told::Unknown,
            Err(error) => panic!("{error}"),
        };
        self.told.push((ids, told));
    }

    fn stream_append(&self, number: usize, command: CommandId) -> StreamAppend {
        let expected_version = self.versions.get(&number).copied().unwrap_or(0);
        let events = vec![event(&self.store, "{}")];
        let stream_id = stream(&number.to_string());
        StreamAppend { stream_id, expected_version, events, commands: vec![(command, expected_version + 1)] }
    }
}

/// Kills a backend that appends, each time that so many appends were answered. Returns how many.
async fn kill(fixture: &Fixture, mut answered: watch::Receiver<i64>, over: &CancellationToken) -> i64 {
    let (pool, mut kills, mut next) = (fixture.superuser().await, 0, KILL_EVERY);
    while over.run_until_cancelled(answered.wait_for(|count| *count >= next)).await.is_some() {
        let killed: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT * FROM append_%' \
             ORDER BY random() LIMIT 1) AS victim",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (kills, next) = (kills + killed, next + KILL_EVERY);
    }
    kills
}

/// Appends and takes it back, again and again. Returns how often.
async fn roll_back(fixture: &Fixture, over: &CancellationToken) -> i64 {
    let mut connection = PgConnection::connect(&fixture.database.superuser_url()).await.unwrap();
    let mut rolled_back = 0;
    while !over.is_cancelled() {
        let mut transaction = connection.begin().await.unwrap();
        let sql = "SELECT append_events(0, '{test-gone}', '{1}', '{0}', '{1}', '{1}', '{test-gone}', '{1}', \
                   ARRAY[gen_random_uuid()], '{Tested}', '{1}', '{\"{}\"}', '{\"{}\"}', '{}', '{}', '{}', '{}')";
        sqlx::query(sql).execute(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        rolled_back += 1;
    }
    rolled_back
}

/// Reads until the end, as whoever is woken in this way.
async fn read(store: EventStore, wake: Wake) -> Vec<Uuid> {
    let start = Checkpoint::start(store.log().id().clone());
    let mut tail = Tail::open(store.log().clone(), start, &wake, 7).await.unwrap();
    let (mut ids, end) = (Vec::new(), stream(END));
    loop {
        for event in tail.next_raw_page().await.unwrap() {
            ids.push(event.event_id);
            assert_eq!(event.position.0, i64::try_from(ids.len()).unwrap());
            if event.stream_id == end {
                return ids;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_each_caller_was_told_the_truth_and_each_reader_read_the_same() {
    for seed in seeds(3) {
        let fixture = Fixture::new().await;
        let (over, exchange) = (CancellationToken::new(), CancellationToken::new());
        let notified = Wake::default();
        let mut wakes = JoinSet::new();
        for wake in [fixture.store.wake().clone(), notified.clone()] {
            wakes.spawn(wake.exchange(fixture.store.log().pool().clone(), exchange.clone()));
        }
        let mut readers = JoinSet::new();
        for wake in [fixture.store.wake().clone(), notified, Wake::default()] {
            readers.spawn(read(fixture.store.clone(), wake));
        }
        // Two processes.
        let (answered, stores) = (Arc::new(watch::Sender::new(0)), [fixture.store.clone(), fixture.again().await]);
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let store = stores[usize::try_from(number).unwrap() % 2].clone();
            writers.spawn(Writer::new(store, seed * 100 + number).run(answered.clone()));
        }
        let writing = async {
            let told: Vec<Record> = writers.join_all().await.into_iter().flatten().collect();
            over.cancel();
            told
        };
        let (told, kills, rolled_back) =
            tokio::join!(writing, kill(&fixture, answered.subscribe(), &over), roll_back(&fixture, &over));
        // Of a connection that was killed while it was idle, the next append says that its outcome is unknown.
        eventually("the end is appended", async || {
            !matches!(append_one(&fixture.store, END, 0).await, Err(StoreError::OutcomeUnknown { .. }))
        })
        .await;
        let reading = tokio::time::timeout(Duration::from_secs(30), readers.join_all());
        let readings = reading.await.expect("every reader comes to the end");
        exchange.cancel();

        assert!(kills > 0 && rolled_back > 0, "the faults happened: {kills} kills, {rolled_back} rolled back");
        assert!(readings.iter().all(|reading| *reading == readings[0]), "every reader read the same");
        let read = &readings[0];
        assert_eq!(assert_whole(&fixture).await, i64::try_from(read.len()).unwrap());
        let places: HashMap<Uuid, usize> = read.iter().enumerate().map(|(n, id)| (*id, n + 1)).collect();
        let (mut committed, mut refused, mut unknown) = (0, 0, 0);
        let mut there = 1; // the end
        for (ids, told) in &told {
            let found: Vec<usize> = ids.iter().filter_map(|id| places.get(id).copied()).collect();
            there += found.len();
            assert!(found.is_empty() || found.len() == ids.len(), "an append is whole or not at all");
            assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "and stands together");
            match told {
                Told::Committed { first, last } => {
                    let expected: Vec<usize> = (first.0..=last.0).map(|at| usize::try_from(at).unwrap()).collect();
                    assert_eq!(found, expected);
                    committed += 1;
                }
                Told::Refused => {
                    assert!(found.is_empty(), "what was refused is not there");
                    refused += 1;
                }
                Told::Unknown => unknown += 1,
            }
        }
        assert_eq!(there, read.len(), "and nothing else is there");
        assert!(
            committed > 0 && refused > 0,
            "seed {seed}: {committed} committed, {refused} refused, {unknown} unknown"
        );
    }
}
