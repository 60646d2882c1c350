//! `waybill import online-retail PATH...`: brings the UCI data in through the front door, and shows that all of it is accounted for.
//!
//! Exit status 0: every line is accounted for, nothing was refused, and all orders are completed. 3: not so, and the report says what.
//! 1: the files could not be read, Waybill did not answer, or it was stopped; repeating the import is harmless.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    output,
    session::{self, Session},
    signal::stop_signal,
};
use crate::{
    config::Config,
    import::{Options, Plan, Sent, read, send},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The UCI "Online Retail" data: CSV files, gzipped or not, or folders of them.
    OnlineRetail(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Brings it into a Waybill that runs already, instead of starting one here.
    #[arg(long, value_name = "URL")]
    into: Option<String>,
}

/// The subcommand: reads the files, then starts all roles and the simulator, imports, waits until all is settled, stops them.
pub(super) async fn command(mut config: Config, command: &Command, json: bool) -> anyhow::Result<ExitCode> {
    let Command::OnlineRetail(args) = command;
    let plan = plan(args.paths.clone(), config.shop.location.to_string()).await?;
    if let Some(url) = &args.into {
        let (pool, _servers) = session::log_pool(&config).await?;
        return import(&config, url, plan, json, &pool).await;
    }
    config.take_free_ports();
    let session = Session::start(&mut config).await?;
    let pool = session.platform.log.pool().clone();
    let outcome = import(&config, &session.url()?, plan, json, &pool).await;
    session.stop().await;
    outcome
}

/// Everything that can be wrong with the files is found here, before anything is started or sent.
async fn plan(paths: Vec<PathBuf>, location: String) -> anyhow::Result<Plan> {
    let plan = tokio::task::spawn_blocking(move || anyhow::Ok(Plan::of(&read(&paths)?, &location)))
        .await
        .context("reading the files was broken off")?
        .context("the files cannot be imported")?;
    anyhow::ensure!(plan.accounts.balance(), "the plan does not account for every line:\n{}", plan.accounts.to_table());
    Ok(plan)
}

async fn import(config: &Config, url: &str, plan: Plan, json: bool, pool: &PgPool) -> anyhow::Result<ExitCode> {
    let options = Options { location: config.shop.location.to_string(), ..Options::new(url) };
    let settled = async || session::open_orders(pool).await;
    let endings = async |orders: &[Uuid]| session::endings(pool, orders).await;
    let bar = ProgressBar::new(0).with_style(style());
    let sending = send(plan, &options, settled, endings, |phase, done, total| {
        bar.set_message(phase);
        bar.set_length(total);
        bar.set_position(done);
    });
    let sent = tokio::select! {
        sent = sending => sent,
        () = stop_signal() => Err(anyhow::anyhow!("it was stopped")),
    };
    bar.finish_and_clear();
    let sent = sent.context("the import did not come to its end; repeat it, nothing is placed twice")?;
    report(&sent, json, &mut std::io::stdout())?;
    Ok(if sent.ok() { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) })
}

fn report(sent: &Sent, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{}", sent.accounts.to_table())?;
    let accepted = sent.accepted.iter().map(|(phase, count)| format!("{count} {phase}"));
    writeln!(out, "accepted: {}; in {} s", accepted.collect::<Vec<_>>().join(", "), sent.seconds)?;
    if sent.listed_before > 0 {
        writeln!(out, "{} products were listed before, with other particulars; they keep those", sent.listed_before)?;
    }
    if sent.refusals > 0 {
        writeln!(out, "{} requests were refused, the first of them:", sent.refusals)?;
        for refusal in &sent.refused {
            writeln!(out, "  {refusal}")?;
        }
    }
    let ended = sent.ended.iter().map(|(ending, count)| format!("{count} {ending}"));
    writeln!(out, "orders: {}", ended.collect::<Vec<_>>().join(", "))?;
    if sent.ended.contains_key("needs attention") {
        writeln!(out, "what needs attention waits for a person: see /v1/orders/{{id}}/timeline")?;
    }
    if sent.open > 0 {
        writeln!(out, "{} orders are not settled and did not move any more", sent.open)?;
    }
    if json {
        writeln!(out, "{}", serde_json::to_string(sent)?)?;
    }
    Ok(out.flush()?)
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
