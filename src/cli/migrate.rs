//! `waybill migrate`: roles, database and schema.

use std::process::ExitCode;

use anyhow::Context as _;
use local_services::Needs;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{output, session};
use crate::{config::Config, servers::Servers};

pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let servers = Servers::provide(&config, Needs::POSTGRES, &session::say).await?;
    let owner_url = servers.owner_url.as_ref();
    let owner_url = owner_url.context("set database.owner_url: migrations run as the owner of the database")?;
    servers.migrate().await?;
    let mut owner = PgConnection::connect(owner_url).await.context("cannot connect as the owner")?;
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
        .fetch_one(&mut owner)
        .await
        .context("cannot count the migrations")?;
    if json {
        output::line(json!({ "ok": true, "migrations": applied }));
    } else {
        output::line(format_args!("The database is up to date: {applied} migrations."));
    }
    Ok(ExitCode::SUCCESS)
}
