//! Those who carry a saga's commands out: stock, money, parcels. Each command ends in an event, or is left to the saga's next
//! sending.
//!
//! An effect outside is recorded as an intent first, then asked for, then its outcome is recorded. An intent that was recorded
//! before, by a delivery that came to no end, has the provider asked for its status before anything else.

mod effect;
mod inventory;
mod payment;
mod shipping;

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use events::{CommandId, EffectKey, bus::CommandMessage, participant::Participant};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use write_side::{CommandError, Context, Deciders, EventStore, StoreError, domain::inventory::Inventory};

use crate::{
    Config, Error,
    bus::{Broker, consumer},
    error::chain,
    health::Health,
    providers::{HttpCarrier, HttpPaymentProvider},
};

/// Carries out the commands of one participant until shutdown. `Order` has no queue: the saga's own role commands it.
/// `owners`: those of the process, one a location; with two they would take turns in losing the race.
pub async fn run(
    config: Config,
    participant: Participant,
    store: EventStore,
    owners: Deciders<Inventory>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let broker = Broker {
        url: config.amqp_url.clone(),
        name: format!("waybill {}", participant.name()),
        config: config.broker.clone(),
        health,
    };
    match participant {
        Participant::Inventory => {
            let handler = inventory::InventoryParticipant::new(owners);
            consume(&broker, participant, Arc::new(handler), &shutdown).await
        }
        Participant::Payment => {
            let provider = HttpPaymentProvider::new(&config.providers)?;
            let handler = payment::PaymentParticipant::new(store, provider, &config.providers);
            consume(&broker, participant, Arc::new(handler), &shutdown).await
        }
        Participant::Shipping => {
            let carrier = HttpCarrier::new(&config.providers)?;
            let handler = shipping::ShippingParticipant::new(store, carrier, &config.providers);
            consume(&broker, participant, Arc::new(handler), &shutdown).await
        }
        Participant::Order => Ok(()),
    }
}

async fn consume<H: consumer::Handler>(
    broker: &Broker,
    participant: Participant,
    handler: Arc<H>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    broker.supervise(shutdown, |link| consumer::session(link, participant, handler.clone()).boxed()).await
}

/// The circumstances of the command, for what it causes.
fn context(message: &CommandMessage) -> Context {
    Context {
        command_id: message.command_id,
        correlation_id: message.correlation_id,
        actor: message.actor.clone(),
        tenant: message.tenant.clone(),
        traceparent: message.traceparent.clone(),
        business_time: None,
        body_hash: None,
        once_in: None,
    }
}

/// The circumstances of recording what came of an effect: once, whoever tells it.
fn outcome_context(message: &CommandMessage, key: &EffectKey) -> Context {
    Context { command_id: CommandId::of(&["outcome", key.as_str()]), ..context(message) }
}

/// Why a command was not carried through.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    /// The command contradicts what was asked before: nothing that a repetition could change.
    #[error("the rules refuse the command")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the log does not take what happened")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the provider does not tell what became of it")]
    Unknown,
}

/// How long the log may be out of reach before a command is left to the saga's next sending.
fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(10)
        .with_jitter()
}

/// Commands the log, patiently.
async fn command<T, E, F>(attempt: impl FnMut() -> F) -> Result<T, Obstacle>
where
    F: Future<Output = Result<T, CommandError<E>>>,
    E: std::error::Error + Send + Sync + 'static,
{
    attempt.retry(patience()).when(is_transient).await.map_err(|error| match error {
        CommandError::Rejected(error) => Obstacle::Refused(error.into()),
        error @ (CommandError::Store(_)
        | CommandError::Contended
        | CommandError::KeyReused
        | CommandError::Stale { .. }) => Obstacle::Store(error.into()),
    })
}

fn is_transient<E: std::error::Error>(error: &CommandError<E>) -> bool {
    match error {
        CommandError::Contended => true,
        CommandError::Store(error) => error.is_transient() && !matches!(error, StoreError::Closed),
        CommandError::Rejected(_) | CommandError::KeyReused | CommandError::Stale { .. } => false,
    }
}

/// Says what stands in the way; the command is acknowledged all the same.
fn note(message: &CommandMessage, obstacle: &Obstacle) {
    let order_id = message.correlation_id;
    let error = chain(obstacle);
    match obstacle {
        Obstacle::Refused(_) => tracing::error!(order.id = %order_id, error, "a saga's command makes no sense here"),
        Obstacle::Store(_) | Obstacle::Unknown => {
            tracing::warn!(order.id = %order_id, error, "a command waits for its next sending");
        }
    }
}

/// A point at which a fault test may kill the process: `participant.after-intent.authorise_payment`.
fn crash_point(phase: &str, key: &EffectKey) {
    let mut segments = key.as_str().split('/').skip(2);
    let step = segments.next().unwrap_or_default();
    let undo = if segments.nth(1).is_some() { ".undo" } else { "" };
    events::crash::point(&format!("participant.{phase}.{step}{undo}"));
}
