//! What the roles of this process say about themselves: gauges for `/metrics`, checks for `/readyz`.

use events::{Wake, participant::Participant};
use http_api::ReadinessCheck;
use projections::{Gauge, Handle, LogGauge, PROJECTIONS, ProjectionState};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use sagas::{Health, Reading, relay::RelayHealth};
use sqlx::PgPool;
use write_side::{EventStore, LogRoom, Traffic};

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
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let projections = self.metrics.projections.gauges();
        let mut gauges = Gauges(&mut encoder);
        gauges.one(
            "log_position",
            "Newest position of the log that this process has heard of",
            self.wake.newest().0,
        )?;
        let Traffic { waiting, refused, batches, appends } = self.store.traffic();
        gauges.one("append_waiting", "Appends that wait for their turn", count(waiting))?;
        gauges.one("append_refused", "Appends refused because too many waited, since the start", count(refused))?;
        gauges.one("append_batches", "Transactions of appends since the start", count(batches))?;
        gauges.one("append_appends", "Appends in them", count(appends))?;
        if let Some((positions, bytes)) = self.metrics.room.read() {
            gauges.one("log_room_positions", "Positions left before a partition is missing", positions)?;
            gauges.one("log_bytes", "What the database takes on disk", bytes)?;
        }
        gauges.each("role_connected", "1 when ready for work", "role", roles(|r| i64::from(r.connected)))?;
        gauges.each("role_blocked", "1 when the broker takes nothing", "role", roles(|r| i64::from(r.blocked)))?;
        gauges.each("role_position", "Position up to which the work is done", "role", roles(|r| r.position))?;
        let handled = readings.iter().map(|(name, reading)| (*name, count(reading.handled)));
        gauges.each("role_handled", "Messages or events handled since the start", "role", handled)?;
        let repeated = readings.iter().map(|(name, reading)| (*name, count(reading.repeated)));
        gauges.each("role_repeated", "Of those, sent or delivered once more", "role", repeated)?;
        let failed = readings.iter().map(|(name, reading)| (*name, count(reading.failed)));
        gauges.each("role_failed", "What had to be given up", "role", failed)?;
        let help = "Position of the log that the projection has applied";
        gauges.each_log("projection_position", help, "projection", &projections, |log| log.position)?;
        let help = "Position up to which each event of the log is known to be applied once";
        gauges.each_log("verified_position", help, "reader", &projections, |log| log.verified_position)?;
        let help = "Events of the log not applied yet";
        gauges.each_log("projection_lag_events", help, "projection", &projections, |log| log.lag_events)?;
        let healthy = projections.iter().map(|gauge| (gauge.name, flag(gauge.healthy)));
        gauges.each("projection_healthy", "0 when it needs a person", "projection", healthy)
    }
}

struct Gauges<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Gauges<'_, '_> {
    fn one(&mut self, name: &str, help: &str, value: i64) -> Result<(), std::fmt::Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// One a projection and log.
    fn each_log(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        projections: &[Gauge],
        value: fn(&LogGauge) -> i64,
    ) -> Result<(), std::fmt::Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (projection, log) in
            projections.iter().flat_map(|gauge| gauge.logs.iter().map(move |log| (gauge.name, log)))
        {
            let labels = [(label, projection), ("log", log.log_id.as_str())];
            ConstGauge::new(value(log)).encode(encoder.encode_family(&labels)?)?;
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
