//! `waybill up`: everything on one machine, until stopped.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::{output, session::Session, signal::stop_signal};
use crate::{config::Config, shop};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves the shop empty.
    #[arg(long)]
    empty: bool,
}

pub(super) async fn run(mut config: Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut session = Session::start(&mut config).await?;
    let url = session.url()?;
    if !args.empty {
        load_shop_once(&config, &url).await?;
    }
    output::line(links(&url, &session.simulator_url));
    let failure = tokio::select! {
        () = stop_signal() => None,
        error = session.platform.failure() => Some(error),
    };
    output::note("Stopping ...");
    session.stop().await;
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The small demo shop: its requests carry fixed keys, so loading it again changes nothing. A file tells that it was loaded.
async fn load_shop_once(config: &Config, url: &str) -> anyhow::Result<()> {
    let marker: PathBuf = config.files.directory.join("demo-shop-loaded");
    if marker.exists() {
        return Ok(());
    }
    shop::load_small(url, &config.shop.location).await.context("cannot load the demo shop")?;
    std::fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
}

fn links(url: &str, simulator: &str) -> String {
    format!(
        "Waybill is up.\n\
         \n  Try the API        {url}/docs\
         \n  Search the shop    {url}/v1/products?q=mug\
         \n  Read models        {url}/v1/projections\
         \n  Audit log          {url}/v1/audit/events\
         \n  Metrics            {url}/metrics\
         \n  Simulator          {simulator}\
         \n\nPlace an order:\
         \n  curl -sS {url}/v1/orders -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' -d '{body}'\
         \n\nStop with Ctrl-C; everything is kept in .waybill.",
        body = shop::FIRST_ORDER,
    )
}
