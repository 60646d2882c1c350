//! Which servers to use: those of the configuration, else private ones that are started here; and the schema on them.

use std::path::Path;

use anyhow::Context as _;
use events::{LogId, schema};
use local_services::{LocalServices, Needs, Options, Reporter};
use sqlx::PgPool;

use crate::{config::Config, database};

/// The database's name on a private server.
const DATABASE: &str = "waybill";

/// Where everything is. Keeps the private servers running for as long as it lives.
#[derive(Debug)]
pub(crate) struct Servers {
    /// As `waybill_service`.
    pub database_url: String,
    /// As the owner; none where only the services' URL is configured.
    pub owner_url: Option<String>,
    admin_url: Option<String>,
    /// Which log the database is to hold.
    log_id: LogId,
    /// Empty where it was not asked for; likewise `amqp_url`.
    pub redis_url: String,
    pub amqp_url: String,
    pub local: Option<LocalServices>,
}

impl Servers {
    /// All servers, with the schema brought up to date.
    pub(crate) async fn up_to_date(config: &Config, reporter: &dyn Reporter) -> anyhow::Result<Self> {
        let servers = Self::provide(config, Needs::ALL, reporter).await?;
        servers.migrate().await?;
        Ok(servers)
    }

    /// Takes configured servers as they are and starts the others that are needed privately. Leaves the schema as it is.
    pub(crate) async fn provide(config: &Config, needs: Needs, reporter: &dyn Reporter) -> anyhow::Result<Self> {
        let unnamed = without_url(config);
        let start = Needs {
            postgres: needs.postgres && unnamed.postgres,
            redis: needs.redis && unnamed.redis,
            rabbitmq: needs.rabbitmq && unnamed.rabbitmq,
        };
        let local = if start.any() {
            let checkout = checkout(config)?;
            let options = Options { needs: start, ..Options::new(checkout) };
            Some(LocalServices::acquire(options, reporter).await.context("cannot provide the local servers")?)
        } else {
            None
        };
        let private = local.as_ref();
        let postgres = private.and_then(|local| local.postgres.as_ref());
        let database_url = match (&config.database.url, postgres) {
            (Some(url), _) => url.clone(),
            (None, Some(postgres)) => postgres.url(DATABASE, schema::SERVICE),
            (None, None) => anyhow::bail!("no database is configured and none was started"),
        };
        let owner_url = config
            .database
            .owner_url
            .clone()
            .or_else(|| postgres.map(|postgres| postgres.url(DATABASE, schema::OWNER)));
        let admin_url =
            config.database.admin_url.clone().or_else(|| postgres.map(|postgres| postgres.superuser_url("postgres")));
        let redis = private.and_then(|local| local.redis.as_ref()).map(|redis| redis.url(0));
        let rabbitmq = private.and_then(|local| local.rabbitmq.as_ref()).map(|rabbitmq| rabbitmq.url("/"));
        let asked = |needed: bool, configured: &Option<String>, started: Option<String>| {
            configured.clone().or(started).filter(|_| needed).unwrap_or_default()
        };
        let servers = Self {
            database_url,
            owner_url,
            admin_url,
            log_id: config.log.id.clone(),
            redis_url: asked(needs.redis, &config.redis.url, redis),
            amqp_url: asked(needs.rabbitmq, &config.rabbitmq.url, rabbitmq),
            local,
        };
        if needs.rabbitmq {
            servers.look_at_urls(config)?;
        }
        Ok(servers)
    }

    /// What can never be reached is refused here: later it would be tried for ever.
    fn look_at_urls(&self, config: &Config) -> anyhow::Result<()> {
        let providers = &config.sagas.providers;
        for (setting, url, schemes) in [
            ("rabbitmq.url", &self.amqp_url, ["amqp", "amqps"]),
            ("sagas.providers.payment_url", &providers.payment_url, ["http", "https"]),
            ("sagas.providers.carrier_url", &providers.carrier_url, ["http", "https"]),
        ] {
            let parsed = reqwest::Url::parse(url).ok();
            let usable = parsed.is_some_and(|url| schemes.contains(&url.scheme()) && url.has_host());
            anyhow::ensure!(usable, "{setting} is no URL that can be used: write it like {}://host:port", schemes[0]);
        }
        Ok(())
    }

    /// The saga side's settings, on these servers.
    pub(crate) fn sagas(&self, settings: &sagas::Config) -> sagas::Config {
        sagas::Config { amqp_url: self.amqp_url.clone(), ..settings.clone() }
    }

    /// The projections' settings, on these servers; indexes lie in the files directory unless told otherwise.
    pub(crate) fn projections(&self, config: &Config) -> projections::Config {
        let index_dir = config.index_dir();
        projections::Config { redis_url: self.redis_url.clone(), index_dir, ..config.projections.clone() }
    }

    /// Roles, database and schema, where the connections for that are known. Without the owner's, the schema must be there.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        if let Some(admin_url) = &self.admin_url {
            schema::ensure_roles(admin_url).await.context("cannot create the database roles")?;
            if self.local.as_ref().is_some_and(|local| local.postgres.is_some()) {
                schema::ensure_database(admin_url, DATABASE).await.context("cannot create the database")?;
            }
        }
        match &self.owner_url {
            Some(owner_url) => {
                // First of all: what holds another log is not to be touched.
                schema::name_log(owner_url, &self.log_id).await?;
                schema::migrate(owner_url).await.context("cannot bring the schema up to date")?;
                Ok(schema::name_log(owner_url, &self.log_id).await?)
            }
            None => self.connect(2).await.map(drop),
        }
    }

    /// For whoever looks on, to a schema that is there. `connections`: the most that the pool keeps.
    pub(crate) async fn connect(&self, connections: u32) -> anyhow::Result<PgPool> {
        let pool = match database::connect_to_look(&self.database_url, connections).await {
            Err(error) if lacks_role_or_database(&error) => {
                return Err(error.context("the database is not set up: run `waybill migrate`"));
            }
            outcome => outcome?,
        };
        let mut connection = pool.acquire().await.context("cannot connect to Postgres")?;
        let pending = schema::pending(&mut connection).await.context("cannot look at the schema")?;
        if let Some(lack) = lack(pending) {
            anyhow::bail!(lack);
        }
        schema::ensure_log(&mut connection, &self.log_id).await?;
        drop(connection);
        Ok(pool)
    }
}

/// What is wrong with a database that lacks so many of this release's migrations, and what to do; nothing if it lacks none.
pub(crate) fn lack(pending: usize) -> Option<String> {
    let all = schema::MIGRATOR.iter().count();
    match pending {
        0 => None,
        pending if pending == all => Some("the database has no schema yet: run `waybill migrate`".to_owned()),
        pending => Some(format!("the database lacks {pending} of {all} migrations: run `waybill migrate`")),
    }
}

/// Postgres asks for the role first. The same code is said of a host that may not connect, so its words are kept.
fn lacks_role_or_database(error: &anyhow::Error) -> bool {
    let Some(sqlx::Error::Database(refusal)) = error.downcast_ref() else { return false };
    matches!(refusal.code().as_deref(), Some("28000" | "3D000"))
}

/// The servers that the configuration does not name: private ones stand in for them.
pub(crate) fn without_url(config: &Config) -> Needs {
    Needs {
        postgres: config.database.url.is_none(),
        redis: config.redis.url.is_none(),
        rabbitmq: config.rabbitmq.url.is_none(),
    }
}

/// The folder that private servers belong to: the parent of the files directory.
pub(crate) fn checkout(config: &Config) -> anyhow::Result<std::path::PathBuf> {
    let directory = std::path::absolute(&config.files.directory).context("cannot tell where the files directory is")?;
    Ok(directory.parent().map_or_else(|| directory.clone(), Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use local_services::PrivatePostgres;
    use sqlx::{Connection as _, Executor as _, PgConnection};

    use super::*;

    fn servers(postgres: &PrivatePostgres, database: &str) -> Servers {
        Servers {
            database_url: postgres.at().url(database, schema::SERVICE),
            owner_url: Some(postgres.at().url(database, schema::OWNER)),
            admin_url: None,
            log_id: LogId::default(),
            redis_url: String::new(),
            amqp_url: String::new(),
            local: None,
        }
    }

    async fn refusal(servers: &Servers) -> String {
        servers.connect(2).await.map(drop).expect_err("it is not up to date").to_string()
    }

    /// As the image runs it: one statement after the other.
    async fn run_deploy_sql(postgres: &PrivatePostgres) {
        let mut admin = PgConnection::connect(&postgres.at().superuser_url("postgres")).await.expect("it answers");
        let sql = include_str!("../deploy/postgres.sql");
        let sql: String = sql.lines().filter(|line| !line.starts_with("--")).collect();
        for statement in sql.split_terminator(';') {
            admin.execute(statement).await.expect("the statement is right");
        }
    }

    #[tokio::test]
    async fn the_files_in_deploy_make_a_database_that_waybill_takes_and_looking_does_not_migrate() {
        let postgres = PrivatePostgres::create().await.expect("a server");
        let compose = servers(&postgres, "waybill");
        assert!(refusal(&compose).await.contains("not set up: run `waybill migrate`"), "no role");
        run_deploy_sql(&postgres).await;
        assert!(refusal(&servers(&postgres, "none")).await.contains("not set up"), "no database");
        for _ in 0..2 {
            assert_eq!(refusal(&compose).await, "the database has no schema yet: run `waybill migrate`");
        }
        for _ in 0..2 {
            compose.migrate().await.expect("the owner may do all that it takes, and the roles are there");
            compose.connect(2).await.expect("it is up to date");
        }
        schema::ensure_roles(&postgres.at().superuser_url("postgres")).await.expect("nothing is to be done");

        let mut owner = PgConnection::connect(&postgres.at().url("waybill", schema::OWNER)).await.expect("it answers");
        let newest = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
        owner.execute(newest).await.expect("as an older release leaves it");
        assert!(refusal(&compose).await.starts_with("the database lacks 1 of "));
    }

    #[tokio::test]
    async fn a_log_is_named_once_and_a_database_that_holds_another_one_is_refused() {
        const EVENT: &str =
            "INSERT INTO events VALUES (1, 'test-a', 1, gen_random_uuid(), 'Tested', 1, '{}', '{}', now())";
        let postgres = PrivatePostgres::create().await.expect("a server");
        run_deploy_sql(&postgres).await;
        let named = |name: &str| Servers { log_id: name.parse().expect("a name"), ..servers(&postgres, "waybill") };
        let mut admin = PgConnection::connect(&postgres.at().superuser_url("waybill")).await.expect("it answers");
        let refused = async |name: &str| {
            let error = named(name).migrate().await.expect_err("it is another log").to_string();
            assert!(error.contains(&format!("and not {name}: correct log.id")), "{error}");
            assert!(refusal(&named(name)).await.contains(&format!("and not {name}: correct log.id")));
        };
        for name in ["main", "north", "north"] {
            named(name).migrate().await.expect("it is empty, and has no name of its own");
            named(name).connect(2).await.expect("it is the log that is meant");
        }
        refused("south").await;
        refused("main").await;
        // As it was before the database knew: with events, named by the configuration alone, and read under that name.
        admin.execute("UPDATE log_head SET log_id = 'main'").await.expect("a superuser may");
        admin.execute(EVENT).await.expect("a superuser may");
        refused("south").await;
        let checkpoint = "INSERT INTO checkpoints (reader, log_id, position, event_id) SELECT 'relay', 'south', 1, event_id FROM events";
        admin.execute(checkpoint).await.expect("a superuser may");
        refused("north").await;
        named("south").migrate().await.expect("all that read it know it as south");
        named("south").connect(2).await.expect("it is the log that is meant");
        refused("main").await;
    }

    #[test]
    fn the_configuration_in_deploy_names_what_compose_starts() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/waybill.toml");
        let config = crate::config::load(Some(&path)).expect("it can be read");
        assert!(!without_url(&config).any(), "every server is named");
        let compose = include_str!("../deploy/compose.yaml");
        let sql = include_str!("../deploy/postgres.sql");
        for (url, role) in [(config.database.url, schema::SERVICE), (config.database.owner_url, schema::OWNER)] {
            let url = reqwest::Url::parse(&url.expect("it is named")).expect("a URL");
            let password = url.password().expect("compose asks for one");
            assert!(sql.contains(&format!("CREATE ROLE {role} LOGIN")) && url.username() == role, "{url}");
            assert!(sql.contains(&format!("PASSWORD '{password}'")), "{url}");
            assert!(url.path() == "/waybill" && sql.contains("CREATE DATABASE waybill OWNER waybill_owner"), "{url}");
            assert!(compose.contains("127.0.0.1:5433:5432") && url.port() == Some(5433), "{url}");
        }
        assert!(compose.contains("./postgres.sql:/docker-entrypoint-initdb.d/"), "{compose}");
        assert!(compose.contains("127.0.0.1:6380:6379") && config.redis.url.is_some_and(|url| url.ends_with(":6380")));
        let rabbitmq = config.rabbitmq.url.expect("it is named");
        assert!(compose.contains("127.0.0.1:5673:5672") && rabbitmq.contains("waybill:waybill@127.0.0.1:5673/"));
    }
}
