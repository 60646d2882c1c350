//! The configuration: defaults, then `waybill.toml`, then `WAYBILL__SECTION__KEY`. Only this file and `main.rs` read the environment.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use events::{LocationId, LogId};
use serde::Deserialize;
use write_side::{MaintainerConfig, StoreConfig};

/// Everything that can be set. A server without a URL is started privately, beside the checkout.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub log: LogSettings,
    pub database: Database,
    pub redis: Redis,
    pub rabbitmq: RabbitMq,
    pub http: Http,
    pub store: StoreConfig,
    pub maintainer: MaintainerConfig,
    pub sagas: sagas::Config,
    pub projections: projections::Config,
    pub queries: read_side::Config,
    pub shop: Shop,
    pub simulator: Simulator,
    pub files: Files,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSettings {
    /// Names the log in checkpoints and tokens.
    pub id: LogId,
    /// Logs beside it that the projector and the queries read, each in a database of its own.
    pub follow: Vec<FollowedLog>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowedLog {
    /// As that database names its log.
    pub id: LogId,
    /// What the projector and the queries connect as: the role `waybill_service` there, or a member of it.
    pub url: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// What the services connect as: the role `waybill_service`, or a member of it.
    pub url: Option<String>,
    /// What migrations connect as: the owner of the database.
    pub owner_url: Option<String>,
    /// May create roles and databases; only needed while they are missing.
    pub admin_url: Option<String>,
    /// Connections a process keeps for reading and for what is not an append.
    pub connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, owner_url: None, admin_url: None, connections: 16 }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redis {
    pub url: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RabbitMq {
    /// `amqp://user:password@host:port/vhost`.
    pub url: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Loopback unless told otherwise: who may do what is not checked yet.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)) }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Simulator {
    pub listen: SocketAddr,
    /// Shared by provider, carrier and Waybill; signs webhooks.
    pub webhook_secret: String,
    /// How long a scripted hang lasts.
    pub hang_ms: u64,
    pub seed: u64,
}

impl Default for Simulator {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            webhook_secret: "not-a-secret-loopback-only".into(),
            hang_ms: 30_000,
            seed: 1,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Shop {
    /// Where an order's goods are taken from unless it says otherwise.
    pub location: LocationId,
}

impl Default for Shop {
    fn default() -> Self {
        Self { location: "main".parse().expect("a plain word is a location") }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Files {
    /// Private servers, indexes and the simulator's ledger lie here.
    pub directory: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { directory: ".waybill".into() }
    }
}

impl Config {
    /// For a run that prints its addresses and ends by itself: free ports, so that it never collides with anything.
    pub(crate) fn take_free_ports(&mut self) {
        self.http.listen.set_port(0);
        self.simulator.listen.set_port(0);
    }

    /// Where the search indexes lie: in the files directory, unless another folder is set.
    pub(crate) fn index_dir(&self) -> PathBuf {
        let untouched = projections::Config::default().index_dir;
        if self.projections.index_dir == untouched {
            self.files.directory.join("index")
        } else {
            self.projections.index_dir.clone()
        }
    }
}

/// Reads `path`, or `waybill.toml` in the current folder if it is there, and the environment.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, config::ConfigError> {
    let file = match path {
        Some(path) => config::File::from(path).required(true),
        // By its full name: a program of ours called `waybill` may lie here too.
        None => config::File::from(Path::new("waybill.toml")).required(false),
    };
    let environment =
        config::Environment::with_prefix("WAYBILL").prefix_separator("__").separator("__").try_parsing(true);
    let config = config::Config::builder().add_source(file).add_source(environment).build()?;
    checked(config.try_deserialize()?)
}

/// Refuses what each setting allows and all together do not.
fn checked(config: Config) -> Result<Config, config::ConfigError> {
    let mut ids = vec![&config.log.id];
    for FollowedLog { id, .. } in &config.log.follow {
        if ids.contains(&id) {
            return Err(config::ConfigError::Message(format!(
                "log.follow: the log {id} is named twice, or is the one of log.id: give each log a name of its own"
            )));
        }
        ids.push(id);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Config, config::ConfigError> {
        let source = config::File::from_str(toml, config::FileFormat::Toml);
        checked(config::Config::builder().add_source(source).build()?.try_deserialize()?)
    }

    #[test]
    fn a_log_is_followed_once() {
        let followed =
            |id: &str| format!("[[log.follow]]\nid = '{id}'\nurl = 'postgres://waybill_service@eu/waybill'\n");
        let config = parse(&followed("eu")).expect("another log");
        assert_eq!(config.log.follow[0].id.to_string(), "eu");
        for twice in [followed("main"), followed("eu") + &followed("eu")] {
            let error = parse(&twice).expect_err("one name for two logs").to_string();
            assert!(error.contains("named twice"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_a_laptop() {
        let config = parse("").expect("everything has a default");
        assert!(config.http.listen.ip().is_loopback());
        assert!(config.database.url.is_none());
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let error = parse("[http]\nlisten_on = '0.0.0.0:80'").expect_err("no such key").to_string();
        assert!(error.contains("listen_on"), "{error}");
    }
}
