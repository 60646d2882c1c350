//! Keeps the log's partitions ahead of the head, so that an append never finds none; seals the blocks behind it, and lists and freezes what is
//! full; forgets old commands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use events::{Log, schema};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// Half a partition is filled in minutes at the fastest; a look costs a few round trips.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Of a server that neither answers nor goes away.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// A block is filled in half a second at the fastest; readers add up by themselves what is not sealed yet.
const SEAL_EVERY: Duration = Duration::from_secs(2);

/// Positions whose commands are forgotten in one statement, which is some milliseconds.
const FORGOTTEN_AT_ONCE: i64 = 2_000;

/// Fewer positions than this without a partition ahead is not what attaching in time leaves: half a partition.
const ROOM_MIN: i64 = 2_500_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintainerConfig {
    /// For how many days a repeated command gets its first answer, at least 1. After that its key is as good as new.
    pub remember_days: i32,
    /// What the database may take on disk; from four fifths of it on the maintainer warns. Nothing is said unless given: a server does not
    /// tell the size of its disk.
    pub disk_max_gib: Option<i64>,
}

impl Default for MaintainerConfig {
    fn default() -> Self {
        Self { remember_days: 30, disk_max_gib: None }
    }
}

/// What the maintainer of this process saw last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LogRoom(Arc<Room>);

#[derive(Debug, Default)]
struct Room {
    seen: AtomicBool,
    positions: AtomicI64,
    bytes: AtomicI64,
}

impl LogRoom {
    /// How many positions can still be appended before a partition is missing, and the bytes that the database takes on disk; none where no
    /// maintainer has looked.
    #[must_use]
    pub fn read(&self) -> Option<(i64, i64)> {
        let value = |figure: &AtomicI64| figure.load(Ordering::Relaxed);
        self.0.seen.load(Ordering::Acquire).then(|| (value(&self.0.positions), value(&self.0.bytes)))
    }
}

/// Runs until shutdown. A failure is logged and tried again: there is one partition to spare.
pub async fn maintain(config: MaintainerConfig, log: Log, room: LogRoom, shutdown: CancellationToken) {
    let keep = async {
        loop {
            let looked = tokio::time::timeout(LOOK_TIMEOUT, look(&config, &log, &room)).await;
            if let Err(error) = looked.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                tracing::warn!(%error, "the log could not be looked after");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let seal = async {
        loop {
            if let Err(error) = log.seal_blocks().await {
                tracing::error!(error = &error as &dyn std::error::Error, "blocks of the log could not be sealed");
            }
            tokio::time::sleep(SEAL_EVERY).await;
        }
    };
    let both = async { tokio::join!(keep, seal) };
    shutdown.run_until_cancelled(both).await;
}

async fn look(config: &MaintainerConfig, log: &Log, room: &LogRoom) -> Result<(), sqlx::Error> {
    let attaching =
        sqlx::query_scalar("SELECT attach_event_partitions((SELECT coalesce(max(position), 0) FROM events))");
    let attached: Result<i32, _> = attaching.fetch_one(log.pool()).await;
    if let Ok(attached @ 1..) = attached {
        tracing::info!(attached, "partitions of the log were attached ahead");
    }
    let (positions, bytes): (i64, i64) =
        sqlx::query_as("SELECT positions, bytes FROM log_room()").fetch_one(log.pool()).await?;
    room.0.bytes.store(bytes, Ordering::Relaxed);
    room.0.positions.store(positions, Ordering::Relaxed);
    room.0.seen.store(true, Ordering::Release);
    if positions < ROOM_MIN {
        tracing::warn!(positions, "the log is about to run out of partitions");
    }
    if let Some(max) = config.disk_max_gib.filter(|max| bytes > (max << 30) / 5 * 4) {
        tracing::warn!(gib = bytes >> 30, max, "the database takes more than four fifths of the disk that it may have");
    }
    let locks = schema::lack_of_locks(log.pool()).await;
    if let Ok(Some(lack)) = &locks {
        tracing::warn!("{lack}");
    }
    let full: Result<i32, _> = sqlx::query_scalar("SELECT freeze_full_partitions()").fetch_one(log.pool()).await;
    if let Ok(full @ 1..) = full {
        tracing::info!(full, "partitions of the log are full and will be frozen");
    }
    let listed = in_steps(log, "SELECT list_full_partition()", 1).await;
    let forget = format!("SELECT forget_commands({}, {FORGOTTEN_AT_ONCE})", config.remember_days);
    in_steps(log, &forget, FORGOTTEN_AT_ONCE).await?;
    attached.and(full).map(drop).and(locks.map(drop)).and(listed)
}

/// Repeats a step, which tells how much it has done, until that is less than `enough` or the next look is due.
async fn in_steps(log: &Log, step: &str, enough: i64) -> Result<(), sqlx::Error> {
    let started = Instant::now();
    loop {
        let done: i64 = sqlx::query_scalar(step).fetch_one(log.pool()).await?;
        if done < enough || started.elapsed() >= LOOK_EVERY {
            return Ok(());
        }
    }
}
