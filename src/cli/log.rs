//! `waybill log`: the event log as an operator looks at it.

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use events::{Log, LogPosition, RawRecorded, StreamId, StreamVersion, Tail, Wake};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{output, session, signal::stop_signal};
use crate::config::Config;

/// Events read at once.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Prints events as they are recorded, until stopped.
    Tail {
        /// Starts after it; at the present end unless given.
        #[arg(long)]
        from: Option<LogPosition>,
        /// Ends at the present end instead of waiting for more.
        #[arg(long)]
        no_follow: bool,
    },
    /// Prints one stream, such as order-0198... or inventory-main.
    Show { stream: String },
    /// Counts what is in the log and how much room it takes.
    Stats,
    /// Lists the partitions, the positions they hold and how full they are.
    Partitions,
    /// Writes the log out as NDJSON or CSV, as `audit replay` does.
    Export(super::audit::Args),
}

pub(super) async fn run(config: Config, command: &Command, json: bool) -> anyhow::Result<ExitCode> {
    let (pool, _servers) = session::log_pool(&config).await?;
    let log = Log::new(pool.clone(), config.log.id.clone());
    match command {
        Command::Export(args) => super::audit::replay_as_told(&config, args, json).await.map(drop),
        Command::Tail { from, no_follow } => tail(&log, from.as_ref(), !no_follow, json).await,
        Command::Show { stream } => show(&log, stream, json).await,
        Command::Stats => stats(&pool, &log, json).await,
        Command::Partitions => partitions(&pool, json).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn tail(log: &Log, from: Option<&LogPosition>, follow: bool, json: bool) -> anyhow::Result<()> {
    let mut checkpoint = log.head_checkpoint().await?;
    if let Some(from) = from {
        anyhow::ensure!(
            from.log_id == *log.id(),
            "{from} is a position of another log; this one is called {}",
            log.id()
        );
        let end = checkpoint.log_position();
        anyhow::ensure!(from.position <= end.position, "--from {from} is beyond the log, which ends at {end}");
        checkpoint = log.checkpoint_at(from.position).await?;
    }
    let (wake, shutdown) = (Wake::default(), CancellationToken::new());
    let hearing = wake.clone().exchange(log.pool().clone(), shutdown.clone());
    let printing = async {
        let mut tail = Tail::open(log.clone(), checkpoint, &wake, PAGE).await?;
        loop {
            let page = match follow {
                true => tail.next_raw_page().await?,
                false => match tail.raw_page_if_any().await? {
                    Some(page) => page,
                    None => return anyhow::Ok(()),
                },
            };
            page.iter().for_each(|event| print(log, event, json));
        }
    };
    tokio::select! {
        outcome = printing => outcome,
        () = hearing => Ok(()),
        () = stop_signal() => Ok(()),
    }
}

async fn show(log: &Log, stream: &str, json: bool) -> anyhow::Result<()> {
    let (stream, mut after) = (StreamId::from_log(stream), 0);
    loop {
        let page = log.raw_stream(&stream, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.stream_version;
        page.iter().for_each(|event| print(log, event, json));
    }
    anyhow::ensure!(after > 0, "there is no stream {stream}");
    Ok(())
}

/// An event as a program reads it.
#[derive(Serialize)]
struct Line<'a> {
    position: LogPosition,
    stream: &'a StreamId,
    version: StreamVersion,
    #[serde(rename = "type")]
    event_type: &'a str,
    schema_version: i16,
    recorded_at: DateTime<Utc>,
    /// As it was recorded, byte for byte.
    payload: &'a RawValue,
}

fn print(log: &Log, event: &RawRecorded, json: bool) {
    let at = LogPosition::new(log.id().clone(), event.position);
    if json {
        let line = Line {
            position: at,
            stream: &event.stream_id,
            version: event.stream_version,
            event_type: &event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            payload: serde_json::from_str(&event.payload).unwrap_or(RawValue::NULL),
        };
        output::line(serde_json::to_string(&line).expect("it is plain data, and JSON"));
    } else {
        let recorded = event.recorded_at.format("%Y-%m-%d %H:%M:%S%.3f");
        output::line(format_args!(
            "{at}  {recorded}  {} #{}  {}  {}",
            event.stream_id, event.stream_version, event.event_type, event.payload
        ));
    }
}

async fn stats(pool: &PgPool, log: &Log, json: bool) -> anyhow::Result<()> {
    let head = log.head_checkpoint().await?.log_position();
    let (streams, commands, bytes): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM streams), (SELECT count(*) FROM commands), \
         (SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree('events') WHERE isleaf)",
    )
    .fetch_one(pool)
    .await
    .context("cannot count the log")?;
    let types: Vec<(String, i64)> = sqlx::query_as(
        "SELECT event_type, count(*) FROM events GROUP BY event_type ORDER BY count(*) DESC, event_type",
    )
    .fetch_all(pool)
    .await
    .context("cannot count the event types")?;
    if json {
        let types: std::collections::BTreeMap<_, _> = types.into_iter().collect();
        output::line(json!({ "head": head, "streams": streams, "commands": commands, "bytes": bytes, "types": types }));
        return Ok(());
    }
    let mut table = output::table();
    table.set_header(["event type", "events"]);
    for (event_type, count) in types {
        table.add_row([event_type, count.to_string()]);
    }
    output::line(table);
    output::line(format_args!(
        "head {head}; {streams} streams; {commands} commands remembered; {} MiB on disk",
        bytes >> 20
    ));
    Ok(())
}

async fn partitions(pool: &PgPool, json: bool) -> anyhow::Result<()> {
    // A partition's name says which five million positions it holds.
    let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT p.name, p.first, p.last, greatest(least(h.position, p.last) - p.first + 1, 0), p.bytes \
         FROM (SELECT c.name, greatest(c.number * 5000000, 1) AS first, c.number * 5000000 + 4999999 AS last, c.bytes \
               FROM (SELECT relname::text AS name, substring(relname FROM '[0-9]+$')::bigint AS number, pg_total_relation_size(oid) AS bytes \
                     FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'events'::regclass) AS c) AS p, \
         (SELECT coalesce(max(position), 0) AS position FROM events) AS h ORDER BY p.first",
    )
    .fetch_all(pool)
    .await
    .context("cannot list the partitions")?;
    let mut table = output::table();
    table.set_header(["partition", "first position", "last", "full", "MiB"]);
    for (name, first, last, filled, bytes) in &rows {
        let full = format!("{} %", filled * 100 / (last - first + 1));
        table.add_row([name.clone(), first.to_string(), last.to_string(), full, (bytes >> 20).to_string()]);
    }
    if json {
        let rows = rows.iter().map(|(name, first, last, filled, bytes)| {
            json!({ "name": name, "first": first, "last": last, "filled": filled, "bytes": bytes })
        });
        output::line(serde_json::Value::from(rows.collect::<Vec<_>>()));
    } else {
        output::line(table);
    }
    Ok(())
}
