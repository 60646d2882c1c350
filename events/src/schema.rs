//! The schema of the log's database: its migrations, and the roles that must exist before them.

use sqlx::{Connection, PgConnection, PgExecutor};

use crate::LogId;

/// All migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Owns the tables and functions; runs migrations.
pub const OWNER: &str = "waybill_owner";
/// What every service connects as: reads, appends through the function, and can neither change nor delete an event.
pub const SERVICE: &str = "waybill_service";

/// What every session of a role sets. A role looks for what it needs and never goes through a whole table; a plan that did so because the
/// table was small is kept when it no longer is. Who adds up whole tables (`waybill check`, `log stats`) does not set it.
pub const SESSION: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

/// Serialises role creation: roles belong to the whole cluster, and test databases are made side by side.
const ROLES_LOCK: i64 = 0x7761_7962_696c_6c01;
/// Serialises the grant below: two at once make Postgres refuse one.
const GRANT_LOCK: i64 = 0x7761_7962_696c_6c02;

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    #[error("cannot bring the schema up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Its checkpoints and tokens bear that name: what is meant is another database, or the configuration names the wrong log.
    #[error(
        "the database holds the log {log}, and not {wanted}: correct log.id or the database's URL (a database without events is named \
         by `waybill migrate`, once)"
    )]
    OtherLog { wanted: LogId, log: String },
}

impl SchemaError {
    fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Postgres { doing, source }
    }
}

/// Creates the cluster's roles where they are missing. Needs a connection that may create roles.
pub async fn ensure_roles(admin_url: &str) -> Result<(), SchemaError> {
    let mut connection =
        PgConnection::connect(admin_url).await.map_err(SchemaError::doing("connect as the administrator"))?;
    let mut transaction = connection.begin().await.map_err(SchemaError::doing("begin"))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(ROLES_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(SchemaError::doing("wait for others who create roles"))?;
    for role in missing_roles(&mut transaction).await? {
        // No password: it can log in only where the server's own rules let it.
        sqlx::query(&format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"))
            .execute(&mut *transaction)
            .await
            .map_err(SchemaError::doing("create a role"))?;
    }
    transaction.commit().await.map_err(SchemaError::doing("commit the roles"))
}

/// Those of [`OWNER`] and [`SERVICE`] that the cluster does not have.
pub async fn missing_roles(connection: &mut PgConnection) -> Result<Vec<&'static str>, SchemaError> {
    let found: Vec<String> = sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)")
        .bind([OWNER, SERVICE])
        .fetch_all(connection)
        .await
        .map_err(SchemaError::doing("look for the roles"))?;
    Ok([OWNER, SERVICE].into_iter().filter(|role| !found.iter().any(|found| found == role)).collect())
}

/// Creates the database, owned by [`OWNER`], where it is missing. Needs a connection that may create databases.
pub async fn ensure_database(admin_url: &str, name: &str) -> Result<(), SchemaError> {
    let mut connection =
        PgConnection::connect(admin_url).await.map_err(SchemaError::doing("connect as the administrator"))?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .map_err(SchemaError::doing("look for the database"))?;
    if exists {
        return Ok(());
    }
    let created = sqlx::query(&format!("CREATE DATABASE \"{name}\" OWNER {OWNER}")).execute(&mut connection).await;
    match created {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => Ok(()), // somebody was faster
        outcome => outcome.map(drop).map_err(SchemaError::doing("create the database")),
    }
}

/// Brings the schema up to date. Needs a connection as the owner of the database.
pub async fn migrate(owner_url: &str) -> Result<(), SchemaError> {
    let mut connection = PgConnection::connect(owner_url).await.map_err(SchemaError::doing("connect as the owner"))?;
    MIGRATOR.run(&mut connection).await?;
    let shown: bool = sqlx::query_scalar("SELECT has_table_privilege($1, '_sqlx_migrations', 'SELECT')")
        .bind(SERVICE)
        .fetch_one(&mut connection)
        .await
        .map_err(SchemaError::doing("see whether the services see the migrations"))?;
    if !shown {
        // One transaction, as all that is sent in one go.
        sqlx::raw_sql(&format!("SELECT pg_advisory_xact_lock({GRANT_LOCK}); {}", show_migrations()))
            .execute(&mut connection)
            .await
            .map_err(SchemaError::doing("show the services the migrations"))?;
    }
    Ok(())
}

/// The services may see which migrations ran: so they can tell that some are missing.
fn show_migrations() -> String {
    format!("GRANT SELECT ON _sqlx_migrations TO {SERVICE}")
}

/// How many of this release's migrations the database lacks; all of them where there is no schema, or none that the caller may see.
pub async fn pending(connection: &mut PgConnection) -> Result<usize, SchemaError> {
    let failed = || SchemaError::doing("see which migrations ran");
    let visible: bool = sqlx::query_scalar(
        "SELECT coalesce(has_table_privilege(to_regclass('_sqlx_migrations')::oid, 'SELECT'), false)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed())?;
    let mut applied: Vec<i64> = Vec::new();
    if visible {
        applied = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(connection)
            .await
            .map_err(failed())?;
    }
    Ok(MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

/// What to do where the server is about to run out of locks: a plan for any stream locks every partition, and a server has so many locks
/// for each connection that it accepts. Nothing, as long as the partitions take four fifths of them at most.
pub async fn lack_of_locks(postgres: impl PgExecutor<'_>) -> Result<Option<String>, sqlx::Error> {
    let (partitions, locks): (i64, i64) = sqlx::query_as(
        "SELECT count(*), current_setting('max_locks_per_transaction')::bigint FROM pg_inherits WHERE inhparent = 'events'::regclass",
    )
    .fetch_one(postgres)
    .await?;
    let wanted = 2 * partitions;
    Ok((5 * partitions > 4 * locks).then(|| {
        format!(
            "whoever loads a stream locks all {partitions} partitions of the log, and the server has {locks} locks for each connection: set \
             max_locks_per_transaction to {wanted} and restart Postgres"
        )
    }))
}

/// A new log bears the name that every log has by default. It is named once: while it is empty, or where all that ever read it knows it
/// by the new name already, as where only the configuration named it before.
const NAME: &str = "UPDATE log_head SET log_id = $1 WHERE log_id = 'main' AND $1 <> 'main' \
     AND NOT EXISTS (SELECT FROM checkpoints WHERE log_id <> $1) \
     AND (NOT EXISTS (SELECT FROM events) OR EXISTS (SELECT FROM checkpoints WHERE log_id = $1))";

/// Names the database's log, where it has no name yet; one that has another name is refused. Does nothing where there is no schema.
pub async fn name_log(owner_url: &str, log_id: &LogId) -> Result<(), SchemaError> {
    let failed = || SchemaError::doing("name the log");
    let mut connection = PgConnection::connect(owner_url).await.map_err(SchemaError::doing("connect as the owner"))?;
    let there = sqlx::query_scalar("SELECT to_regclass('log_head') IS NOT NULL").fetch_one(&mut connection);
    if !there.await.map_err(failed())? {
        return Ok(());
    }
    // The usual case takes no lock: it would wait for whoever appends.
    if ensure_log(&mut connection, log_id).await.is_ok() {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(failed())?;
    sqlx::query("SET LOCAL lock_timeout = '5s'").execute(&mut *transaction).await.map_err(failed())?;
    // Nobody appends its first event meanwhile.
    sqlx::query("SELECT FROM log_head FOR UPDATE").execute(&mut *transaction).await.map_err(failed())?;
    sqlx::query(NAME).bind(log_id.as_str()).execute(&mut *transaction).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    ensure_log(&mut connection, log_id).await
}

/// Refuses a database that holds another log.
pub async fn ensure_log(connection: &mut PgConnection, wanted: &LogId) -> Result<(), SchemaError> {
    let log: String = sqlx::query_scalar("SELECT log_id FROM log_head")
        .fetch_one(connection)
        .await
        .map_err(SchemaError::doing("ask for the log's name"))?;
    if log == wanted.as_str() { Ok(()) } else { Err(SchemaError::OtherLog { wanted: wanted.clone(), log }) }
}

/// A name for the schema as this release defines it: changes whenever a migration or a grant does.
#[must_use]
pub fn fingerprint() -> String {
    use sha2::{Digest, Sha256};
    let hash = MIGRATOR.iter().fold(Sha256::new(), |hash, migration| hash.chain_update(&migration.checksum));
    hash.chain_update(show_migrations()).finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Roles and schema in one go, by an administrator who may do both: for the databases of tests.
pub async fn install(admin_url: &str) -> Result<(), SchemaError> {
    ensure_roles(admin_url).await?;
    migrate(admin_url).await
}
