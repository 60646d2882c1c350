//! Template databases: migrated once per schema, cloned once per test.

use sqlx::{Connection, Executor, PgConnection};

use crate::error::Error;
use crate::postgres::Postgres;

/// Any number; held while a template is made, in the database `postgres`.
const MAKING: i64 = 0x7761_7962_696c_6c00;
/// Schemas change while somebody works on them; this many old ones are kept for those who go back and forth.
const KEPT: i64 = 8;

/// The name of the schema's template, which is made if it is not there yet.
pub(crate) async fn ensure<E>(
    postgres: &Postgres,
    schema: &str,
    migrate: impl AsyncFnOnce(String) -> Result<(), E>,
) -> Result<String, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let template = format!("waybill_template_{}", schema.to_lowercase());
    let mut connection = postgres.connect("postgres").await?;
    if is_whole(&mut connection, &template).await? {
        return Ok(template);
    }
    let failed = |source| Error::Postgres { doing: "wait for another process that makes the template", source };
    sqlx::query("SET lock_timeout = '180s'").execute(&mut connection).await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MAKING).execute(&mut connection).await.map_err(failed)?;
    if !is_whole(&mut connection, &template).await? {
        remove_old(&mut connection).await?;
        // Left by a process that died while it migrated.
        run(
            &mut connection,
            "drop an unfinished template",
            &format!(r#"DROP DATABASE IF EXISTS "{template}" WITH (FORCE)"#),
        )
        .await?;
        run(&mut connection, "create the template", &format!(r#"CREATE DATABASE "{template}""#)).await?;
        migrate(postgres.superuser_url(&template)).await.map_err(|error| Error::Postgres {
            doing: "migrate the template",
            source: sqlx::Error::Configuration(error.into()),
        })?;
        // Nobody may be connected to a template while it is cloned.
        let close = format!(r#"ALTER DATABASE "{template}" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true"#);
        run(&mut connection, "close the template", &close).await?;
        let leave = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1";
        let failed = |source| Error::Postgres { doing: "close the template", source };
        sqlx::query(leave).bind(&template).execute(&mut connection).await.map_err(failed)?;
    }
    connection.close().await.map_err(|source| Error::Postgres { doing: "disconnect", source })?;
    Ok(template)
}

pub(crate) async fn clone(postgres: &Postgres, template: &str, name: &str) -> Result<(), Error> {
    let mut connection = postgres.connect("postgres").await?;
    run(&mut connection, "clone the template", &format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}""#)).await
}

pub(crate) async fn drop(postgres: &Postgres, name: &str) -> Result<(), Error> {
    let mut connection = postgres.connect("postgres").await?;
    run(&mut connection, "drop a database", &format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#)).await
}

/// The names of all databases.
pub(crate) async fn databases(postgres: &Postgres) -> Result<Vec<String>, Error> {
    let mut connection = postgres.connect("postgres").await?;
    let failed = |source| Error::Postgres { doing: "list databases", source };
    sqlx::query_scalar("SELECT datname::text FROM pg_database").fetch_all(&mut connection).await.map_err(failed)
}

/// Only a template that was finished is marked as one.
async fn is_whole(connection: &mut PgConnection, template: &str) -> Result<bool, Error> {
    let failed = |source| Error::Postgres { doing: "look for the template", source };
    let found: Option<bool> = sqlx::query_scalar("SELECT datistemplate FROM pg_database WHERE datname = $1")
        .bind(template)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    Ok(found == Some(true))
}

async fn remove_old(connection: &mut PgConnection) -> Result<(), Error> {
    let failed = |source| Error::Postgres { doing: "list templates", source };
    let list =
        "SELECT datname::text FROM pg_database WHERE datname LIKE 'waybill\\_template\\_%' ORDER BY oid DESC OFFSET $1";
    let old: Vec<String> = sqlx::query_scalar(list).bind(KEPT).fetch_all(&mut *connection).await.map_err(failed)?;
    for template in old {
        run(connection, "drop an old template", &format!(r#"ALTER DATABASE "{template}" WITH IS_TEMPLATE false"#))
            .await?;
        run(connection, "drop an old template", &format!(r#"DROP DATABASE "{template}" WITH (FORCE)"#)).await?;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, doing: &'static str, sql: &str) -> Result<(), Error> {
    connection.execute(sql).await.map(std::mem::drop).map_err(|source| Error::Postgres { doing, source })
}
