//! The binary `waybill`: reads the command line and the environment, runs one subcommand, ends with its status.

mod api;
mod bench;
mod check;
mod cli;
mod config;
mod database;
mod import;
mod metrics;
mod platform;
mod roles;
mod servers;
mod shop;
mod simulator;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let _failpoints = events::crash::arm();
    let cli = cli::Cli::parse();
    start_logging(cli.command.log_filter());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::output::failed(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let outcome = runtime.block_on(cli::run(cli));
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => cli::output::failed(&error),
    }
}

/// Logs go to standard error: lines for a person, JSON for a machine. `RUST_LOG` overrides the subcommand's default.
fn start_logging(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
