//! `waybill audit replay`: the log as NDJSON or CSV, one event a line, in order, interpreting nothing.
//!
//! The same lines as `GET /v1/audit/events`. Resumable: `--from` starts after the position of the last line that one has.
//! Exit status 0: the whole range was written. Anything else: it was not, and the message says how far it came.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use events::{Log, LogPosition, Position, RawRecorded};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{output, session};
use crate::config::Config;

const PAGE_EVENTS: u32 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line, payload and metadata byte for byte.
    #[default]
    Ndjson,
    /// The same columns, payload and metadata as quoted JSON.
    Csv,
}

/// A place in the log: `main:1234`, `1234`, or the moment that the log had reached it (RFC 3339).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Position(LogPosition),
    Time(DateTime<Utc>),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| Self::Time(time.to_utc()));
        let position = text.parse().ok().map(Self::Position);
        position.or_else(time).ok_or_else(|| {
            format!("{text:?} is neither a position such as main:1234 nor a time such as 2026-11-22T10:00:00Z")
        })
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Writes the log as NDJSON or CSV, one event a line, in order.
    Replay(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// Where to write; standard output unless given. With --from, a file that is there is gone on with.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Starts after it: main:1234, or a time such as 2026-11-22T10:00:00Z.
    #[arg(long)]
    from: Option<Place>,
    /// Stops there, included.
    #[arg(long)]
    to: Option<Place>,
    /// A stream, such as inventory-main, or a category, such as order.
    #[arg(long)]
    stream: Option<String>,
    /// An event type, such as OrderPlaced.
    #[arg(long = "type")]
    event_type: Option<String>,
}

/// The subcommand: on the configured database, or the private one.
pub(super) async fn command(config: Config, command: &Command, json: bool) -> anyhow::Result<ExitCode> {
    let Command::Replay(args) = command;
    replay_as_told(&config, args, json).await
}

/// The replay that the command line asks for.
pub(super) async fn replay_as_told(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = Replay {
        format: args.format,
        from: args.from.clone(),
        to: args.to.clone(),
        stream: args.stream.clone(),
        event_type: args.event_type.clone(),
    };
    let (pool, _servers) = session::log_pool(config).await?;
    let log = Log::new(pool, config.log.id.clone());
    let (written, position) = match &args.out {
        None => replay(&log, &wanted, &mut io::stdout().lock()).await?,
        Some(path) => {
            let mut out = Out::open(path, wanted.from.is_some())?;
            let outcome = replay(&log, &wanted, &mut out).await;
            let closed = out.close().with_context(|| format!("cannot write {}", path.display()));
            let outcome = outcome?;
            closed?;
            outcome
        }
    };
    if json {
        output::note(serde_json::json!({ "ok": true, "events": written, "position": position.to_string() }));
    } else {
        output::note(format_args!("{written} events written; the log was read up to {position}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A file of whole pages.
struct Out {
    file: File,
    /// Where the last whole page ends; none for a pipe or a device, which cannot be cut off.
    whole: Option<u64>,
}

impl Out {
    /// A new file, or one that is gone on with: nothing that was written before is lost.
    fn open(path: &Path, goes_on: bool) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(cannot)?;
        let about = file.metadata().with_context(cannot)?;
        let whole = about.is_file().then_some(about.len());
        if whole > Some(0) {
            anyhow::ensure!(
                goes_on,
                "{} is there already: go on with it, --from the position of its last line, or name another file",
                path.display()
            );
            anyhow::ensure!(
                ends_with_a_line(path).with_context(|| format!("cannot read {}", path.display()))?,
                "{} ends in the middle of a line: cut that off, and go on --from the position of the line before",
                path.display()
            );
        }
        Ok(Self { file, whole })
    }

    /// Ends the file where a replay that was broken off says to go on.
    fn close(self) -> io::Result<()> {
        let Some(whole) = self.whole else { return Ok(()) };
        self.file.set_len(whole)?;
        self.file.sync_all()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    /// A page is whole.
    fn flush(&mut self) -> io::Result<()> {
        if self.whole.is_some() {
            self.whole = Some(self.file.metadata()?.len());
        }
        Ok(())
    }
}

fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    let (mut file, mut last) = (File::open(path)?, [0]);
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    pub(crate) format: Format,
    /// Start after it.
    pub(crate) from: Option<Place>,
    /// Stop there, included; the present end of the log when absent.
    pub(crate) to: Option<Place>,
    /// A stream, or a category when it has no dash.
    pub(crate) stream: Option<String>,
    pub(crate) event_type: Option<String>,
}

/// Where a replay stopped short, so that it can go on from there.
#[derive(Debug, thiserror::Error)]
#[error("the replay stopped after position {after}; go on with --from {after}")]
pub(crate) struct Stopped {
    after: LogPosition,
    source: anyhow::Error,
}

/// Writes the wanted events and returns how many there were, and up to where the log was read.
pub(crate) async fn replay(log: &Log, wanted: &Replay, out: &mut impl Write) -> anyhow::Result<(u64, LogPosition)> {
    let mut after = position(log, wanted.from.as_ref()).await?.unwrap_or(Position::START);
    let head = log.head().await?;
    let at = |position| LogPosition::new(log.id().clone(), position);
    anyhow::ensure!(after <= head, "--from {} is beyond the log, which ends at {}", at(after), at(head));
    let last = position(log, wanted.to.as_ref()).await?.map_or(head, |to| to.min(head));
    anyhow::ensure!(after <= last || wanted.to.is_none(), "--to {} stands before --from {}", at(last), at(after));
    let bar = ProgressBar::new(u64::try_from(last.0 - after.0).unwrap_or(0)).with_style(style());
    if after == Position::START {
        // A part that goes on is joined to what is there.
        write_header(wanted.format, out)?;
    }
    let mut written = 0;
    while after < last {
        let page = match page(log, after, last).await {
            Ok(page) => write_page(out, wanted, log, &page).map(|count| (page, count)),
            Err(error) => Err(error),
        };
        let (page, count) = page.map_err(|source| Stopped { after: at(after), source })?;
        written += count;
        after = page.last().map_or(after, |event| event.position);
        bar.inc(u64::try_from(page.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    Ok((written, at(last.max(after))))
}

async fn position(log: &Log, place: Option<&Place>) -> anyhow::Result<Option<Position>> {
    match place {
        None => Ok(None),
        Some(Place::Position(at)) if at.log_id != *log.id() => {
            anyhow::bail!("{at} is a position of another log; this one is called {}", log.id())
        }
        Some(Place::Position(at)) => Ok(Some(at.position)),
        Some(Place::Time(time)) => Ok(Some(log.position_at(*time).await?)),
    }
}

async fn page(log: &Log, after: Position, last: Position) -> anyhow::Result<Vec<RawRecorded>> {
    let wanted = u32::try_from(last.0 - after.0).unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
    let page = log.raw_page(after, wanted).await?;
    let end = page.last().map_or(after, |event| event.position);
    // A hole inside the page is an error of the read. One at its end shows only because the log is known to go on.
    anyhow::ensure!(
        page.len() == usize::try_from(wanted).unwrap_or(usize::MAX),
        "the log has a hole: it reaches {last}, and after position {end} comes nothing"
    );
    Ok(page)
}

/// In one piece, so that what is written ends with a page.
fn write_page(out: &mut impl Write, wanted: &Replay, log: &Log, page: &[RawRecorded]) -> anyhow::Result<u64> {
    let (mut written, mut text) = (0, Vec::new());
    let mut lines = Lines::new(wanted.format, &mut text);
    for event in page.iter().filter(|event| wanted.wants(event)) {
        lines.write(log, event).with_context(|| format!("cannot write the event at position {}", event.position))?;
        written += 1;
    }
    drop(lines);
    out.write_all(&text)?;
    out.flush()?;
    Ok(written)
}

fn write_header(format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    match format {
        Format::Ndjson => Ok(()),
        Format::Csv => {
            let mut lines = csv::Writer::from_writer(out);
            lines.write_record(COLUMNS)?;
            Ok(lines.flush()?)
        }
    }
}

impl Replay {
    fn wants(&self, event: &RawRecorded) -> bool {
        let stream = self.stream.as_deref().is_none_or(|wanted| {
            event.stream_id.as_str() == wanted || !wanted.contains('-') && event.stream_id.category() == wanted
        });
        stream && self.event_type.as_deref().is_none_or(|wanted| event.event_type == wanted)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    position: LogPosition,
    stream: &'a str,
    version: i64,
    event_id: Uuid,
    r#type: &'a str,
    schema_version: i16,
    recorded_at: DateTime<Utc>,
    payload: &'a RawValue,
    metadata: &'a RawValue,
}

/// As NDJSON names them.
const COLUMNS: [&str; 9] =
    ["position", "stream", "version", "event_id", "type", "schema_version", "recorded_at", "payload", "metadata"];

enum Lines<'a> {
    Ndjson(&'a mut Vec<u8>),
    Csv(Box<csv::Writer<&'a mut Vec<u8>>>),
}

impl<'a> Lines<'a> {
    fn new(format: Format, text: &'a mut Vec<u8>) -> Self {
        match format {
            Format::Ndjson => Self::Ndjson(text),
            Format::Csv => Self::Csv(Box::new(csv::Writer::from_writer(text))),
        }
    }

    fn write(&mut self, log: &Log, event: &RawRecorded) -> anyhow::Result<()> {
        let line = Line {
            position: LogPosition::new(log.id().clone(), event.position),
            stream: event.stream_id.as_str(),
            version: event.stream_version,
            event_id: event.event_id,
            r#type: &event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            payload: serde_json::from_str(&event.payload)?,
            metadata: serde_json::from_str(&event.metadata)?,
        };
        match self {
            Self::Ndjson(text) => {
                serde_json::to_writer(&mut **text, &line)?;
                text.push(b'\n');
            }
            Self::Csv(text) => text.serialize((
                line.position.to_string(),
                line.stream,
                line.version,
                line.event_id,
                line.r#type,
                line.schema_version,
                line.recorded_at,
                line.payload.get(),
                line.metadata.get(),
            ))?,
        }
        Ok(())
    }
}

fn style() -> ProgressStyle {
    let template = "replaying {wide_bar} {human_pos} of {human_len} events, {per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

#[cfg(test)]
mod tests {
    use local_services::testing::TestServices;
    use sqlx::PgPool;

    use super::*;

    #[test]
    fn a_place_is_a_position_or_a_time() {
        assert!(matches!("main:12".parse(), Ok(Place::Position(at)) if at.position == Position(12)));
        assert!(matches!("12".parse(), Ok(Place::Position(at)) if at.position == Position(12)));
        assert!(matches!("2026-11-22T10:00:00Z".parse(), Ok(Place::Time(_))));
        assert!("yesterday".parse::<Place>().is_err_and(|error| error.contains("main:1234")));
    }

    /// Five events, a second apart, with spaces in the JSON that must survive.
    async fn five_events() -> (Log, impl Sized) {
        let services = TestServices::shared().await;
        let migrate = async |url: String| events::schema::install(&url).await;
        let database = services.fresh_database(&events::schema::fingerprint(), migrate).await;
        let pool = PgPool::connect(&database.superuser_url()).await.expect("the test's database answers");
        sqlx::query(
            "INSERT INTO events SELECT n, 'order-' || n % 2, (n + 1) / 2, gen_random_uuid(), 'OrderConfirmed', 1, \
             ('{ \"n\" :  ' || n || ' }')::json, '{\"a\": \"b,\\\"c\\\"\"}', timestamptz 'epoch' + n * interval '1 s' \
             FROM generate_series(1, 5) AS n",
        )
        .execute(&pool)
        .await
        .expect("the events are written");
        (Log::new(pool, events::LogId::default()), database)
    }

    async fn replayed(log: &Log, wanted: &Replay) -> (Vec<String>, LogPosition) {
        let mut out = Vec::new();
        let (count, position) = replay(log, wanted, &mut out).await.expect("the log is whole");
        let text = String::from_utf8(out).expect("JSON and CSV are text");
        let header = usize::from(wanted.format == Format::Csv);
        let lines: Vec<String> = text.lines().skip(header).map(Into::into).collect();
        assert_eq!(lines.len(), usize::try_from(count).expect("few"));
        (lines, position)
    }

    #[tokio::test]
    async fn the_log_is_replayed_byte_for_byte_by_range_and_by_kind() {
        let (log, _database) = five_events().await;
        let (lines, position) = replayed(&log, &Replay::default()).await;
        assert_eq!(lines.len(), 5);
        assert_eq!(position.to_string(), "main:5");
        assert!(
            lines[0].starts_with(r#"{"position":"main:1","stream":"order-1","version":1,"event_id":""#),
            "{}",
            lines[0]
        );
        assert!(lines[0].ends_with(r#""payload":{ "n" :  1 },"metadata":{"a": "b,\"c\""}}"#), "{}", lines[0]);

        let place = |text: &str| Some(text.parse().expect("a place"));
        let range = Replay { from: place("1"), to: place("1970-01-01T00:00:03Z"), ..Replay::default() };
        assert_eq!(replayed(&log, &range).await.0.len(), 2);
        let stream = Replay { stream: Some("order-0".into()), ..Replay::default() };
        assert_eq!(replayed(&log, &stream).await.0.len(), 2);
        let category = Replay { stream: Some("order".into()), event_type: Some("Other".into()), ..Replay::default() };
        assert_eq!(replayed(&log, &category).await.0.len(), 0);
        let csv = Replay { format: Format::Csv, ..Replay::default() };
        let lines = replayed(&log, &csv).await.0;
        assert!(lines[4].starts_with("main:5,order-1,3,"), "{}", lines[4]);
        assert!(lines[4].ends_with(r#""{ ""n"" :  5 }","{""a"": ""b,\""c\""""}""#), "{}", lines[4]);
    }

    #[tokio::test]
    async fn a_hole_stops_the_replay_and_says_where_to_go_on() {
        let (log, _database) = five_events().await;
        sqlx::query("DELETE FROM events WHERE position = 3").execute(log.pool()).await.expect("a hole is made");
        let error = replay(&log, &Replay::default(), &mut Vec::new()).await.expect_err("the log has a hole");
        assert_eq!(error.to_string(), "the replay stopped after position main:0; go on with --from main:0");
        assert!(format!("{error:#}").contains("the log has a hole: after position 2 comes 4"), "{error:#}");
    }

    #[tokio::test]
    async fn a_start_beyond_the_log_is_refused_and_its_end_is_named() {
        let (log, _database) = five_events().await;
        let beyond = Replay { from: Some("main:6".parse().expect("a place")), ..Replay::default() };
        let error = replay(&log, &beyond, &mut Vec::new()).await.expect_err("there is no such event");
        assert_eq!(error.to_string(), "--from main:6 is beyond the log, which ends at main:5");
        let at_the_end = Replay { from: Some("main:5".parse().expect("a place")), ..Replay::default() };
        assert!(replayed(&log, &at_the_end).await.0.is_empty());
    }

    #[test]
    fn a_file_is_gone_on_with_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.ndjson");
        let written = || std::fs::read_to_string(&path).expect("it is there");
        let mut out = Out::open(&path, false).expect("it is new");
        out.write_all(b"a page\n").and_then(|()| out.flush()).expect("it can be written");
        out.write_all(b"half a pa").expect("it can be written");
        out.close().expect("it is cut off after the page");
        assert_eq!(written(), "a page\n");

        assert!(Out::open(&path, false).is_err_and(|error| error.to_string().contains("is there already")));
        let mut out = Out::open(&path, true).expect("it is gone on with");
        out.write_all(b"another\n").and_then(|()| out.flush()).expect("it can be written");
        out.close().expect("it is whole");
        assert_eq!(written(), "a page\nanother\n");

        std::fs::write(&path, "a page\nhalf a pa").expect("as a kill leaves it");
        assert!(Out::open(&path, true).is_err_and(|error| error.to_string().contains("in the middle of a line")));
        let mut out = Out::open(Path::new("/dev/null"), false).expect("no file, but written all the same");
        out.write_all(b"gone\n").and_then(|()| out.flush()).expect("it can be written");
        out.close().expect("it is not cut off");
    }
}
