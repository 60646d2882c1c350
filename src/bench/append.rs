//! `append`: 256 callers, each appends one event at a time to its own streams and waits for the commit.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use events::{Ids, StreamId, StreamVersion, SystemIds};
use hdrhistogram::Histogram;
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;
use write_side::{Append, EventStore, StreamAppend};

use super::{
    Effort, Round, Spec,
    log::{LogUnderTest, Sample, stream},
    plot,
};

pub(super) const SPEC: Spec = Spec {
    name: "append",
    unit: "events/s",
    limit: "multi-row INSERT .. SELECT unnest of the same rows, 256 at a time, two connections, positions given, no checks",
    ours: "one event an append at its own expected version, 256 in flight, 10,000 streams, with its command id",
    larger_is_better: true,
    aim: 0.50,
    aim_p99: None,
};

const IN_FLIGHT: usize = 256;
const STREAMS: usize = 10_000;
const LIMIT_CONNECTIONS: usize = 2;
const LIMIT_BATCH: usize = 256;

pub(super) async fn run(effort: Effort, folder: Option<&Path>, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let log = LogUnderTest::start(effort.store).await?;
    log.make_limit_table().await?;
    let mut appender = Appender::new();
    let mut limit = Limit::new(&log).await?;
    appender.run(&log.store, effort.duration / 4).await?;
    limit.run(effort.duration / 4).await?;
    appender.waits.reset();
    let mut rounds = Vec::new();
    for number in 1..=effort.rounds {
        let round = Round {
            limit: limit.run(effort.duration).await?,
            ours: appender.run(&log.store, effort.duration).await?,
            more: vec![],
        };
        progress(&format!("round {number}: limit {:.0}, ours {:.0} {}", round.limit, round.ours, SPEC.unit));
        rounds.push(round);
    }
    if let Some(folder) = folder {
        plot::write_histogram(SPEC.name, &[("ours", &appender.waits)], folder)?;
    }
    log.stop().await;
    Ok(rounds)
}

/// The callers and the versions of their streams, kept over the rounds.
pub(super) struct Appender {
    callers: Vec<Vec<(StreamId, StreamVersion)>>,
    sample: Sample,
    /// From each append to its answer.
    waits: Histogram<u64>,
}

impl Appender {
    pub(super) fn new() -> Self {
        Self::on_streams_from(0)
    }

    /// On fresh streams, of which `first` is the number of the first.
    pub(super) fn on_streams_from(first: usize) -> Self {
        let mut callers = vec![Vec::new(); IN_FLIGHT];
        for number in 0..STREAMS {
            callers[number % IN_FLIGHT].push((stream(first + number), 0));
        }
        Self { callers, sample: Sample::new(), waits: plot::histogram() }
    }

    /// Events a second.
    pub(super) async fn run(&mut self, store: &EventStore, duration: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for mut streams in std::mem::take(&mut self.callers) {
            let (store, sample) = (store.clone(), self.sample.clone());
            running.spawn(async move {
                let mut waits = plot::histogram();
                'time: loop {
                    for (stream, version) in &mut streams {
                        let from = Instant::now();
                        if from.duration_since(started) >= duration {
                            break 'time;
                        }
                        append_one(&store, &sample, stream, *version).await?;
                        *version += 1;
                        plot::record(&mut waits, from.elapsed());
                    }
                }
                anyhow::Ok((streams, waits))
            });
        }
        let mut all = 0;
        while let Some(done) = running.join_next().await {
            let (streams, waits) = done.context("a caller broke off")??;
            self.callers.push(streams);
            all += waits.len();
            self.waits.add(&waits)?;
        }
        Ok(all as f64 / started.elapsed().as_secs_f64())
    }
}

/// One event with its command id, at its expected version; returns after the commit.
pub(super) async fn append_one(
    store: &EventStore,
    sample: &Sample,
    stream: &StreamId,
    version: StreamVersion,
) -> anyhow::Result<()> {
    let event_id = store.ids().next();
    let append = Append::to_one(StreamAppend {
        stream_id: stream.clone(),
        expected_version: version,
        events: vec![sample.event(event_id)],
        commands: vec![(events::CommandId(event_id), version + 1)],
    });
    store.append(append).await.context("an append failed")?;
    Ok(())
}

/// The fastest way to put the same rows into the same table.
pub(super) struct Limit {
    connections: Vec<PgConnection>,
    next: i64,
    sample: Sample,
}

impl Limit {
    pub(super) async fn new(log: &LogUnderTest) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..LIMIT_CONNECTIONS {
            connections.push(log.connection().await?);
        }
        Ok(Self { connections, next: 1, sample: Sample::new() })
    }

    /// Rows a second.
    pub(super) async fn run(&mut self, duration: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let stride = i64::try_from(LIMIT_BATCH * LIMIT_CONNECTIONS).expect("small");
        let mut running = JoinSet::new();
        for (lane, mut connection) in std::mem::take(&mut self.connections).into_iter().enumerate() {
            let (sample, mut first) =
                (self.sample.clone(), self.next + i64::try_from(lane * LIMIT_BATCH).expect("small"));
            running.spawn(async move {
                let mut rows = 0_u64;
                while started.elapsed() < duration {
                    insert(&mut connection, &sample, first).await?;
                    first += stride;
                    rows += LIMIT_BATCH as u64;
                }
                anyhow::Ok((connection, first, rows))
            });
        }
        let mut all = 0;
        while let Some(done) = running.join_next().await {
            let (connection, first, rows) = done.context("a lane of the limit broke off")??;
            self.connections.push(connection);
            self.next = self.next.max(first + stride);
            all += rows;
        }
        Ok(all as f64 / started.elapsed().as_secs_f64())
    }
}

async fn insert(connection: &mut PgConnection, sample: &Sample, first: i64) -> anyhow::Result<()> {
    let numbers = first..first + i64::try_from(LIMIT_BATCH)?;
    let ids: Vec<Uuid> = numbers.clone().map(|_| SystemIds.next()).collect();
    let streams: Vec<StreamId> =
        numbers.clone().map(|n| stream(usize::try_from(n).unwrap_or_default() % STREAMS)).collect();
    let versions: Vec<i64> = numbers.clone().map(|n| n / i64::try_from(STREAMS).unwrap_or(1) + 1).collect();
    sqlx::query(
        "INSERT INTO limit_events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at) \
         SELECT position, stream_id, version, event_id, event_type, schema_version, payload::json, metadata::json, recorded_at \
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::text[], \
             array_fill(clock_timestamp(), ARRAY[256])) \
             AS e (position, stream_id, version, event_id, event_type, schema_version, payload, metadata, recorded_at)",
    )
    .bind(numbers.collect::<Vec<_>>())
    .bind(streams.iter().map(StreamId::as_str).collect::<Vec<_>>())
    .bind(versions)
    .bind(ids)
    .bind(vec![sample.event_type; LIMIT_BATCH])
    .bind(vec![sample.schema_version; LIMIT_BATCH])
    .bind(vec![sample.payload.as_str(); LIMIT_BATCH])
    .bind(vec![sample.metadata.as_str(); LIMIT_BATCH])
    .execute(connection)
    .await?;
    Ok(())
}
