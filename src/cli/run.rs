//! `waybill run`: some roles, until stopped.

use std::process::ExitCode;

use super::{output, signal::stop_signal};
use crate::{config::Config, platform::Platform, roles::Role, servers::Servers};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which roles; all of them unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
}

pub(super) async fn run(config: Config, args: &Args) -> anyhow::Result<ExitCode> {
    let servers = Servers::provide(&config, &|sentence: &str| output::note(sentence)).await?;
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    let mut platform = Platform::start(&config, &servers, &roles).await?;
    if let Ok(url) = platform.url() {
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
