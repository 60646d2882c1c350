//! `waybill check`: verifies the log's invariants and says which event breaks one first.
//!
//! Exit status 0: all hold. 3: one is broken. 1: the log could not be read.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use events::LogPosition;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;

use super::{check_log, output, session};
use crate::{
    check::{Options, Report, ViewsAt, check},
    config::Config,
    servers::Servers,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Judges from this position on; the fold begins with the first event all the same.
    #[arg(long)]
    from: Option<LogPosition>,
    /// Goes up to this position and no further.
    #[arg(long)]
    to: Option<LogPosition>,
    /// Counts an order that is still under way as a breach.
    #[arg(long)]
    settled: bool,
    /// Leaves the read models out: without Redis, or with an old one.
    #[arg(long)]
    log_only: bool,
    /// Compares with the ledgers of the simulator at this URL.
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Adds the log up, event by event, and compares with its sealed blocks and with what each reader has applied.
    Log,
}

/// The subcommand: on the configured database, or the private one.
pub(super) async fn command(config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(What::Log) = args.what {
        return check_log::command(&config, json).await;
    }
    for place in [&args.from, &args.to].into_iter().flatten() {
        anyhow::ensure!(
            place.log_id == config.log.id,
            "{place} is a position of another log; this one is {}",
            config.log.id
        );
    }
    let position = |place: &Option<LogPosition>| place.as_ref().map(|place| place.position.0);
    let (from, to) = (position(&args.from), position(&args.to));
    let (pool, servers) =
        if args.log_only { session::log_pool(&config).await? } else { session::pool(&config).await? };
    let views = (!args.log_only).then(|| views_at(&servers, &config));
    let options = Options { from, to, settled: args.settled, ledger: args.ledger.clone(), views };
    run(&pool, &options, json, &mut std::io::stdout().lock()).await.map(|(code, _)| code)
}

/// Where the read models of these servers lie.
pub(super) fn views_at(servers: &Servers, config: &Config) -> ViewsAt {
    let projections = servers.projections(config);
    ViewsAt { redis_url: projections.redis_url, namespace: projections.namespace, log_id: config.log.id.to_string() }
}

/// Checks and reports; `json` makes the last line one JSON document. The bar goes to stderr, where that is a terminal.
pub(crate) async fn run(
    pool: &PgPool,
    options: &Options,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<(ExitCode, Report)> {
    let bar = ProgressBar::new(0).with_style(style()).with_message("checking");
    let checked = check(pool, options, |at, last| {
        bar.set_length(last);
        bar.set_position(at);
    })
    .await;
    bar.finish_and_clear();
    let report = checked.context("the log could not be checked")?;
    writeln!(out, "{}", report.to_table())?;
    if json {
        writeln!(out, "{}", report.to_json())?;
    }
    out.flush()?;
    Ok((if report.ok { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) }, report))
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {human_pos} of {human_len} events, {per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
