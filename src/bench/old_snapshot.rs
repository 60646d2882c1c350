//! `old-snapshot`: does the log stay as fast while somebody holds an old snapshot, as a report or a dump does?

use std::time::Instant;

use sqlx::PgConnection;

use super::{Effort, Round, Spec, append::Appender, log::LogUnderTest};

pub(super) const SPEC: Spec = Spec {
    name: "old-snapshot",
    unit: "events/s",
    limit: "append before the snapshot was taken",
    ours: "append at the end of 60 measurements' time under full load, while a session holds its REPEATABLE READ snapshot and a transaction id",
    larger_is_better: true,
    aim: 0.80,
    aim_p99: None,
};

/// For how many measurements the snapshot is held: five minutes of five seconds each.
const HELD_FOR: u32 = 60;

/// For how many measurements the log is written to before: a minute of five seconds each. For its first half minute all that is written stays
/// in memory, until the kernel begins to write it out; that is faster, with a snapshot or without.
const WARM_UP: u32 = 12;

pub(super) async fn run(effort: Effort, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let log = LogUnderTest::start(effort.store).await?;
    let mut appender = Appender::new();
    appender.run(&log.store, effort.duration * WARM_UP).await?;
    let mut rounds = Vec::new();
    for number in 1..=effort.rounds {
        let limit = appender.run(&log.store, effort.duration).await?;
        let mut holder = log.connection().await?;
        let seen = take_snapshot(&mut holder).await?;
        let (mut ours, held) = (0.0, Instant::now());
        while held.elapsed() < effort.duration * HELD_FOR {
            ours = appender.run(&log.store, effort.duration).await?;
        }
        anyhow::ensure!(count(&mut holder).await? == seen, "the snapshot was not held");
        let dead = dead_rows(&mut holder).await?;
        sqlx::query("ROLLBACK").execute(&mut holder).await?;
        let seconds = held.elapsed().as_secs_f64();
        let after = appender.run(&log.store, effort.duration).await?;
        progress(&format!(
            "round {number}: before {limit:.0}, after {seconds:.0} s {ours:.0} {}, {dead:.0} dead rows",
            SPEC.unit
        ));
        rounds.push(Round {
            limit,
            ours,
            more: vec![("held_s", seconds), ("dead_rows", dead), ("after_it_was_released", after)],
        });
    }
    log.stop().await;
    Ok(rounds)
}

/// How many events it sees.
async fn take_snapshot(holder: &mut PgConnection) -> anyhow::Result<i64> {
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()").execute(&mut *holder).await?;
    count(holder).await
}

async fn count(holder: &mut PgConnection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events").fetch_one(holder).await?)
}

/// Versions of rows that are kept for the snapshot alone, of all tables that an append writes to.
async fn dead_rows(holder: &mut PgConnection) -> anyhow::Result<f64> {
    let dead = "SELECT coalesce(sum(n_dead_tup), 0)::float8 FROM pg_stat_user_tables \
                WHERE relname IN ('streams', 'commands') OR relname LIKE 'events%'";
    Ok(sqlx::query_scalar(dead).fetch_one(holder).await?)
}
