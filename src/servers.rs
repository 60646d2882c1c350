//! Which servers to use: those of the configuration, else private ones that are started here; and the schema on them.

use std::path::Path;

use anyhow::Context as _;
use events::schema;
use local_services::{LocalServices, Needs, Options, Reporter};

use crate::config::Config;

/// The database's name on a private server.
const DATABASE: &str = "waybill";

/// Where everything is. Keeps the private servers running for as long as it lives.
#[derive(Debug)]
pub(crate) struct Servers {
    /// As `waybill_service`.
    pub database_url: String,
    /// As the owner; none where only the services' URL is configured.
    pub owner_url: Option<String>,
    pub redis_url: String,
    pub amqp_url: String,
    pub local: Option<LocalServices>,
}

impl Servers {
    /// Takes configured servers as they are and starts the others privately; brings the schema up to date where it may.
    pub(crate) async fn provide(config: &Config, reporter: &dyn Reporter) -> anyhow::Result<Self> {
        let needs = Needs {
            postgres: config.database.url.is_none(),
            redis: config.redis.url.is_none(),
            rabbitmq: config.rabbitmq.url.is_none(),
        };
        let local = if needs.postgres || needs.redis || needs.rabbitmq {
            let checkout = checkout(config)?;
            let options = Options { needs, ..Options::new(checkout) };
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
        let servers = Self {
            database_url,
            owner_url,
            redis_url: config.redis.url.clone().or(redis).context("no Redis is configured and none was started")?,
            amqp_url: config
                .rabbitmq
                .url
                .clone()
                .or(rabbitmq)
                .context("no RabbitMQ is configured and none was started")?,
            local,
        };
        servers.look_at_urls(config)?;
        servers.prepare(admin_url.as_deref()).await?;
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

    /// Roles, database and schema, where the connections for that are known.
    async fn prepare(&self, admin_url: Option<&str>) -> anyhow::Result<()> {
        if let Some(admin_url) = admin_url {
            schema::ensure_roles(admin_url).await.context("cannot create the database roles")?;
            if self.local.is_some() {
                schema::ensure_database(admin_url, DATABASE).await.context("cannot create the database")?;
            }
        }
        if let Some(owner_url) = &self.owner_url {
            schema::migrate(owner_url).await.context("cannot bring the schema up to date")?;
        }
        Ok(())
    }
}

/// The folder that private servers belong to: the parent of the files directory.
pub(crate) fn checkout(config: &Config) -> anyhow::Result<std::path::PathBuf> {
    let directory = std::path::absolute(&config.files.directory).context("cannot tell where the files directory is")?;
    Ok(directory.parent().map_or_else(|| directory.clone(), Path::to_path_buf))
}
