//! The pools of a process.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use events::{Log, schema};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::FollowedLog;

/// For reading a log that is followed: each projection that catches up reads some pages beside each other.
const FOLLOWING_CONNECTIONS: u32 = 16;
/// The longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// For the roles. `connections`: the most that this process keeps.
pub(crate) async fn connect(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    connect_with(options(url)?.options(schema::SESSION), connections).await
}

/// For whoever looks on from outside, who may go through whole tables.
pub(crate) async fn connect_to_look(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    connect_with(options(url)?, connections).await
}

async fn connect_with(options: PgConnectOptions, connections: u32) -> anyhow::Result<PgPool> {
    let cannot = format!("cannot connect to Postgres at {}:{}", options.get_host(), options.get_port());
    match pool(connections).min_connections(2).connect_with(options.clone()).await {
        // A pool says only that it has waited; a connection says why.
        Err(waited @ sqlx::Error::PoolTimedOut) => {
            let connecting = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await;
            Err(connecting.ok().and_then(Result::err).unwrap_or(waited)).context(cannot)
        }
        outcome => outcome.context(cannot),
    }
}

/// The logs that are followed beside one's own. Nobody need be there yet: who reads them tries again, and asks for the log's name first.
pub(crate) fn followed(follow: &[FollowedLog]) -> anyhow::Result<Vec<Log>> {
    let log = |FollowedLog { id, url }: &FollowedLog| {
        let options = options(url).with_context(|| format!("log.follow of {id}"))?.options(schema::SESSION);
        Ok(Log::new(pool(FOLLOWING_CONNECTIONS).connect_lazy_with(options), id.clone()))
    };
    follow.iter().map(log).collect()
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE).test_before_acquire(false)
}

fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)
        .context("the database URL is not one of Postgres: write postgres://user@host:port/database")?
        .application_name("waybill")
        .statement_cache_capacity(256))
}
