//! `waybill run`: some roles, until stopped.

use std::process::ExitCode;

use serde_json::json;

use super::{output, session, signal::stop_signal};
use crate::{config::Config, platform::Platform, roles::Role, servers::Servers};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which roles; all of them unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
}

pub(super) async fn run(config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let servers = Servers::up_to_date(&config, &session::say).await?;
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    let mut platform = Platform::start(&config, &servers, &roles).await?;
    let url = platform.url().ok();
    if json {
        output::line(json!({ "url": url }));
    } else if let Some(url) = url {
        output::line(format_args!("Waybill answers at {url}"));
    }
    tracing::info!(?roles, "the roles run");
    let failure = tokio::select! {
        () = stop_signal() => None,
        error = platform.failure() => Some(error),
    };
    platform.stop().await;
    match failure {
        Some(error) => Err(error),
        None => Ok(ExitCode::SUCCESS),
    }
}
