//! `waybill demo`: a seeded shop at work, with failures, and the proof that nothing was lost and nothing happened twice.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use projections::{Certificate, RebuildOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    check::views_at,
    output, rebuild,
    session::{self, Session},
};
use crate::{
    check::{self, Report},
    config::Config,
    shop::{self, Fate, FrontDoor, Outcome, PlannedOrder, Shares, Shop},
};

const PRODUCTS: usize = 200;
const CUSTOMERS: u32 = 300;
/// More than 1,000 orders of such a shop ever want of one article.
const PIECES_EACH: u32 = 100_000;
/// Shoppers who send at the same time.
const SHOPPERS: usize = 16;
/// How long the orders may stand still before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The read model that is rebuilt.
const REBUILT: &str = "order-view";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orders: u32,
    /// Goes on with the last demo, which was killed: the same orders under the same keys.
    #[arg(long, conflicts_with = "orders")]
    resume: bool,
}

/// The last demo of this folder, so that a killed one can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    seed: u64,
    orders: u32,
}

/// What the demo shows; it holds if everything in it is as it should be.
#[derive(Debug, Serialize)]
struct Outcomes {
    ok: bool,
    orders: u32,
    ended: BTreeMap<String, u64>,
    expected: BTreeMap<String, u64>,
    seconds: f64,
    orders_per_s: f64,
    /// Milliseconds from placed to confirmed, as the log recorded them.
    confirmed_p50_ms: f64,
    confirmed_p99_ms: f64,
    check: bool,
    position: String,
    certificate: Certificate,
}

pub(super) async fn run(mut config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let run = Run::begin(&config.files.directory, args)?;
    config.take_free_ports();
    let session = Session::start(&mut config).await?;
    let outcome = tokio::select! {
        outcome = play(&config, &session, run, json) => outcome,
        () = super::signal::stop_signal() => Err(anyhow::anyhow!("the demo was stopped; go on with `waybill demo --resume`")),
    };
    session.stop().await;
    let ok = outcome?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) })
}

async fn play(config: &Config, session: &Session, run: Run, json: bool) -> anyhow::Result<bool> {
    let pool = session.platform.log.pool().clone();
    let shop = Shop::seeded(run.seed, PRODUCTS, CUSTOMERS);
    let door = FrontDoor::new(&session.url()?, "service:storefront")?;
    output::note(format_args!("A shop with {PRODUCTS} products opens at {} ...", session.url()?));
    let bar = output::bar(PRODUCTS as u64, "products listed");
    shop::open(&door, &shop, config.shop.location.as_str(), PIECES_EACH, || bar.inc(1)).await?;
    bar.finish_and_clear();

    output::note(format_args!("{SHOPPERS} shoppers place {} orders ...", run.orders));
    let planned: Vec<_> = shop.orders(run.orders as usize, Shares::default()).collect();
    let started = Instant::now();
    let placed = place(&door, &planned).await?;
    output::note("Waiting until stock, money and parcels are settled ...");
    session::settled(&pool, PATIENCE).await?;
    let seconds = started.elapsed().as_secs_f64();

    output::note("Checking the log with code of its own, against the provider's and the carriers' ledgers ...");
    let options = check::Options {
        settled: true,
        ledger: Some(session.simulator_url.clone()),
        views: Some(views_at(&session.servers, config)),
        ..check::Options::default()
    };
    let report = check::check(&pool, &options, |_, _| ()).await.context("the log could not be checked")?;
    output::note(format_args!("Rebuilding {REBUILT} beside the live one ..."));
    let log = session.platform.log.clone();
    let certificate = rebuild::rebuild(config, &session.servers, log, REBUILT, &RebuildOptions::default()).await?;
    let outcomes = measure(&pool, run, &planned, &placed, seconds, &report, certificate).await?;
    show(session, &outcomes, &report, &planned, &placed).await?;
    if json {
        output::line(serde_json::to_string(&outcomes)?);
    }
    Ok(outcomes.ok)
}

impl Run {
    /// A new run, or the one that was killed. Remembered before anything is started, so that a kill at any moment can be resumed.
    fn begin(folder: &Path, args: &Args) -> anyhow::Result<Self> {
        let path = folder.join("demo.json");
        let last = Self::last(&path)?;
        if let Some(last) = last.filter(|_| args.resume) {
            return Ok(last);
        }
        if args.resume {
            output::note(format_args!("There is no demo to go on with in {}: one begins.", folder.display()));
        }
        let run = Self { seed: last.map_or(1, |last| last.seed + 1), orders: args.orders };
        run.remember(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(run)
    }

    fn last(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("cannot read {}: remove it to begin with the first demo", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whole or not at all.
    fn remember(self, path: &Path) -> anyhow::Result<()> {
        let unfinished = path.with_extension("unfinished");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&self)?)?;
        file.sync_all()?;
        Ok(std::fs::rename(&unfinished, path)?)
    }
}

/// Places every order and cancels those that are planned to be; returns their ids in the order planned.
async fn place(door: &FrontDoor, planned: &[PlannedOrder]) -> anyhow::Result<Vec<Uuid>> {
    let bar = output::bar(planned.len() as u64, "orders placed");
    let placing = stream::iter(planned).map(|order| place_one(door, order, &bar)).buffered(SHOPPERS);
    let placed = placing.try_collect().await;
    bar.finish_and_clear();
    placed
}

async fn place_one(door: &FrontDoor, order: &PlannedOrder, bar: &ProgressBar) -> anyhow::Result<Uuid> {
    let id = match door.post("/v1/orders", &order.key, &order.body).await? {
        Outcome::Accepted(accepted) => accepted.order_id.context("a placed order has an id")?,
        Outcome::Refused(problem) => anyhow::bail!("the order {} was refused: {problem}", order.key),
    };
    if order.fate == Fate::Cancelled {
        let (path, key) = (format!("/v1/orders/{id}/cancel"), format!("{}:cancel", order.key));
        match door.post(&path, &key, &json!({ "reason": "changed my mind" })).await? {
            Outcome::Accepted(_) => (),
            // Of a demo that goes on, the order may be cancelled already.
            Outcome::Refused(problem) => anyhow::ensure!(problem.code == "order-not-open", "{path}: {problem}"),
        }
    }
    bar.inc(1);
    id.parse().context("an order's id is a UUID")
}

/// How an order ends that was planned so.
const fn ending(fate: Fate) -> &'static str {
    match fate {
        Fate::Completes | Fate::SecondCarrier => "completed",
        Fate::Declined | Fate::Cancelled => "cancelled",
        Fate::NoCarrier => "needs attention",
    }
}

async fn measure(
    pool: &PgPool,
    run: Run,
    planned: &[PlannedOrder],
    placed: &[Uuid],
    seconds: f64,
    report: &Report,
    certificate: Certificate,
) -> anyhow::Result<Outcomes> {
    let mut expected = BTreeMap::new();
    for order in planned {
        *expected.entry(ending(order.fate).to_owned()).or_insert(0_u64) += 1;
    }
    let ended = session::endings(pool, placed).await?;
    let (confirmed_p50_ms, confirmed_p99_ms) = latencies(pool, placed).await?;
    Ok(Outcomes {
        ok: report.ok && certificate.equal && ended == expected,
        orders: run.orders,
        orders_per_s: f64::from(run.orders) / seconds,
        seconds,
        ended,
        expected,
        confirmed_p50_ms,
        confirmed_p99_ms,
        check: report.ok,
        position: report.position.clone(),
        certificate,
    })
}

/// Median and 99th percentile from placed to confirmed, in milliseconds.
async fn latencies(pool: &PgPool, placed: &[Uuid]) -> anyhow::Result<(f64, f64)> {
    sqlx::query_as(
        "SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY took), 0), \
             coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY took), 0) \
         FROM (SELECT (extract(epoch FROM max(recorded_at) FILTER (WHERE event_type = 'OrderConfirmed') \
             - min(recorded_at)) * 1000)::float8 AS took FROM events WHERE stream_id = ANY ($1) GROUP BY stream_id) AS orders",
    )
    .bind(placed.iter().map(|id| format!("order-{id}")).collect::<Vec<_>>())
    .fetch_one(pool)
    .await
    .context("cannot measure the time to confirmation")
}

/// What a newcomer reads at the end.
async fn show(
    session: &Session,
    outcomes: &Outcomes,
    report: &Report,
    planned: &[PlannedOrder],
    placed: &[Uuid],
) -> anyhow::Result<()> {
    let Outcomes { orders, seconds, orders_per_s, confirmed_p50_ms, confirmed_p99_ms, .. } = outcomes;
    let mut ends = output::table();
    ends.set_header(["how the orders ended", "orders", "expected"]);
    for (ending, wanted) in &outcomes.expected {
        let got = outcomes.ended.get(ending).copied().unwrap_or_default();
        ends.add_row([ending.clone(), got.to_string(), wanted.to_string()]);
    }
    output::line(ends);
    output::line(format_args!(
        "{orders} orders in {seconds:.1} s: {orders_per_s:.0} a second; from placed to confirmed {confirmed_p50_ms:.0} ms in the \
         median, {confirmed_p99_ms:.0} ms for 99 of 100.\n"
    ));
    let story = planned.iter().position(|order| order.fate == Fate::SecondCarrier).unwrap_or_default();
    if let Some(id) = placed.get(story) {
        output::line(timeline(session, *id).await?);
    }
    output::line("The invariants, recomputed from the log with code that shares nothing with the product:");
    output::line(report.to_table());
    output::line("A read model, built anew beside the live one and compared:");
    output::line(rebuild::table(&outcomes.certificate));
    let verdict = if outcomes.ok { "Everything holds." } else { "Something does not hold: see above." };
    output::line(format_args!("\n{verdict} Next: `waybill up`, and open the link to /docs."));
    Ok(())
}

/// One order's story, from the query endpoint.
async fn timeline(session: &Session, id: Uuid) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Timeline {
        events: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        position: i64,
        what: String,
    }
    let url = format!("{}/v1/orders/{id}/timeline", session.url()?);
    let answer = reqwest::get(&url).await.and_then(reqwest::Response::error_for_status).context("no timeline")?;
    let timeline: Timeline = answer.json().await.context("the timeline cannot be read")?;
    let lines = timeline.events.iter().map(|entry| format!("  {:>7}  {}", entry.position, entry.what));
    Ok(format!("One order, step by step (its first carrier refused):\n{}\n", lines.collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_goes_on_with_the_last_run_or_begins_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("not-there-yet");
        let begin = |orders, resume| Run::begin(&folder, &Args { orders, resume });
        let first = begin(7, true).expect("there is none to go on with, so one begins");
        assert_eq!(first, Run { seed: 1, orders: 7 });
        assert_eq!(begin(1_000, true).expect("it was remembered"), first);
        assert_eq!(begin(9, false).expect("a new one has orders of its own"), Run { seed: 2, orders: 9 });
        std::fs::write(folder.join("demo.json"), "{\"seed\":2").expect("it can be written");
        for resume in [true, false] {
            let error = begin(1, resume).expect_err("its seed may have been used");
            assert!(error.to_string().contains("demo.json: remove it"), "{error:#}");
        }
    }
}
