//! Runs roles in one process: starts them, tells whether they are ready, stops them in order.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use events::{Log, SystemClock, SystemIds, Wake, participant::Participant};
use futures_util::FutureExt;
use http_api::{HttpMetrics, Limits};
use projections::Followed;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::router::OpenApiRouter;
use write_side::{Deciders, EventStore, PriceList, StoreError, domain::inventory::Inventory};

use crate::{config::Config, database, metrics::RoleMetrics, roles::Role, servers::Servers};

/// How long requests under way may take to end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long each group of roles may take to end.
const STOP: Duration = Duration::from_secs(10);

/// Roles that run. Stop it: dropping it leaves them to the end of the runtime.
pub(crate) struct Platform {
    /// Where HTTP is answered, if a role does.
    pub http: Option<SocketAddr>,
    pub log: Log,
    /// In the order in which they are stopped: who takes work in first, who only follows last.
    stages: [Stage; 3],
    failures: mpsc::Receiver<(&'static str, anyhow::Error)>,
}

/// Roles that stop together.
#[derive(Clone, Default)]
struct Stage {
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

/// What the roles of a process share.
struct Shared {
    config: Config,
    pool: PgPool,
    log: Log,
    wake: Wake,
    /// For the projector and the queries: one's own, and those of other databases.
    logs: Vec<Followed>,
    store: EventStore,
    /// One a location, for the command endpoints and the participant alike.
    owners: Deciders<Inventory>,
    sagas: sagas::Config,
    projections: projections::Config,
    metrics: RoleMetrics,
    failures: mpsc::Sender<(&'static str, anyhow::Error)>,
}

impl Platform {
    /// Starts the roles; returns when each has begun, not when each has caught up.
    pub(crate) async fn start(config: &Config, servers: &Servers, roles: &[Role]) -> anyhow::Result<Self> {
        let stages: [Stage; 3] = Default::default();
        let [front, middle, back] = &stages;
        let pool = database::connect(&servers.database_url, config.database.connections).await?;
        let wake = Wake::default();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let store = EventStore::start(
            config.store.clone(),
            pool.clone(),
            config.log.id.clone(),
            clock,
            ids,
            wake.clone(),
            &back.tracker,
        )
        .await
        .context("cannot open the event log")?;
        back.tracker.spawn(wake.clone().exchange(pool.clone(), back.shutdown.clone()));
        let (failures, failed) = mpsc::channel(Role::ALL.len());
        let log = store.log().clone();
        let own = Followed { log: log.clone(), wake: wake.clone() };
        let logs = std::iter::once(own).chain(follow(config, roles, back)?).collect();
        let shared = Shared {
            config: config.clone(),
            pool,
            log: log.clone(),
            wake,
            logs,
            owners: Deciders::new(store.clone(), back.tracker.clone()),
            store,
            sagas: servers.sagas(&config.sagas),
            projections: servers.projections(config),
            metrics: RoleMetrics::default(),
            failures,
        };
        // First of all: with a port in use, no role begins its work.
        let http = if roles.contains(&Role::Commands) || roles.contains(&Role::Queries) {
            Some(shared.serve(roles, front, back).await?)
        } else {
            None
        };
        shared.watch_history(back);
        for &role in roles {
            shared.start(role, middle, back);
        }
        Ok(Self { http, log, stages, failures: failed })
    }

    /// Waits for a role that cannot go on without a person; names it and says why.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        match self.failures.recv().await {
            Some((role, error)) => error.context(format!("the role {role} has stopped")),
            None => std::future::pending().await,
        }
    }

    /// Where HTTP is answered, as a URL.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        let addr = self.http.context("no role of this process answers HTTP")?;
        Ok(format!("http://{addr}"))
    }

    /// Stops taking work, lets what is under way end, then stops those who follow. Bounded.
    pub(crate) async fn stop(self) {
        for (number, stage) in self.stages.into_iter().enumerate() {
            stage.shutdown.cancel();
            stage.tracker.close();
            if number == 2 {
                return; // the batchers end with the last store; what they took is answered already
            }
            if tokio::time::timeout(STOP, stage.tracker.wait()).await.is_err() {
                tracing::warn!(stage = number, "roles did not end in time and are abandoned");
            }
        }
    }
}

/// Opens the logs that are followed beside one's own, if a role reads them, and hears of what is new in them.
fn follow(config: &Config, roles: &[Role], stage: &Stage) -> anyhow::Result<Vec<Followed>> {
    if !roles.contains(&Role::Projector) && !roles.contains(&Role::Queries) {
        return Ok(Vec::new());
    }
    let followed =
        database::followed(&config.log.follow)?.into_iter().map(|log| Followed { log, wake: Wake::default() });
    let followed = followed.collect::<Vec<_>>();
    for Followed { log, wake } in &followed {
        stage.tracker.spawn(wake.clone().exchange(log.pool().clone(), stage.shutdown.clone()));
    }
    Ok(followed)
}

impl Shared {
    /// Starts a role that does not answer HTTP.
    fn start(&self, role: Role, middle: &Stage, back: &Stage) {
        let (store, health) = (self.store.clone(), &self.metrics);
        match role {
            Role::Commands | Role::Queries => (),
            Role::Relay => {
                let (config, health, shutdown) = (self.sagas.clone(), health.relay.clone(), middle.shutdown.clone());
                self.spawn("relay", middle, sagas::relay::run(config, store, health, shutdown));
            }
            Role::Sagas => {
                let (config, health, shutdown) = (self.sagas.clone(), health.sagas.clone(), middle.shutdown.clone());
                self.spawn("sagas", middle, sagas::runner::run(config, store, health, shutdown));
            }
            Role::Payment => self.participant("payment", Participant::Payment, middle),
            Role::Inventory => self.participant("inventory", Participant::Inventory, middle),
            Role::Shipping => self.participant("shipping", Participant::Shipping, middle),
            Role::Projector => {
                let parts = projections::Parts { logs: self.logs.clone(), handle: health.projections.clone() };
                let (config, shutdown) = (self.projections.clone(), back.shutdown.clone());
                self.spawn("projector", back, projections::run(config, parts, shutdown));
            }
            Role::Maintainer => {
                let (config, room) = (self.config.maintainer.clone(), health.room.clone());
                back.tracker.spawn(write_side::maintain(config, self.log.clone(), room, back.shutdown.clone()));
            }
        }
    }

    /// A log that lost what this process had committed takes nothing more from it: the process ends.
    fn watch_history(&self, back: &Stage) {
        let (store, shutdown) = (self.store.clone(), back.shutdown.clone());
        self.spawn("event log", back, async move {
            shutdown.run_until_cancelled(store.history_changed()).await.map_or(Ok::<_, StoreError>(()), Err)
        });
    }

    fn participant(&self, name: &'static str, participant: Participant, stage: &Stage) {
        let (config, health) = (self.sagas.clone(), self.metrics.participant(participant));
        let (store, owners, shutdown) = (self.store.clone(), self.owners.clone(), stage.shutdown.clone());
        self.spawn(name, stage, sagas::participants::run(config, participant, store, owners, health, shutdown));
    }

    fn spawn<E>(&self, name: &'static str, stage: &Stage, role: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let failures = self.failures.clone();
        stage.tracker.spawn(async move {
            let ended = AssertUnwindSafe(role).catch_unwind().await;
            let error = match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(anyhow::Error::new(error)),
                Err(_) => Some(anyhow::anyhow!("it panicked; the log tells where")),
            };
            if let Some(error) = error {
                tracing::error!(role = name, error = format!("{error:#}"), "a role has stopped and needs a person");
                let _ = failures.send((name, error)).await;
            }
        });
    }

    /// Answers HTTP for the roles that do.
    async fn serve(&self, roles: &[Role], front: &Stage, back: &Stage) -> anyhow::Result<SocketAddr> {
        let mut api = OpenApiRouter::with_openapi(crate::api::description());
        if roles.contains(&Role::Commands) {
            api = api.merge(write_side::http::router(self.write_side(back).await?));
        }
        if roles.contains(&Role::Queries) {
            api = api.merge(read_side::router(&self.config.queries, self.read_side(roles, front)?));
        }
        let (routes, description) = api.split_for_parts();
        let mut registry = Registry::with_prefix("waybill");
        let http_metrics = HttpMetrics::register(&mut registry);
        self.metrics.register(&mut registry, self.wake.clone(), self.store.clone());
        let ids = Arc::new(SystemIds);
        let checks = self.metrics.readiness(roles, &self.pool);
        let router = Router::new()
            .merge(http_api::with_standard_layers(routes, &Limits::default(), http_metrics, ids))
            .merge(http_api::docs(description))
            .merge(http_api::health(Arc::new(registry), checks));
        let listen = self.config.http.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "cannot listen on {listen}: set another address with WAYBILL__HTTP__LISTEN, or port 0 for a free one"
            )
        })?;
        let addr = listener.local_addr().context("cannot tell the address of the listener")?;
        let shutdown = front.shutdown.clone();
        front.tracker.spawn(async move {
            if let Err(error) = http_api::serve(listener, router, shutdown, DRAIN).await {
                tracing::error!(%error, "HTTP is no longer answered");
            }
        });
        Ok(addr)
    }

    async fn write_side(&self, back: &Stage) -> anyhow::Result<write_side::http::WriteSide> {
        let (prices, from) = PriceList::load(&self.log).await.context("cannot load the prices")?;
        let _ = self.metrics.prices.set(prices.clone());
        let (following, log, wake) = (prices.clone(), self.log.clone(), self.wake.clone());
        let shutdown = back.shutdown.clone();
        self.spawn("price list", back, following.follow(log, from, wake, shutdown));
        Ok(write_side::http::WriteSide {
            store: self.store.clone(),
            prices,
            inventory: self.owners.clone(),
            location: self.config.shop.location.clone(),
            webhook_secret: write_side::http::WebhookSecret::new(&self.config.simulator.webhook_secret),
        })
    }

    fn read_side(&self, roles: &[Role], front: &Stage) -> anyhow::Result<read_side::Parts> {
        let handle = roles.contains(&Role::Projector).then(|| self.metrics.projections.clone());
        let log_id = self.log.id().clone();
        let views = projections::Views::new(&self.projections, log_id.clone(), handle.clone());
        Ok(read_side::Parts {
            views: views.context("the Redis URL cannot be used")?,
            search: projections::Indexes::new(&self.projections, log_id, handle.clone()),
            handle,
            logs: self.logs.iter().map(|followed| followed.log.clone()).collect(),
            tasks: front.tracker.clone(),
            shutdown: front.shutdown.clone(),
        })
    }
}
