//! `waybill simulate`: a payment provider and two carriers with ledgers of their own.

use std::{net::SocketAddr, process::ExitCode};

use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{output, session, signal::stop_signal};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where webhooks go: the address of a Waybill that runs the role commands.
    #[arg(long, value_name = "URL")]
    waybill: Option<String>,
}

pub(super) async fn run(mut config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    config.simulator.listen = args.listen.unwrap_or(config.simulator.listen);
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    let waybill = args.waybill.clone().unwrap_or_else(|| format!("http://{}", config.http.listen));
    let simulator = session::start_simulator(&config, Some(waybill.clone()), &shutdown, &tracker).await?;
    let url = format!("http://{}", simulator.addr);
    if json {
        output::line(json!({ "url": url, "waybill": waybill }));
    } else {
        output::line(format_args!("The simulator answers at {url}; webhooks go to {waybill}"));
    }
    stop_signal().await;
    shutdown.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(ExitCode::SUCCESS)
}
