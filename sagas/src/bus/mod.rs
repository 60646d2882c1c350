//! Sessions with the broker: one connection is one task; any error or a missed sign of life ends it, and it is made again from
//! nothing. lapin's own recovery is not used.

pub(crate) mod acks;
pub(crate) mod consumer;
pub(crate) mod topology;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{StreamExt, future::BoxFuture};
use lapin::{Channel, Connection, ConnectionProperties, Event, uri::AMQPUri};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::BrokerConfig,
    error::{BusError, chain},
    health::Health,
};

/// A session that has lasted this long starts the pauses anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How to reach the broker, and how to speak with it.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub url: String,
    pub name: String,
    pub config: BrokerConfig,
    pub health: Health,
}

/// An open connection and the bound on every wait for it. Dropping it closes the connection.
pub(crate) struct Link {
    connection: Arc<Connection>,
    pub config: BrokerConfig,
    pub health: Health,
}

impl Broker {
    /// Runs sessions until shutdown, or until one fails in a way that no new session can mend.
    pub(crate) async fn supervise<'a>(
        &self,
        shutdown: &CancellationToken,
        session: impl Fn(Link) -> BoxFuture<'a, Result<(), BusError>>,
    ) -> Result<(), crate::Error> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(10))
            .without_max_times()
            .with_jitter();
        let mut pause = pauses.build();
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            let outcome = async {
                let link = self.connect().await?;
                self.health.connected(true);
                session(link).await
            };
            let outcome = shutdown.run_until_cancelled(outcome).await;
            self.health.connected(false);
            match outcome {
                None | Some(Ok(())) => break,
                Some(Err(BusError::Role(error))) if !error.is_transient() => return Err(error),
                Some(Err(error)) => {
                    tracing::warn!(
                        session = self.name,
                        error = chain(&error),
                        "the session with the broker ended and is made again"
                    );
                }
            }
            if started.elapsed() > HEALTHY_AFTER {
                pause = pauses.build();
            }
            let pause = pause.next().unwrap_or(HEALTHY_AFTER);
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        Ok(())
    }

    pub(crate) async fn connect(&self) -> Result<Link, BusError> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let connecting = async {
            match self.url.parse::<AMQPUri>() {
                Ok(mut uri) => {
                    uri.query.heartbeat.get_or_insert(self.config.heartbeat_s);
                    Connection::connect_uri(uri, properties).await
                }
                Err(_) => Connection::connect(&self.url, properties).await, // it says what is wrong with the URL
            }
        };
        let connection = within(self.config.timeout_ms, "connect", connecting).await?;
        Ok(Link { connection: Arc::new(connection), config: self.config.clone(), health: self.health.clone() })
    }
}

impl Drop for Link {
    /// A subscription that was given up before the broker answered lives on inside lapin and holds the connection open: as the
    /// single active consumer of its queue, it would swallow every message. Closing the connection ends it.
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (connection, limit) = (self.connection.clone(), self.config.timeout_ms);
        runtime.spawn(async move {
            if let Err(error) = within(limit, "close the connection", connection.close(200, "bye".into())).await {
                tracing::debug!(error = chain(&error), "a connection with the broker was not closed in order");
            }
        });
    }
}

impl Link {
    pub(crate) async fn channel(&self) -> Result<Channel, BusError> {
        within(self.config.timeout_ms, "open a channel", self.connection.create_channel()).await
    }

    /// Ends with an error when the connection shows no sign of life, or tells of its end. Watches for a blocked connection.
    pub(crate) async fn watch(&self) -> Result<(), BusError> {
        let channel = self.channel().await?;
        let mut events = self.connection.events_listener();
        let mut canary = tokio::time::interval(self.config.canary_ms);
        let mut blocked = false;
        self.health.blocked(false);
        loop {
            tokio::select! {
                // A blocked connection answers nothing until the alarm is over; that is no reason to end it.
                _ = canary.tick(), if !blocked => topology::sign_of_life(&channel, self.config.timeout_ms).await?,
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "the broker takes no messages for now");
                        blocked = true;
                        self.health.blocked(true);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!("the broker takes messages again");
                        blocked = false;
                        self.health.blocked(false);
                    }
                    Some(Event::Error(source)) => return Err(BusError::Broker { doing: "keep the connection", source }),
                    Some(_) => (),
                    None => return Err(BusError::Silent { doing: "keep the connection" }),
                },
            }
        }
    }
}

/// Every wait for the broker has a bound.
pub(crate) async fn within<T>(
    limit: Duration,
    doing: &'static str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BusError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|source| BusError::Broker { doing, source }),
        Err(_) => Err(BusError::Silent { doing }),
    }
}
