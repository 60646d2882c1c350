//! `waybill up`: everything on one machine, until stopped.

use std::process::ExitCode;

use anyhow::Context as _;

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

pub(super) async fn run(mut config: Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut session = Session::start(&mut config).await?;
    let url = session.url()?;
    let shop = Shop::seeded(SEED, PRODUCTS, CUSTOMERS);
    if !args.empty {
        load_shop_once(&config, &url, &shop).await?;
    }
    output::line(links(&url, &session.simulator_url, &shop)?);
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

fn links(url: &str, simulator: &str, shop: &Shop) -> anyhow::Result<String> {
    let mut order = shop.orders(1, Shares { declined: 0, second_carrier: 0, no_carrier: 0, cancelled: 0 });
    let mut body = order.next().context("a shop has a first order")?.body;
    body.lines.truncate(1);
    let body = serde_json::to_string(&body)?;
    let word = shop.products().first().and_then(|product| product.name.split(' ').next_back()).unwrap_or_default();
    Ok(format!(
        "Waybill is up.\n\
         \n  Try the API        {url}/docs\
         \n  Search the shop    {url}/v1/products?q={word}\
         \n  Read models        {url}/v1/projections\
         \n  Audit log          {url}/v1/audit/events\
         \n  Metrics            {url}/metrics\
         \n  Simulator          {simulator}\
         \n\nPlace an order:\
         \n  curl -sS {url}/v1/orders -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' -d '{body}'\
         \n\nStop with Ctrl-C; everything is kept in .waybill."
    ))
}
