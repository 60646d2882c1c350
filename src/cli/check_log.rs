//! `waybill check log`: adds the log up again, event by event, and compares with its sealed blocks and with what each reader has applied.

use std::process::ExitCode;

use anyhow::Context as _;
use events::{Checkpoint, Difference, Log, LogError, LogPosition, Position, Tally};
use projections::PROJECTIONS;
use serde::Serialize;

use super::{output, session};
use crate::config::Config;

/// Ids read at once: a block.
const PAGE: u32 = 10_000;

/// What the log is compared with: what somebody added up at an earlier time, or while applying it.
struct Witness {
    name: String,
    at: Checkpoint,
    applied: Tally,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// Up to where the log was added up.
    position: LogPosition,
    blocks: Blocks,
    readers: Vec<Reader>,
}

#[derive(Debug, Default, Serialize)]
struct Blocks {
    ok: bool,
    /// Sealed ones.
    checked: usize,
    /// In words, with the position.
    first_breach: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reader {
    reader: String,
    ok: bool,
    position: LogPosition,
    events: i64,
    /// In words, with the position where it is one event.
    breach: Option<String>,
}

/// The subcommand: on the configured servers, or the private ones.
pub(super) async fn command(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let (pool, servers) = session::pool(config).await?;
    let log = Log::new(pool, config.log.id.clone());
    let views = servers.projections(config);
    let (mut readers, mut unreadable) = (Vec::new(), Vec::new());
    for name in PROJECTIONS {
        match projections::applied(name, &views).await {
            Ok(applied) => {
                let own = applied.into_iter().filter(|(at, _)| at.log_id == config.log.id);
                readers.extend(own.map(|(at, applied)| Witness { name: name.into(), at, applied }));
            }
            Err(error) => unreadable.push(unread(&log, name, &error.into())),
        }
    }
    let mut report = check(&log, &readers).await.context("the log could not be added up")?;
    report.ok &= unreadable.is_empty();
    report.readers.extend(unreadable);
    output::line(table(&report));
    if json {
        output::line(serde_json::to_string(&report).context("the report is plain data")?);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) })
}

/// One that cannot say what it has applied.
fn unread(log: &Log, name: &str, error: &anyhow::Error) -> Reader {
    let position = LogPosition::new(log.id().clone(), Position::START);
    Reader { reader: name.into(), ok: false, position, events: 0, breach: Some(format!("{error:#}")) }
}

async fn check(log: &Log, readers: &[Witness]) -> Result<Report, LogError> {
    let (sealed, head) = (log.sealed_blocks().await?, log.head().await?);
    let mut blocks = Blocks { ok: true, checked: sealed.len(), first_breach: None };
    let mut wanted: Vec<Position> = sealed.iter().map(|(end, _)| *end).collect();
    wanted.extend(readers.iter().map(|reader| reader.at.position));
    let Sums { at, tallies, hole } = add_up(log, wanted, head).await?;
    blocks.first_breach = hole.map(|hole| hole.to_string());
    let found = |position: Position| tallies.binary_search_by_key(&position, |(at, _)| *at).ok().map(|n| tallies[n].1);
    for (end, before) in &sealed {
        if blocks.first_breach.is_none() {
            blocks.first_breach = match found(*end) {
                Some(now) => before.difference(now).map(|difference| changed(*end, difference)),
                None => Some(format!("the log ends at {at}, but was sealed up to {end}")),
            };
        }
    }
    blocks.ok = blocks.first_breach.is_none();
    let judge = |reader: &Witness| {
        let breach = match found(reader.at.position) {
            Some(now) => reader.applied.difference(now).map(|difference| difference.to_string()),
            None if reader.at.position == Position::START => None,
            None => Some(format!("the log is whole up to {at} only")),
        };
        let (ok, position) = (breach.is_none(), reader.at.log_position());
        Reader { reader: reader.name.clone(), ok, position, events: reader.applied.count(), breach }
    };
    let readers: Vec<_> = readers.iter().map(judge).collect();
    let ok = blocks.ok && readers.iter().all(|reader| reader.ok);
    Ok(Report { ok, position: LogPosition::new(log.id().clone(), at), blocks, readers })
}

/// Up to where the log was added up, what the sums were at the wanted positions up to there, and the hole where it ended before the head.
struct Sums {
    at: Position,
    tallies: Vec<(Position, Tally)>,
    hole: Option<LogError>,
}

async fn add_up(log: &Log, mut wanted: Vec<Position>, head: Position) -> Result<Sums, LogError> {
    wanted.sort_unstable();
    wanted.dedup();
    let (mut tally, mut at, mut tallies) = (Tally::default(), Position::START, Vec::with_capacity(wanted.len()));
    let mut wanted = wanted.into_iter().filter(|position| *position != Position::START).peekable();
    let bar = output::bar(u64::try_from(head.0).unwrap_or(0), "adding up the log");
    let mut hole = None;
    while at < head && hole.is_none() {
        let page = match log.event_ids(at, PAGE).await {
            Err(error @ LogError::Hole { after, .. }) => {
                hole = Some(error);
                log.event_ids(at, u32::try_from(after.0 - at.0).unwrap_or(PAGE)).await?
            }
            page => page?,
        };
        // Cut off meanwhile: whoever stands beyond is told so.
        if page.is_empty() {
            break;
        }
        for (position, event_id) in page {
            at = position;
            tally.add(position, event_id);
            if wanted.next_if_eq(&position).is_some() {
                tallies.push((position, tally));
            }
        }
        bar.set_position(u64::try_from(at.0).unwrap_or(0));
    }
    bar.finish_and_clear();
    Ok(Sums { at, tallies, hole })
}

fn changed(end: Position, difference: Difference) -> String {
    match difference {
        Difference::Replaced(at) => format!("the event at position {at} is not the one that stood there once"),
        _ => format!("up to position {end}, the events are not those that stood there once"),
    }
}

fn table(report: &Report) -> comfy_table::Table {
    let mut table = output::table();
    table.set_header(["what", "up to", "result"]);
    let breach = |breach: &Option<String>| breach.clone().unwrap_or_else(|| "ok".into());
    let blocks = format!("{} sealed blocks", report.blocks.checked);
    table.add_row([blocks, report.position.to_string(), breach(&report.blocks.first_breach)]);
    for reader in &report.readers {
        table.add_row([reader.reader.clone(), reader.position.to_string(), breach(&reader.breach)]);
    }
    table
}
