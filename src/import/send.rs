//! Sends a plan through the front door, a bounded number of requests at a time, and waits until its orders are settled.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use uuid::Uuid;

use super::{
    accounts::Accounts,
    plan::{Plan, Planned},
};
use crate::shop::{FrontDoor, FrontDoorError, Outcome, Problem};

/// How often the number of open sagas is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) base_url: String,
    /// Where stock is received and taken from.
    pub(crate) location: String,
    /// Requests under way at a time.
    pub(crate) concurrency: usize,
    /// How long the number of open sagas may stand still before the wait for them ends.
    pub(crate) stall_max: Duration,
}

impl Options {
    pub(crate) fn new(base_url: &str) -> Self {
        let stall_max = Duration::from_secs(120);
        Self { base_url: base_url.into(), location: "main".into(), concurrency: 16, stall_max }
    }
}

/// The outcome of an import.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sent {
    pub(crate) accounts: Accounts,
    pub(crate) balance: bool,
    /// Requests that were answered with success, first or again.
    pub(crate) accepted: BTreeMap<&'static str, u64>,
    /// Products that were listed with other particulars before; they keep those.
    pub(crate) listed_before: u64,
    /// The first few refusals, in words.
    pub(crate) refused: Vec<String>,
    pub(crate) refusals: u64,
    /// Sagas still open when the wait ended.
    pub(crate) open: u64,
    /// How the orders ended: `completed`, `cancelled`, `needs attention` (a person has it), `under way`.
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) seconds: u64,
}

impl Sent {
    pub(crate) fn ok(&self) -> bool {
        let placed = self.accepted.get("orders").copied().unwrap_or_default();
        // The source's cancellations are not sent yet (they are remainders): it asks for every order that is to be completed.
        let completed = self.ended.get("completed").copied().unwrap_or_default();
        self.balance && self.refusals == 0 && self.open == 0 && completed == placed
    }
}

const REFUSALS_SHOWN: usize = 10;

/// Products, then stock, then corrections of it, then orders: each phase is through before the next begins.
///
/// `settled` tells how many sagas are still open, `endings` how these orders ended. `progress` hears the phase, how many are done,
/// and of how many.
pub(crate) async fn send(
    plan: Plan,
    options: &Options,
    settled: impl AsyncFn() -> anyhow::Result<u64>,
    endings: impl AsyncFn(&[Uuid]) -> anyhow::Result<BTreeMap<String, u64>>,
    mut progress: impl FnMut(&'static str, u64, u64),
) -> anyhow::Result<Sent> {
    let started = Instant::now();
    let door = FrontDoor::new(&options.base_url, "service:importer")?;
    let Plan { products, receipts, adjustments, orders, accounts, .. } = plan;
    let mut sent = Sent {
        accounts,
        balance: false,
        accepted: BTreeMap::new(),
        listed_before: 0,
        refused: Vec::new(),
        refusals: 0,
        open: 0,
        ended: BTreeMap::new(),
        seconds: 0,
    };
    let location = options.location.replace('/', "%2F");
    let placed = Vec::new();
    let mut sender = Sender { door: &door, concurrency: options.concurrency.max(1), sent: &mut sent, placed };
    let on_product = |sent: &mut Sent, _: &Planned<_>, problem: &Problem| {
        let known = problem.code == "already-exists";
        sent.listed_before += u64::from(known);
        !known
    };
    sender.phase("products", "/v1/products", products, on_product, &mut progress).await?;
    let path = format!("/v1/inventory/{location}/receipts");
    sender.phase("receipts", &path, receipts, |_, _, _| true, &mut progress).await?;
    let path = format!("/v1/inventory/{location}/adjustments");
    let on_adjustment = |sent: &mut Sent, planned: &Planned<crate::shop::AdjustmentBody>, problem: &Problem| {
        sent.accounts.adjustment_refused(&refused(problem), planned.body.delta, planned.share);
        true
    };
    sender.phase("adjustments", &path, adjustments, on_adjustment, &mut progress).await?;
    let on_order = |sent: &mut Sent, planned: &Planned<_>, problem: &Problem| {
        sent.accounts.order_refused(&refused(problem), planned.share, planned.gross_minor);
        true
    };
    sender.phase("orders", "/v1/orders", orders, on_order, &mut progress).await?;
    let placed = sender.placed;
    sent.open = settle(options, settled, &mut progress).await?;
    sent.ended = endings(&placed).await?;
    sent.balance = sent.accounts.balance();
    sent.seconds = started.elapsed().as_secs();
    Ok(sent)
}

fn refused(problem: &Problem) -> String {
    format!("refused by Waybill: {}", problem.code)
}

struct Sender<'a> {
    door: &'a FrontDoor,
    concurrency: usize,
    sent: &'a mut Sent,
    /// The orders.
    placed: Vec<Uuid>,
}

impl Sender<'_> {
    /// `on_refusal` accounts for a refusal and tells whether it is one to report.
    async fn phase<B: Serialize + Send + Sync>(
        &mut self,
        phase: &'static str,
        path: &str,
        requests: Vec<Planned<B>>,
        on_refusal: impl Fn(&mut Sent, &Planned<B>, &Problem) -> bool,
        progress: &mut impl FnMut(&'static str, u64, u64),
    ) -> Result<(), FrontDoorError> {
        let total = u64::try_from(requests.len()).unwrap_or(u64::MAX);
        let door = self.door;
        let posts = stream::iter(requests).map(|planned| async move {
            let outcome = door.post(path, &planned.key, &planned.body).await?;
            Ok::<_, FrontDoorError>((planned, outcome))
        });
        let mut answers = posts.buffer_unordered(self.concurrency);
        let mut done = 0;
        while let Some((planned, outcome)) = answers.try_next().await? {
            match outcome {
                Outcome::Accepted(accepted) => {
                    *self.sent.accepted.entry(phase).or_default() += 1;
                    self.placed.extend(accepted.order_id.and_then(|id| id.parse::<Uuid>().ok()));
                }
                Outcome::Refused(problem) => {
                    if on_refusal(self.sent, &planned, &problem) {
                        self.sent.refusals += 1;
                        if self.sent.refused.len() < REFUSALS_SHOWN {
                            self.sent.refused.push(format!("{} {}: {problem}", phase, planned.key));
                        }
                    }
                }
            }
            done += 1;
            progress(phase, done, total);
        }
        Ok(())
    }
}

/// Waits until nothing is open, as long as the number goes on falling. Returns what is open then.
async fn settle(
    options: &Options,
    settled: impl AsyncFn() -> anyhow::Result<u64>,
    progress: &mut impl FnMut(&'static str, u64, u64),
) -> anyhow::Result<u64> {
    let first = settled().await?;
    let (mut least, mut since) = (first, Instant::now());
    loop {
        let open = settled().await?;
        progress("settling", first.saturating_sub(open), first);
        if open < least {
            (least, since) = (open, Instant::now());
        }
        if open == 0 || since.elapsed() > options.stall_max {
            return Ok(open);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
