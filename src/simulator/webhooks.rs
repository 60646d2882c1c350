//! Sends webhooks to Waybill, signed, until they are taken. What ended is written into the ledger, so that a start sends
//! again what has not: an event may arrive twice, and none is lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::{StatusCode, Url};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{effects::Line, journal::Journal, names::hex, news::Webhook};

/// `Webhook-Signature: v1=<lower-case hexadecimal HMAC-SHA256 of the body>`.
pub(super) const SIGNATURE_HEADER: &str = "Webhook-Signature";
/// Chains in the queue. They stand in the ledger too, so this bounds memory and nothing is lost beyond it.
const WAITING_MAX: usize = 1_000_000;
/// Chains under way, most of them asleep; and requests at once.
const ACTIVE_MAX: usize = 4096;
const REQUESTS_MAX: usize = 64;
/// Together with the pauses some two minutes: a restart of Waybill takes less.
const ATTEMPTS_MAX: u32 = 36;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The webhooks of one effect: each leaves when the one before it has ended.
pub(super) struct Chain {
    pub(super) path: &'static str,
    pub(super) webhooks: Vec<Webhook>,
    pub(super) journal: Journal,
    /// Told when the first one has ended or was given up.
    pub(super) first: Option<oneshot::Sender<()>>,
}

/// Where chains are handed in.
#[derive(Clone)]
pub(super) struct Courier(mpsc::Sender<Chain>);

impl Courier {
    pub(super) fn start(
        parts: CourierParts,
        shutdown: CancellationToken,
        tracker: &TaskTracker,
    ) -> reqwest::Result<Self> {
        let (sender, chains) = mpsc::channel(WAITING_MAX);
        let post_office = PostOffice {
            client: reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            secret: hmac::Key::new(hmac::HMAC_SHA256, parts.secret.as_bytes()),
            waybill_url: parts.waybill_url,
            requests: Semaphore::new(REQUESTS_MAX),
            jitter: Mutex::new(StdRng::seed_from_u64(parts.seed)),
            clock: parts.clock,
        };
        tracker.spawn(run(Arc::new(post_office), chains, shutdown));
        Ok(Self(sender))
    }

    /// A place in the queue; none when too many webhooks wait.
    pub(super) fn place(&self) -> Option<mpsc::OwnedPermit<Chain>> {
        self.0.clone().try_reserve_owned().ok()
    }

    /// Hands in what a start found unsent, as fast as it leaves.
    pub(super) async fn send(&self, chain: Chain) {
        // Refused only at the end of the courier; then the next start finds it.
        let _ = self.0.send(chain).await;
    }
}

pub(super) struct CourierParts {
    pub(super) waybill_url: watch::Receiver<Option<Url>>,
    pub(super) secret: String,
    pub(super) seed: u64,
    pub(super) clock: Arc<dyn events::Clock>,
}

struct PostOffice {
    client: reqwest::Client,
    secret: hmac::Key,
    waybill_url: watch::Receiver<Option<Url>>,
    requests: Semaphore,
    jitter: Mutex<StdRng>,
    clock: Arc<dyn events::Clock>,
}

async fn run(post_office: Arc<PostOffice>, mut chains: mpsc::Receiver<Chain>, shutdown: CancellationToken) {
    let mut active = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(ended) = active.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a webhook's sender broke");
            },
            Some(chain) = chains.recv(), if active.len() < ACTIVE_MAX => {
                active.spawn(Arc::clone(&post_office).deliver(chain));
            }
        }
    }
}

/// What became of a webhook.
enum Ending {
    /// The receiver's last word: taken, or refused for good.
    Heard(StatusCode),
    GivenUp,
}

impl PostOffice {
    async fn deliver(self: Arc<Self>, mut chain: Chain) {
        for webhook in &chain.webhooks {
            sleep(webhook.delay()).await;
            let mut ending = Ending::GivenUp;
            for _ in 0..webhook.copies.max(1) {
                ending = self.send_until_heard(chain.path, webhook).await;
            }
            if let Some(first) = chain.first.take() {
                // Nobody waits any more when the caller has gone.
                let _ = first.send(());
            }
            let Ending::Heard(status) = ending else {
                tracing::warn!(
                    event.id = webhook.event_id,
                    "Waybill does not take a webhook; the next start sends it again"
                );
                return;
            };
            self.note_end(&chain.journal, &webhook.event_id, status).await;
        }
    }

    async fn note_end(&self, journal: &Journal, event_id: &str, status: StatusCode) {
        let line =
            Line::<()>::WebhookEnded { at: self.clock.now(), event_id: event_id.to_owned(), status: status.as_u16() };
        // Not waited for: an event whose end was lost is sent once more.
        if let Ok(place) = journal.place().await {
            drop(place.append(&line));
        }
    }

    async fn send_until_heard(&self, path: &str, webhook: &Webhook) -> Ending {
        let body = webhook.body.to_string().into_bytes();
        let signature = format!("v1={}", hex(hmac::sign(&self.secret, &body).as_ref()));
        for attempt in 0..ATTEMPTS_MAX {
            match self.post(path, &body, &signature).await {
                Ok(status) if status.is_success() => return Ending::Heard(status),
                Ok(status) if status.is_client_error() && !worth_repeating(status) => {
                    tracing::warn!(
                        event.id = webhook.event_id,
                        http.status = status.as_u16(),
                        "Waybill refuses a webhook"
                    );
                    return Ending::Heard(status);
                }
                Ok(_) | Err(_) => sleep(self.pause(attempt)).await,
            }
        }
        Ending::GivenUp
    }

    /// Waits for Waybill to be named and for its turn; the request itself has a timeout.
    async fn post(&self, path: &str, body: &[u8], signature: &str) -> Result<StatusCode, Unsent> {
        let mut waybill_url = self.waybill_url.clone();
        let base = waybill_url.wait_for(Option::is_some).await.map_err(|_| Unsent)?.clone().ok_or(Unsent)?;
        let url = base.join(path).map_err(|_| Unsent)?;
        let _turn = self.requests.acquire().await.map_err(|_| Unsent)?;
        let response = self
            .client
            .post(url)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature)
            .body(body.to_vec())
            .send()
            .await
            .map_err(|error| {
                tracing::debug!(%error, "a webhook did not arrive");
                Unsent
            })?;
        let status = response.status();
        // Read to its end, so that the connection serves again; what it says does not matter.
        let _ = response.bytes().await;
        Ok(status)
    }

    /// Doubles up to its cap; half of it is jitter.
    fn pause(&self, attempt: u32) -> Duration {
        let whole = PAUSE_FIRST.saturating_mul(1 << attempt.min(10)).min(PAUSE_MAX);
        let share = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.5..1.0);
        whole.mul_f64(share)
    }
}

struct Unsent;

fn worth_repeating(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::TOO_MANY_REQUESTS
}
