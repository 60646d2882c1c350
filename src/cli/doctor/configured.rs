//! What the configured servers say of themselves, and what of it Waybill cannot live with. Asks, and changes nothing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use events::{LogId, schema};
use futures_util::future::join_all;
use reqwest::Url;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use crate::{
    config::{Config, FollowedLog},
    servers,
};

/// Each question to a server has an answer in this time, or there is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that the configuration names.
#[derive(Debug, Serialize)]
pub(super) struct Configured {
    pub(super) server: &'static str,
    /// Settings that matter, as far as it answers.
    pub(super) says: BTreeMap<&'static str, String>,
    /// In words, with what to do about them.
    pub(super) problems: Vec<String>,
}

pub(super) async fn ask(config: &Config) -> Vec<Configured> {
    let (postgres, owner, redis, rabbitmq) = tokio::join!(
        ask_one("database", config.database.url.as_deref(), async |url: &str, found: &mut Configured| {
            ask_postgres(url, &config.log.id, found).await
        }),
        ask_one("owner's database", config.database.owner_url.as_deref(), ask_owner),
        ask_one("Redis", config.redis.url.as_deref(), ask_redis),
        ask_one("RabbitMQ", config.rabbitmq.url.as_deref(), ask_rabbitmq),
    );
    let followed = join_all(config.log.follow.iter().map(|FollowedLog { id, url }| {
        ask_one("followed log", Some(url), async |url: &str, found: &mut Configured| {
            found.says.insert("log", id.to_string());
            ask_postgres(url, id, found).await
        })
    }));
    let own = [postgres, owner, redis, rabbitmq].into_iter();
    own.chain(followed.await).flatten().collect()
}

async fn ask_one(
    server: &'static str,
    url: Option<&str>,
    ask: impl AsyncFn(&str, &mut Configured) -> anyhow::Result<()>,
) -> Option<Configured> {
    let mut found = Configured { server, says: BTreeMap::new(), problems: Vec::new() };
    let asked = tokio::time::timeout(PATIENCE, ask(url?, &mut found)).await;
    let seconds = PATIENCE.as_secs();
    match asked {
        Ok(Ok(())) => (),
        Ok(Err(error)) => found.problems.push(format!("{error:#}")),
        Err(_) => found.problems.push(format!("no answer within {seconds} s")),
    }
    Some(found)
}

async fn ask_postgres(url: &str, log_id: &LogId, found: &mut Configured) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await.context("cannot connect to Postgres")?;
    for setting in ["fsync", "full_page_writes"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .context("cannot read its settings")?;
        if value == "off" {
            found.problems.push(format!("{setting} is off: an order that was answered could be lost; set it to on"));
        }
        found.says.insert(setting, value);
    }
    for role in schema::missing_roles(&mut connection).await? {
        found.problems.push(format!("the role {role} is missing: create it as deploy/postgres.sql does"));
    }
    let pending = schema::pending(&mut connection).await?;
    found.says.insert("migrations pending", pending.to_string());
    found.problems.extend(servers::lack(pending));
    if pending == 0 {
        schema::ensure_log(&mut connection, log_id).await?;
        let lack = schema::lack_of_locks(&mut connection).await.context("cannot count the log's partitions")?;
        found.problems.extend(lack);
    }
    Ok(())
}

async fn ask_owner(url: &str, _found: &mut Configured) -> anyhow::Result<()> {
    PgConnection::connect(url).await.map(drop).context("cannot connect to Postgres")
}

async fn ask_redis(url: &str, found: &mut Configured) -> anyhow::Result<()> {
    let client = redis::Client::open(url).context("the URL cannot be used")?;
    let mut connection = client.get_multiplexed_async_connection().await.context("cannot connect")?;
    // INFO and not CONFIG, which managed servers refuse.
    let info: String =
        redis::cmd("INFO").arg("memory").query_async(&mut connection).await.context("it does not tell its settings")?;
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
    let policy = policy.map_or("not told", str::trim).to_owned();
    if policy != "noeviction" {
        found.problems.push(format!("maxmemory-policy is {policy}: views would lose entries; set it to noeviction"));
    }
    found.says.insert("maxmemory-policy", policy);
    Ok(())
}

/// Whether it greets; who may log in and do what only shows when the roles start.
async fn ask_rabbitmq(url: &str, found: &mut Configured) -> anyhow::Result<()> {
    let url = Url::parse(url).context("the URL cannot be used")?;
    let host = url.host_str().context("the URL names no host")?.trim_matches(['[', ']']);
    let port = url.port().unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
    let at = format!("{host}:{port}");
    if url.scheme() == "amqps" {
        tokio::net::TcpStream::connect((host, port)).await.with_context(|| format!("cannot connect to {at}"))?;
    } else {
        anyhow::ensure!(
            local_services::greets_as_rabbitmq(host, port).await,
            "nobody at {at} answers as RabbitMQ does"
        );
    }
    found.says.insert("answers at", at);
    Ok(())
}
