//! `waybill migrate`: roles, database and schema.

use std::process::ExitCode;

use anyhow::ensure;
use serde_json::json;

use super::{output, session};
use crate::config::Config;

pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let (pool, servers) = session::pool(&config).await?;
    ensure!(servers.owner_url.is_some(), "set database.owner_url: migrations run as the owner of the database");
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success").fetch_one(&pool).await?;
    if json {
        output::line(json!({ "ok": true, "migrations": applied }));
    } else {
        output::line(format_args!("The database is up to date: {applied} migrations."));
    }
    Ok(ExitCode::SUCCESS)
}
