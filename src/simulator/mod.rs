//! A payment provider and two carriers to develop, demonstrate and test against: each with a durable ledger of its own,
//! a behaviour scripted by token or service, and signed webhooks. Nothing in it knows Waybill's types: it is the outside.

mod carriers;
mod effects;
mod http;
mod input;
mod journal;
mod ledger;
mod names;
mod news;
mod script;
mod service;
#[cfg(test)]
mod tests;
mod webhooks;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::serve::ListenerExt;
use events::Clock;
use reqwest::Url;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    carriers::{CARRIERS, Carrier},
    http::App,
    ledger::Payments,
    names::Names,
    service::{Parts, Service},
    webhooks::{Courier, CourierParts},
};

/// How long open connections may linger after the end was announced.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

pub(crate) struct SimulatorConfig {
    /// Port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Where webhooks go, such as `http://127.0.0.1:8080`; none holds them back until `Simulator::set_waybill_url`.
    pub(crate) waybill_url: Option<String>,
    pub(crate) webhook_secret: String,
    /// Created if missing; one simulator at a time.
    pub(crate) ledger_dir: PathBuf,
    /// How long a script's hang keeps a caller waiting before the 504.
    pub(crate) hang: Duration,
    /// References, tracking numbers and event ids follow from it and from the effect keys.
    pub(crate) seed: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct Simulator {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    waybill_url: watch::Sender<Option<Url>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{url:?} is not a URL that webhooks can go to; write it like http://127.0.0.1:8080")]
    WaybillUrl { url: String },
    #[error("cannot make the folder {} for the simulator's ledgers", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot start the simulator on its ledgers")]
    Ledger(#[from] journal::OpenError),
    #[error("cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("cannot prepare the sending of webhooks")]
    Webhooks(#[from] reqwest::Error),
}

/// Starts the simulator on its ledgers. It serves until `shutdown` and has ended when `tracker` is empty; a kill at any
/// moment loses nothing that was answered.
///
/// # Errors
/// A folder, a ledger, an address or a URL that cannot be used. Nothing is left running but what ends with `shutdown`.
pub(crate) async fn start(
    config: SimulatorConfig,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) -> Result<Simulator, Error> {
    let waybill_url = config.waybill_url.as_deref().map(parse_url).transpose()?;
    let (waybill_url, url_receiver) = watch::channel(waybill_url);
    std::fs::create_dir_all(&config.ledger_dir)
        .map_err(|source| Error::Folder { path: config.ledger_dir.clone(), source })?;
    let failed = |source| Error::Listen { addr: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;

    let courier = CourierParts {
        waybill_url: url_receiver,
        secret: config.webhook_secret,
        seed: config.seed,
        clock: Arc::clone(&config.clock),
    };
    let parts = Parts {
        courier: Courier::start(courier, shutdown.clone(), tracker)?,
        names: Arc::new(Names::new(config.seed)),
        clock: config.clock,
        hang: config.hang,
        shutdown: shutdown.clone(),
        tracker: tracker.clone(),
    };
    let app = open(&config.ledger_dir, &parts).await?;
    tracker.spawn(serve(listener, app, shutdown));
    tracing::info!(%addr, "the provider and carrier simulator listens");
    Ok(Simulator { addr, waybill_url })
}

async fn open(ledger_dir: &Path, parts: &Parts) -> Result<App, Error> {
    let payments = Service::start(Payments::default(), &ledger_dir.join("payments.ndjson"), parts.clone()).await?;
    let mut carriers = BTreeMap::new();
    for name in CARRIERS {
        let path = ledger_dir.join(format!("carrier-{name}.ndjson"));
        carriers.insert(name, Service::start(Carrier::new(name), &path, parts.clone()).await?);
    }
    Ok(App { payments, carriers: Arc::new(carriers) })
}

async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) {
    let listener = listener.tap_io(|stream| {
        // Without it a small answer may wait 40 ms; a socket that refuses still works.
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, http::router(app)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        sleep(GOODBYE_MAX).await;
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::error!(%error, "the simulator no longer accepts connections");
        },
        () = overdue => tracing::warn!("connections to the simulator were cut at its end"),
    }
}

impl Simulator {
    /// Names the Waybill that webhooks go to, such as `http://127.0.0.1:8080`. What waited for it leaves now.
    ///
    /// # Errors
    /// `WaybillUrl`: not a URL.
    pub(crate) fn set_waybill_url(&self, url: &str) -> Result<(), Error> {
        let url = parse_url(url)?;
        self.waybill_url.send_replace(Some(url));
        Ok(())
    }
}

fn parse_url(url: &str) -> Result<Url, Error> {
    match Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(parsed),
        Ok(_) | Err(_) => Err(Error::WaybillUrl { url: url.to_owned() }),
    }
}
