//! What several subcommands do alike: all roles and the simulator in this process, and waiting until nothing is under way.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use events::SystemClock;
use local_services::Needs;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::output;
use crate::{
    config::Config,
    platform::Platform,
    roles::Role,
    servers::Servers,
    simulator::{self, Simulator, SimulatorConfig},
};

/// The longest that a stop may take.
const STOP: Duration = Duration::from_secs(10);

/// Everything in one process. Stop it, so that what is under way ends well.
pub(crate) struct Session {
    pub platform: Platform,
    pub servers: Servers,
    pub simulator_url: String,
    simulator: Simulator,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Session {
    /// Servers, simulator and all roles. Says on standard error what is started.
    pub(crate) async fn start(config: &mut Config) -> anyhow::Result<Self> {
        let servers = Servers::up_to_date(config, &say).await?;
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let simulator = start_simulator(config, None, &shutdown, &tracker).await?;
        let simulator_url = format!("http://{}", simulator.addr);
        config.sagas.providers.payment_url.clone_from(&simulator_url);
        config.sagas.providers.carrier_url.clone_from(&simulator_url);
        let platform = Platform::start(config, &servers, &Role::ALL).await?;
        simulator.set_waybill_url(&platform.url()?).context("the simulator cannot send webhooks here")?;
        Ok(Self { platform, servers, simulator_url, simulator, shutdown, tracker })
    }

    /// Where Waybill answers.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        self.platform.url()
    }

    pub(crate) async fn stop(self) {
        self.platform.stop().await;
        self.shutdown.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(STOP, self.tracker.wait()).await;
        drop(self.simulator);
    }
}

/// The simulator on its ledgers beside the private servers.
pub(crate) async fn start_simulator(
    config: &Config,
    waybill_url: Option<String>,
    shutdown: &CancellationToken,
    tracker: &TaskTracker,
) -> anyhow::Result<Simulator> {
    let settings = SimulatorConfig {
        listen: config.simulator.listen,
        waybill_url,
        webhook_secret: config.simulator.webhook_secret.clone(),
        ledger_dir: config.files.directory.join("simulator"),
        hang: Duration::from_millis(config.simulator.hang_ms),
        seed: config.simulator.seed,
        clock: Arc::new(SystemClock),
    };
    simulator::start(settings, shutdown.clone(), tracker).await.context("cannot start the simulator")
}

/// A connection pool for looking at the log, without any role, and Redis beside it. Nothing is migrated: a schema that is missing
/// or older is said.
pub(crate) async fn pool(config: &Config) -> anyhow::Result<(PgPool, Servers)> {
    pool_with(config, Needs::POSTGRES_AND_REDIS).await
}

/// The same with Postgres alone.
pub(crate) async fn log_pool(config: &Config) -> anyhow::Result<(PgPool, Servers)> {
    pool_with(config, Needs::POSTGRES).await
}

/// Brings the schema up to date first, for what writes beside the log.
pub(crate) async fn migrated(config: &Config) -> anyhow::Result<Servers> {
    let servers = Servers::provide(config, Needs::POSTGRES_AND_REDIS, &say).await?;
    servers.migrate().await?;
    Ok(servers)
}

async fn pool_with(config: &Config, needs: Needs) -> anyhow::Result<(PgPool, Servers)> {
    let servers = Servers::provide(config, needs, &say).await?;
    let pool = servers.connect(4).await?;
    Ok((pool, servers))
}

/// What servers do that start is for the person who waits.
pub(crate) fn say(sentence: &str) {
    output::note(sentence);
}

/// How many of the orders ended in which way, as their sagas' streams tell: `completed`, `cancelled`, `needs attention` (a person
/// has it), `under way`.
pub(crate) async fn endings(pool: &PgPool, orders: &[Uuid]) -> anyhow::Result<BTreeMap<String, u64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT ending, count(*) FROM (SELECT CASE \
             WHEN bool_or(event_type = 'FulfilmentCompleted') THEN 'completed' \
             WHEN bool_or(event_type = 'FulfilmentUnwound') THEN 'cancelled' \
             WHEN bool_or(event_type = 'NeedsAttention') THEN 'needs attention' \
             ELSE 'under way' END AS ending \
         FROM unnest($1) AS wanted (stream) LEFT JOIN events ON stream_id = stream GROUP BY stream) AS sagas GROUP BY ending",
    )
    .bind(orders.iter().map(|id| format!("fulfilment-{id}")).collect::<Vec<_>>())
    .fetch_all(pool)
    .await
    .context("cannot count how the orders ended")?;
    Ok(rows.into_iter().map(|(ending, count)| (ending, count.unsigned_abs())).collect())
}

/// Orders whose saga has not ended and is not with a person.
pub(crate) async fn open_orders(pool: &PgPool) -> anyhow::Result<u64> {
    let open: i64 = sqlx::query_scalar(OPEN).fetch_one(pool).await.context("cannot count the open orders")?;
    Ok(u64::try_from(open).unwrap_or_default())
}

/// Orders that the saga role has not seen yet, and sagas that wait for something.
const OPEN: &str = "SELECT (SELECT count(*) FROM saga_deadlines) + (SELECT count(*) FROM events WHERE stream_id LIKE 'order-%' AND event_type = 'OrderPlaced' \
    AND position > (SELECT coalesce(max(position), 0) FROM checkpoints WHERE reader = 'sagas'))";

/// Waits until no order is under way; says how many are left.
///
/// # Errors
/// Nothing moved for `patience`: names how many are open, and where to look.
pub(crate) async fn settled(pool: &PgPool, patience: Duration) -> anyhow::Result<()> {
    let bar = output::bar(0, "orders under way");
    let (mut fewest, mut since) = (u64::MAX, Instant::now());
    loop {
        let open = open_orders(pool).await?;
        if open == 0 {
            bar.finish_and_clear();
            return Ok(());
        }
        if open < fewest {
            (fewest, since) = (open, Instant::now());
        }
        bar.set_length(bar.length().unwrap_or_default().max(open));
        bar.set_position(bar.length().unwrap_or_default() - open);
        anyhow::ensure!(
            since.elapsed() < patience,
            "{open} orders are still under way and nothing moved for {} s: see /v1/orders/{{id}}/timeline",
            patience.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
