//! What the roles of this process say about themselves: gauges for `/metrics`, checks for `/readyz`.

use std::sync::{Arc, OnceLock};

use events::{Wake, participant::Participant};
use http_api::ReadinessCheck;
use projections::{Gauge, Handle, LogGauge, PROJECTIONS, ProjectionState};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use sagas::{Health, Reading, relay::RelayHealth};
use sqlx::PgPool;
use write_side::{EventStore, LogRoom, PriceList, Traffic};

use crate::roles::Role;

/// Handles that the roles write to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoleMetrics {
    pub relay: RelayHealth,
    pub sagas: Health,
    payment: Health,
    inventory: Health,
    shipping: Health,
    pub projections: Handle,
    pub room: LogRoom,
    /// Of the role that prices orders.
    pub prices: Arc<OnceLock<PriceList>>,
}

impl RoleMetrics {
    /// Of a participant with a queue; orders are handled by the saga role.
    pub(crate) fn participant(&self, participant: Participant) -> Health {
        match participant {
            Participant::Payment => self.payment.clone(),
            Participant::Inventory => self.inventory.clone(),
            Participant::Shipping => self.shipping.clone(),
            Participant::Order => self.sagas.clone(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry, wake: Wake, store: EventStore) {
        registry.register_collector(Box::new(Roles { metrics: self.clone(), wake, store }));
    }

    /// What this process cannot do its roles without.
    pub(crate) fn readiness(&self, roles: &[Role], pool: &PgPool) -> Vec<ReadinessCheck> {
        let pool = pool.clone();
        let postgres = ReadinessCheck::new("postgres", move || {
            let pool = pool.clone();
            async move { sqlx::query("SELECT 1").execute(&pool).await.map(drop).map_err(|_| "does not answer".into()) }
        });
        let mut checks = vec![postgres];
        for &role in roles {
            let connected = |name, health: &Health| {
                let health = health.clone();
                ReadinessCheck::new(name, move || {
                    let connected = health.read().connected;
                    async move { if connected { Ok(()) } else { Err("not connected".into()) } }
                })
            };
            match role {
                Role::Payment => checks.push(connected("payment", &self.payment)),
                Role::Inventory => checks.push(connected("inventory", &self.inventory)),
                Role::Shipping => checks.push(connected("shipping", &self.shipping)),
                Role::Projector => checks.push(projector(&self.projections)),
                // One process works, the others stand by: standing by is ready.
                Role::Relay | Role::Sagas | Role::Maintainer | Role::Commands | Role::Queries => (),
            }
        }
        checks
    }

    /// The readers of this process that keep no sum of what they read, and where they stand: a reader stops at what does not follow what it read
    /// before.
    fn followers<'r>(
        &self,
        readings: &'r [(&'static str, Reading)],
    ) -> impl Iterator<Item = (&'static str, i64)> + use<'r> {
        let prices = self.prices.get().map(|prices| ("price-list", prices.reached().0));
        let roles = readings.iter().map(|(name, reading)| (*name, reading.position));
        roles.chain(prices).filter(|(_, position)| *position > 0)
    }

    fn readings(&self) -> [(&'static str, Reading); 7] {
        [
            ("relay-commands", self.relay.commands.read()),
            ("relay-facts", self.relay.facts.read()),
            ("dead-letters", self.relay.dead_letters.read()),
            ("sagas", self.sagas.read()),
            ("payment", self.payment.read()),
            ("inventory", self.inventory.read()),
            ("shipping", self.shipping.read()),
        ]
    }
}

fn projector(handle: &Handle) -> ReadinessCheck {
    let handle = handle.clone();
    ReadinessCheck::new("projector", move || {
        // One that can follow some of its logs is ready; which it cannot, its gauges and `/v1/projections` tell.
        let stopped = |name: &&str| matches!(handle.state(name), ProjectionState::Stopped { .. });
        let stopped = PROJECTIONS.into_iter().find(stopped);
        async move { stopped.map_or(Ok(()), |name| Err(format!("{name} needs a person"))) }
    })
}

/// Read at each scrape.
struct Roles {
    metrics: RoleMetrics,
    wake: Wake,
    store: EventStore,
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roles").finish_non_exhaustive()
    }
}

impl Collector for Roles {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let readings = self.metrics.readings();
        let roles = |value: fn(&Reading) -> i64| readings.iter().map(move |(name, reading)| (*name, value(reading)));
        let flag = i64::from;
        let projections = self.metrics.projections.gauges();
        let mut gauges = Gauges(&mut encoder);
        gauges.one(
            "log_position",
            "Newest position of the log that this process has heard of",
            self.wake.newest().0,
        )?;
        let Traffic { waiting, refused, batches, appends } = self.store.traffic();
        gauges.one("append_waiting", "Appends that wait for their turn", i64::try_from(waiting).unwrap_or(i64::MAX))?;
        gauges.counter("append_refused", "Appends refused because too many waited", refused)?;
        gauges.counter("append_batches", "Transactions of appends", batches)?;
        gauges.counter("append_appends", "Appends in them", appends)?;
        if let Some((positions, bytes)) = self.metrics.room.read() {
            gauges.one("log_room_positions", "Positions left before a partition is missing", positions)?;
            gauges.one("log_bytes", "What the database takes on disk", bytes)?;
        }
        gauges.each("role_connected", "1 when ready for work", "role", roles(|r| i64::from(r.connected)))?;
        gauges.each("role_blocked", "1 when the broker takes nothing", "role", roles(|r| i64::from(r.blocked)))?;
        gauges.each("role_position", "Position up to which the work is done", "role", roles(|r| r.position))?;
        let newest = self.wake.newest().0;
        let lags = self.metrics.followers(&readings).map(|(name, position)| (name, (newest - position).max(0)));
        gauges.each("role_lag_events", "Events of the log that this reader has not come to yet", "role", lags)?;
        let counts = |value: fn(&Reading) -> u64| readings.iter().map(move |(name, reading)| (*name, value(reading)));
        gauges.counters("role_handled", "Messages or events handled", counts(|r| r.handled))?;
        gauges.counters("role_repeated", "Of those, sent or delivered once more", counts(|r| r.repeated))?;
        gauges.counters("role_failed", "What had to be given up", counts(|r| r.failed))?;
        let help = "Position of the log that the projection has applied";
        gauges.each_log("projection_position", help, "projection", of_each(&projections, |log| log.position))?;
        let help = "Position up to which the reader is known to have had each event of the log once";
        let log = self.store.log().id().as_str();
        let followers = self.metrics.followers(&readings).map(move |(name, position)| (name, log, position));
        let verified = of_each(&projections, |log| log.verified_position).chain(followers);
        gauges.each_log("verified_position", help, "reader", verified)?;
        let help = "Events of the log not applied yet";
        gauges.each_log("projection_lag_events", help, "projection", of_each(&projections, |log| log.lag_events))?;
        let healthy = projections.iter().map(|gauge| (gauge.name, flag(gauge.healthy)));
        gauges.each("projection_healthy", "0 when it needs a person", "projection", healthy)
    }
}

/// One a projection and log: the names of both, and the value.
fn of_each(projections: &[Gauge], value: fn(&LogGauge) -> i64) -> impl Iterator<Item = (&str, &str, i64)> {
    let logs = projections.iter().flat_map(|gauge| gauge.logs.iter().map(move |log| (gauge.name, log)));
    logs.map(move |(name, log)| (name, log.log_id.as_str(), value(log)))
}

struct Gauges<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Gauges<'_, '_> {
    fn one(&mut self, name: &str, help: &str, value: i64) -> Result<(), std::fmt::Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// Since the start of this process.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// Of roles, since the start of this process.
    fn counters<'n>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (&'n str, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (role, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&[("role", role)])?)?;
        }
        Ok(())
    }

    /// Of readers, each of a log.
    fn each_log<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'n str, &'n str, i64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (reader, log, value) in values {
            let labels = [(label, reader), ("log", log)];
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn each<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'n str, i64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labelled, value) in values {
            let labels = [(label, labelled)];
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
