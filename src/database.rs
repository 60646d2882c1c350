//! The pool of a process.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// Connects as the services do. `connections`: the most that this process keeps.
pub(crate) async fn connect(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .context("the database URL is not one of Postgres: write postgres://user@host:port/database")?
        .application_name("waybill")
        .statement_cache_capacity(256);
    PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(2)
        .acquire_timeout(Duration::from_secs(3))
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .context("cannot connect to Postgres")
}
