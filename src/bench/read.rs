//! `read`: one reader goes through the log in order and decodes every event into its type.

use std::time::Instant;

use anyhow::Context as _;
use events::{DomainEvent, Metadata, Position, Replay, StreamId};
use futures_util::TryStreamExt;
use sqlx::PgConnection;

use super::{
    Effort, Round, Spec,
    log::{LogUnderTest, Sample},
};

pub(super) const SPEC: Spec = Spec {
    name: "read",
    unit: "events/s",
    limit: "COPY .. TO STDOUT of the same rows on one connection, decoded by serde into the same types",
    ours: "the log's reader, decoded, some pages under way at once",
    larger_is_better: true,
    aim: 0.70,
    aim_p99: None,
};

/// Events of each stream of a log that is filled.
pub(super) const EVENTS_A_STREAM: i64 = 20;

/// Events a page.
const PAGE: u32 = 5_000;

pub(super) async fn run(effort: Effort, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let log = LogUnderTest::start(effort.store).await?;
    fill(&log, 1, i64::try_from(effort.events)?).await?;
    let mut connection = log.connection().await?;
    let mut rounds = Vec::new();
    copy_all(&mut connection, 0).await?; // what is read again lies in memory for both
    for number in 1..=effort.rounds {
        let limit = copy_all(&mut connection, 0).await?;
        let ours = read_all(&log, Position::START).await?;
        progress(&format!("round {number}: limit {limit:.0}, ours {ours:.0} {}", SPEC.unit));
        rounds.push(Round { limit, ours, more: vec![] });
    }
    log.stop().await;
    Ok(rounds)
}

/// Writes events `first..=last` as a loader would: straight into the tables, in chunks, as the owner.
pub(super) async fn fill(log: &LogUnderTest, first: i64, last: i64) -> anyhow::Result<()> {
    const CHUNK: i64 = 200_000;
    let mut connection = log.connection().await?;
    let sample = Sample::new();
    let mut from = first;
    while from <= last {
        let to = last.min(from + CHUNK - 1);
        sqlx::query("SELECT attach_event_partitions($1)").bind(to).execute(&mut connection).await?;
        // Each with its command; the ids are made from the numbers, so a log of one size is always the same.
        sqlx::query(
            "INSERT INTO events SELECT n, 'order-' || md5($1 || '/' || (n - $1) / $7)::uuid, (n - $1) % $7 + 1, md5('e' || n)::uuid, $3, $4, \
             $5::text::json, $6::text::json, timestamptz '2026-01-01' + n * interval '1 ms' FROM generate_series($1, $2) AS n",
        )
        .bind(from)
        .bind(to)
        .bind(sample.event_type)
        .bind(sample.schema_version)
        .bind(&sample.payload)
        .bind(&sample.metadata)
        .bind(EVENTS_A_STREAM)
        .execute(&mut connection)
        .await
        .context("cannot fill the log")?;
        for table in [
            "INSERT INTO streams (stream_id, since_position) SELECT stream_id, min(position) - 1 FROM events \
             WHERE position BETWEEN $1 AND $2 GROUP BY stream_id ON CONFLICT DO NOTHING",
            "INSERT INTO commands SELECT stream_id, event_id, stream_version FROM events WHERE position BETWEEN $1 AND $2",
        ] {
            let written = sqlx::query(table).bind(from).bind(to);
            written.execute(&mut connection).await.context("cannot fill the tables beside the log")?;
        }
        from = to + 1;
    }
    while sqlx::query_scalar::<_, i64>("SELECT list_full_partition()").fetch_one(&mut connection).await? > 0 {}
    sqlx::query("VACUUM (ANALYZE) events, streams, commands, stream_partitions").execute(&mut connection).await?;
    Ok(())
}

/// Events a second, by the product's reader, after `after`.
pub(super) async fn read_all(log: &LogUnderTest, after: Position) -> anyhow::Result<f64> {
    let (started, mut read) = (Instant::now(), 0_usize);
    let (from, to) = (log.log().checkpoint_at(after).await?, log.log().head().await?);
    let mut replay = Replay::new(log.log().clone(), from, to, PAGE);
    while let Some(page) = replay.next_page().await? {
        read += page.len();
    }
    Ok(read as f64 / started.elapsed().as_secs_f64())
}

/// Events a second, by COPY.
pub(super) async fn copy_all(connection: &mut PgConnection, after: i64) -> anyhow::Result<f64> {
    let (started, mut read) = (Instant::now(), 0_usize);
    let sql = format!(
        "COPY (SELECT position, stream_id, event_type, schema_version, payload, metadata FROM events \
         WHERE position > {after} ORDER BY position) TO STDOUT"
    );
    let mut rows = connection.copy_out_raw(&sql).await?;
    while let Some(row) = rows.try_next().await? {
        let row = std::str::from_utf8(&row)?;
        let mut columns = row.trim_end_matches('\n').split('\t');
        let mut next = || columns.next().context("a row has six columns");
        let (_position, stream_id, event_type) = (next()?.parse::<i64>()?, StreamId::from_log(next()?), next()?);
        let schema_version = next()?.parse()?;
        let event = DomainEvent::decode(&stream_id, event_type, schema_version, &unescaped(next()?))?;
        let metadata: Metadata = serde_json::from_str(&unescaped(next()?))?;
        std::hint::black_box((event, metadata));
        read += 1;
    }
    drop(rows);
    Ok(read as f64 / started.elapsed().as_secs_f64())
}

/// COPY doubles backslashes; tabs and line ends cannot stand in JSON text of ours.
fn unescaped(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\\') { text.replace("\\\\", "\\").into() } else { text.into() }
}
