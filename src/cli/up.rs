//! `waybill up`: everything on one machine, until stopped.

use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::{output, session::Session, signal::stop_signal};
use crate::{
    config::Config,
    shop::{self, FrontDoor, Shares, Shop},
};

/// The small demo shop.
const SEED: u64 = 24;
const PRODUCTS: usize = 24;
const CUSTOMERS: u32 = 20;
const PIECES_EACH: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves the shop empty.
    #[arg(long)]
    empty: bool,
}

pub(super) async fn run(mut config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let mut session = Session::start(&mut config).await?;
    let url = session.url()?;
    let shop = Shop::seeded(SEED, PRODUCTS, CUSTOMERS);
    if !args.empty {
        load_shop_once(&config, &url, &shop).await?;
    }
    let links = Links::new(&url, &session.simulator_url, &shop);
    if json {
        output::line(serde_json::to_string(&links)?);
    } else {
        output::line(links.to_text(&first_order(&shop)?));
    }
    let failure = tokio::select! {
        () = stop_signal() => None,
        error = session.platform.failure() => Some(error),
    };
    output::note("Stopping ...");
    session.stop().await;
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The small demo shop. Its requests carry fixed keys, so loading it again changes nothing; a file tells that it was loaded.
async fn load_shop_once(config: &Config, url: &str, shop: &Shop) -> anyhow::Result<()> {
    let marker = config.files.directory.join("demo-shop-loaded");
    if marker.exists() {
        return Ok(());
    }
    let door = FrontDoor::new(url, "service:storefront")?;
    let location = config.shop.location.as_str();
    shop::open(&door, shop, location, PIECES_EACH, || ()).await.context("cannot load the demo shop")?;
    std::fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
}

/// Where to look first.
#[derive(Debug, Serialize)]
struct Links {
    url: String,
    docs: String,
    search: String,
    projections: String,
    audit: String,
    metrics: String,
    simulator: String,
}

impl Links {
    fn new(url: &str, simulator: &str, shop: &Shop) -> Self {
        let word = shop.products().first().and_then(|product| product.name.split(' ').next_back()).unwrap_or_default();
        Self {
            url: url.to_owned(),
            docs: format!("{url}/docs"),
            search: format!("{url}/v1/products?q={word}"),
            projections: format!("{url}/v1/projections"),
            audit: format!("{url}/v1/audit/events"),
            metrics: format!("{url}/metrics"),
            simulator: simulator.to_owned(),
        }
    }

    fn to_text(&self, order: &str) -> String {
        let Self { url, docs, search, projections, audit, metrics, simulator } = self;
        format!(
            "Waybill is up.\n\
             \n  Try the API        {docs}\
             \n  Search the shop    {search}\
             \n  Read models        {projections}\
             \n  Audit log          {audit}\
             \n  Metrics            {metrics}\
             \n  Simulator          {simulator}\
             \n\nPlace an order:\
             \n  curl -sS {url}/v1/orders -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' -d '{order}'\
             \n\nStop with Ctrl-C; everything is kept in .waybill."
        )
    }
}

/// The JSON of an order of one line.
fn first_order(shop: &Shop) -> anyhow::Result<String> {
    let mut order = shop.orders(1, Shares { declined: 0, second_carrier: 0, no_carrier: 0, cancelled: 0 });
    let mut body = order.next().context("a shop has a first order")?.body;
    body.lines.truncate(1);
    Ok(serde_json::to_string(&body)?)
}
