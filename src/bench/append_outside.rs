//! `append-outside`: 32 writers outside the product, each on a connection of its own, through the SQL function that is for them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use events::{Ids, SystemIds};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    Effort, Round, Spec,
    append::Limit,
    log::{LogUnderTest, Sample, stream},
};

pub(super) const SPEC: Spec = Spec {
    name: "append-outside",
    unit: "events/s",
    limit: "as of append",
    ours: "32 connections call append_events, each with the next 8 events of its own stream; by_one, by_32: with so many",
    larger_is_better: true,
    aim: 0.12,
    aim_p99: None,
};

const WRITERS: usize = 32;
/// So that as many events are in flight as in `append`.
const BATCH: i64 = 8;

const APPEND: &str = "SELECT stale_versions FROM append_events(0, ARRAY[$1], '{1}', ARRAY[$2], '{}', array_fill(1, ARRAY[$3]), \
     array_fill($1::text, ARRAY[$3]), ARRAY(SELECT generate_series($2::bigint + 1, $2 + $3::integer)), $4, \
     array_fill($5::text, ARRAY[$3]), array_fill($6::smallint, ARRAY[$3]), array_fill($7::text, ARRAY[$3]), \
     array_fill($8::text, ARRAY[$3]), '{1}', ARRAY[$1], ARRAY[$9], ARRAY[$2 + $3])";

pub(super) async fn run(effort: Effort, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let log = LogUnderTest::start(effort.store).await?;
    log.make_limit_table().await?;
    let mut limit = Limit::new(&log).await?;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(Writer { connection: log.connection().await?, stream: stream(number).to_string(), version: 0 });
    }
    run_all(&mut writers, BATCH, effort.duration / 4).await?;
    limit.run(effort.duration / 4).await?;
    let mut rounds = Vec::new();
    for number in 1..=effort.rounds {
        let limit = limit.run(effort.duration).await?;
        let ours = run_all(&mut writers, BATCH, effort.duration).await?;
        let by_one = run_all(&mut writers, 1, effort.duration).await?;
        let by_32 = run_all(&mut writers, 32, effort.duration).await?;
        progress(&format!(
            "round {number}: limit {limit:.0}, ours {ours:.0}, by one {by_one:.0}, by 32 {by_32:.0} {}",
            SPEC.unit
        ));
        rounds.push(Round { limit, ours, more: vec![("by_one", by_one), ("by_32", by_32)] });
    }
    log.stop().await;
    Ok(rounds)
}

struct Writer {
    connection: PgConnection,
    stream: String,
    version: i64,
}

/// Events a second of all of them together.
async fn run_all(writers: &mut Vec<Writer>, batch: i64, duration: Duration) -> anyhow::Result<f64> {
    let (sample, started) = (Sample::new(), Instant::now());
    let mut running = JoinSet::new();
    for mut writer in std::mem::take(writers) {
        let sample = sample.clone();
        running.spawn(async move {
            let mut appended = 0;
            while started.elapsed() < duration {
                writer.append(&sample, batch).await?;
                appended += batch;
            }
            anyhow::Ok((writer, appended))
        });
    }
    let mut all = 0;
    while let Some(done) = running.join_next().await {
        let (writer, appended) = done.context("a writer broke off")??;
        writers.push(writer);
        all += appended;
    }
    Ok(all as f64 / started.elapsed().as_secs_f64())
}

impl Writer {
    async fn append(&mut self, sample: &Sample, batch: i64) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = (0..batch).map(|_| SystemIds.next()).collect();
        let stale: Vec<i64> = sqlx::query_scalar(APPEND)
            .bind(&self.stream)
            .bind(self.version)
            .bind(i32::try_from(batch)?)
            .bind(ids)
            .bind(sample.event_type)
            .bind(sample.schema_version)
            .bind(&sample.payload)
            .bind(&sample.metadata)
            .bind(SystemIds.next())
            .fetch_one(&mut self.connection)
            .await?;
        anyhow::ensure!(stale.is_empty(), "{} is at {stale:?} and not at {}", self.stream, self.version);
        self.version += batch;
        Ok(())
    }
}
