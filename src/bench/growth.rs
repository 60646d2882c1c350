//! `growth`: does the log stay as fast as it grows? `append` and `read` at 1 M and 10 M events, against `append` at 0; what a load takes, and
//! whether the indexes stay in memory.

use std::time::Instant;

use anyhow::Context as _;
use events::{CommandId, Position, StreamId};
use sqlx::PgConnection;
use uuid::Uuid;
use write_side::domain::order::Order;

use super::{
    Effort, Round, Spec,
    append::Appender,
    log::LogUnderTest,
    plot,
    read::{EVENTS_A_STREAM, copy_all, fill, read_all},
};

pub(super) const SPEC: Spec = Spec {
    name: "growth",
    unit: "events/s",
    limit: "append on an empty log",
    ours: "append on a log of 10,000,000 events",
    larger_is_better: true,
    aim: 0.85,
    aim_p99: None,
};

/// A size of the log, and how what is measured at it is named.
struct Size {
    events: i64,
    append: &'static str,
    /// Index pages found in the server's own memory, of those looked for during the appends.
    index_hits: &'static str,
    read: &'static str,
    /// The reader's rate by COPY's of the same rows, both decoded.
    read_of_copy: &'static str,
    /// Median of the loads of streams all over the log, most of them of twenty events.
    load: &'static str,
}

const SIZES: [Size; 2] = [
    Size {
        events: 1_000_000,
        append: "append_at_1m",
        index_hits: "index_hits_at_1m",
        read: "read_at_1m",
        read_of_copy: "read_of_copy_at_1m",
        load: "load_us_at_1m",
    },
    Size {
        events: 10_000_000,
        append: "append_at_10m",
        index_hits: "index_hits_at_10m",
        read: "read_at_10m",
        read_of_copy: "read_of_copy_at_10m",
        load: "load_us_at_10m",
    },
];

/// Each size is measured on streams of its own.
const STREAMS_APART: usize = 100_000;
/// How much of the log's end is read.
const READ: i64 = 500_000;
/// Streams that are loaded in a round.
const LOADS: i64 = 1_000;

pub(super) async fn run(effort: Effort, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let empty = LogUnderTest::start(effort.store.clone()).await?;
    let grown = LogUnderTest::start(effort.store).await?;
    let mut connection = grown.connection().await?;
    let mut more = vec![Vec::new(); effort.rounds];
    let mut filled = 0;
    let mut pairs = Vec::new();
    for (place, size) in SIZES.iter().enumerate() {
        progress(&format!("filling the log up to {} events", size.events));
        fill(&grown, filled + 1, size.events).await?;
        // The store hears of it as it would of another process's appends.
        grown.store.wake().committed(grown.log().head().await?);
        let mut callers = [(); 2].map(|()| Appender::on_streams_from(STREAMS_APART * place));
        callers[0].run(&empty.store, effort.duration / 4).await?;
        callers[1].run(&grown.store, effort.duration / 4).await?;
        pairs.clear();
        for (number, more) in more.iter_mut().enumerate() {
            let limit = callers[0].run(&empty.store, effort.duration).await?;
            let before = IndexPages::read(&mut connection).await?;
            let ours = callers[1].run(&grown.store, effort.duration).await?;
            let hits = IndexPages::read(&mut connection).await?.hits_since(&before)?;
            progress(&format!(
                "round {} at {}: empty {limit:.0}, grown {ours:.0} {}, {:.2} % of the index pages from memory",
                number + 1,
                size.events,
                SPEC.unit,
                hits * 100.0
            ));
            more.extend([(size.append, ours), (size.index_hits, hits)]);
            pairs.push((limit, ours));
        }
        for (number, more) in more.iter_mut().enumerate() {
            let after = (grown.log().head().await?.0 - READ).max(0);
            let copied = copy_all(&mut connection, after).await?;
            let read = read_all(&grown, Position(after)).await?;
            let load = load_some(&grown, &mut connection, size.events, number).await?;
            progress(&format!(
                "round {} at {}: read {read:.0} {} (COPY {copied:.0}), a load {load:.0} µs",
                number + 1,
                size.events,
                SPEC.unit
            ));
            more.extend([(size.read, read), (size.read_of_copy, read / copied), (size.load, load)]);
        }
        filled = grown.log().head().await?.0;
    }
    drop(connection);
    empty.stop().await;
    grown.stop().await;
    Ok(pairs.into_iter().zip(more).map(|((limit, ours), more)| Round { limit, ours, more }).collect())
}

/// Median of the microseconds that a load takes, one after the other, of streams that no other round of this size asks for.
async fn load_some(
    log: &LogUnderTest,
    connection: &mut PgConnection,
    events: i64,
    round: usize,
) -> anyhow::Result<f64> {
    let all_over = "SELECT stream_id FROM events \
         WHERE position = ANY (ARRAY(SELECT n * ($1 / $2) - $3 FROM generate_series(1, $2) AS n))";
    let streams: Vec<String> = sqlx::query_scalar(all_over)
        .bind(events)
        .bind(LOADS)
        .bind(i64::try_from(round)? * EVENTS_A_STREAM)
        .fetch_all(connection)
        .await
        .context("cannot choose streams")?;
    let mut waits = plot::histogram();
    for stream in streams.iter().map(|stream| StreamId::from_log(stream)) {
        let from = Instant::now();
        let loaded = log.store.load::<Order>(&stream, CommandId(Uuid::nil())).await.context("a load failed")?;
        plot::record(&mut waits, from.elapsed());
        anyhow::ensure!(loaded.version > 0, "{stream} was not found");
    }
    anyhow::ensure!(!waits.is_empty(), "no stream was found");
    Ok(waits.value_at_quantile(0.5) as f64)
}

/// Pages of the log's indexes that were looked for so far.
struct IndexPages {
    found: i64,
    read: i64,
}

impl IndexPages {
    async fn read(connection: &mut PgConnection) -> anyhow::Result<Self> {
        let counted = "SELECT coalesce(sum(idx_blks_hit), 0)::bigint, coalesce(sum(idx_blks_read), 0)::bigint FROM pg_statio_user_tables \
             WHERE relname ~ '^events_p|^streams$|^commands$'";
        let (found, read) = sqlx::query_as(counted).fetch_one(connection).await.context("cannot count index pages")?;
        Ok(Self { found, read })
    }

    /// The share that was found.
    fn hits_since(&self, before: &Self) -> anyhow::Result<f64> {
        let (found, read) = (self.found - before.found, self.read - before.read);
        anyhow::ensure!(found > 0, "the server has counted no index pages");
        Ok(found as f64 / (found + read) as f64)
    }
}
