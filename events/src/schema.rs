//! The schema of the log's database: its migrations, and the roles that must exist before them.

use sqlx::{Connection, PgConnection};

/// All migrations, embedded.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Owns the tables and functions; runs migrations.
pub const OWNER: &str = "waybill_owner";
/// What every service connects as: reads, appends through the function, and can neither change nor delete an event.
pub const SERVICE: &str = "waybill_service";

/// Serialises role creation: roles belong to the whole cluster, and test databases are made side by side.
const ROLES_LOCK: i64 = 0x7761_7962_696c_6c01;

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    #[error("cannot bring the schema up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
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
    for role in [OWNER, SERVICE] {
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
            .bind(role)
            .fetch_one(&mut *transaction)
            .await
            .map_err(SchemaError::doing("look for a role"))?;
        if !exists {
            // No password: it can log in only where the server's own rules let it.
            sqlx::query(&format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"))
                .execute(&mut *transaction)
                .await
                .map_err(SchemaError::doing("create a role"))?;
        }
    }
    transaction.commit().await.map_err(SchemaError::doing("commit the roles"))
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
    Ok(())
}

/// A name for the schema as this release defines it: changes whenever a migration does.
#[must_use]
pub fn fingerprint() -> String {
    use sha2::{Digest, Sha256};
    let digest =
        MIGRATOR.iter().fold(Sha256::new(), |hash, migration| hash.chain_update(&migration.checksum)).finalize();
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Roles and schema in one go, by an administrator who may do both: for the databases of tests.
pub async fn install(admin_url: &str) -> Result<(), SchemaError> {
    ensure_roles(admin_url).await?;
    migrate(admin_url).await
}
