//! The command line: one subcommand a file.
//!
//! Exit status: 0 done; 1 it could not be done; 2 the command line is wrong; 3 it was done, and what was found is not good.

mod audit;
mod bench;
mod check;
mod check_log;
mod dead_letters;
mod demo;
mod doctor;
mod import;
mod log;
mod migrate;
mod openapi;
pub(crate) mod output;
mod rebuild;
mod run;
mod session;
mod signal;
mod simulate;
mod up;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config;

/// The order platform: an event log, sagas, read models, and an HTTP API.
#[derive(Debug, Parser)]
#[command(
    name = "waybill",
    version,
    after_help = "Exit status: 0 done; 1 it could not be done; 2 the command line is \
    wrong; 3 it was done, and what was found is not good."
)]
pub(crate) struct Cli {
    /// The configuration; waybill.toml in this folder unless given. WAYBILL__SECTION__KEY overrides it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints for a machine: JSON, the last line is the result.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts everything, loads a small shop once, prints the links and runs until stopped.
    Up(up::Args),
    /// Shows it at work: a shop, 1,000 orders with failures, their timelines, a check and a rebuild.
    Demo(demo::Args),
    /// Runs some roles until stopped.
    Run(run::Args),
    /// Brings the database up to date.
    Migrate,
    /// Runs a payment provider and carriers to test against.
    Simulate(simulate::Args),
    /// Brings an existing shop's history in through the front door.
    #[command(subcommand)]
    Import(import::Command),
    /// Builds a read model anew beside the live one and switches.
    Rebuild(rebuild::Args),
    /// Replays the log for an audit.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Looks at the log: follow it, show a stream, count, list partitions.
    #[command(subcommand)]
    Log(log::Command),
    /// Recomputes the invariants from the log, with code of its own; `check log` adds up the log and what each reader applied.
    Check(check::Args),
    /// Measures this machine's limit and ours, side by side.
    Bench(bench::Args),
    /// Messages that no participant could read.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Says what was found on this machine and what is wrong.
    Doctor,
    /// Prints the OpenAPI document, or checks that the committed one is current.
    Openapi(openapi::Args),
}

impl Command {
    /// How much is logged unless `RUST_LOG` says otherwise: a server tells what it does, a tool what went wrong. lapin is silent: it
    /// calls a queue that is looked for and not there an error; what matters of it our own supervisor logs.
    pub(crate) const fn log_filter(&self) -> &'static str {
        match self {
            Self::Run(_) => "info,lapin=off,sqlx=warn",
            Self::Up(_)
            | Self::Demo(_)
            | Self::Migrate
            | Self::Simulate(_)
            | Self::Import(_)
            | Self::Rebuild(_)
            | Self::Audit(_)
            | Self::Check(_)
            | Self::DeadLetters(_)
            | Self::Bench(_)
            | Self::Log(_)
            | Self::Doctor
            | Self::Openapi(_) => "error,lapin=off",
        }
    }
}

/// Runs the subcommand.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = config::load(cli.config.as_deref()).context("the configuration cannot be used")?;
    let json = cli.json;
    match cli.command {
        Command::Up(args) => up::run(config, &args, json).await,
        Command::Demo(args) => demo::run(config, &args, json).await,
        Command::Run(args) => run::run(config, &args, json).await,
        Command::Migrate => migrate::run(config, json).await,
        Command::Simulate(args) => simulate::run(config, &args, json).await,
        Command::Import(command) => import::command(config, &command, json).await,
        Command::Rebuild(args) => {
            // Not a mere look at the log: it may migrate first.
            let _servers = session::migrated(&config).await?;
            rebuild::run(config, &args, json).await
        }
        Command::Audit(command) => audit::command(config, &command, json).await,
        Command::Check(args) => check::command(config, &args, json).await,
        Command::Log(command) => log::run(config, &command, json).await,
        Command::Bench(args) => bench::run(config, &args, json).await,
        Command::DeadLetters(command) => dead_letters::run(config, &command, json).await,
        Command::Doctor => doctor::run(config, json).await,
        Command::Openapi(args) => openapi::run(&args),
    }
}
