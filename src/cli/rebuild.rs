//! `waybill rebuild NAME`: builds a read model anew beside the live one, compares, switches, and certifies it.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use comfy_table::Table;
use events::Log;
use projections::{Certificate, PROJECTIONS, Progress, RebuildOptions};
use tokio_util::sync::CancellationToken;

use super::{output, session, signal::stop_signal};
use crate::{config::Config, database, servers::Servers};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = PossibleValuesParser::new(PROJECTIONS))]
    name: String,
    /// Switches even if documents differ from the live ones, because of a new version or damage, and names them.
    #[arg(long)]
    accept_differences: bool,
    /// Starts at the first event even if an earlier rebuild was stopped half-way.
    #[arg(long)]
    from_scratch: bool,
    /// Makes the generation before the live one answer again, instead of building.
    #[arg(long, conflicts_with_all = ["accept_differences", "from_scratch"])]
    switch_back: bool,
}

pub(super) async fn run(config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let (pool, servers) = session::pool(&config).await?;
    if args.switch_back {
        let generation = projections::switch_back(&args.name, &servers.projections(&config)).await?;
        output::line(format_args!("{} is answered by generation {generation} again.", args.name));
        return Ok(ExitCode::SUCCESS);
    }
    let options = RebuildOptions {
        accept_differences: args.accept_differences,
        from_scratch: args.from_scratch,
        ..RebuildOptions::default()
    };
    let log = Log::new(pool, config.log.id.clone());
    let certificate = rebuild(&config, &servers, log, &args.name, &options).await?;
    if json {
        output::line(serde_json::to_string(&certificate)?);
    } else {
        output::line(table(&certificate));
    }
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds, from the log and those followed beside it, under a progress bar. Ctrl-C stops it; the next run resumes.
pub(super) async fn rebuild(
    config: &Config,
    servers: &Servers,
    log: Log,
    name: &str,
    options: &RebuildOptions,
) -> anyhow::Result<Certificate> {
    let stop = CancellationToken::new();
    let bar = output::bar(0, "rebuilding");
    let mut progress = |progress: Progress| {
        bar.set_length(progress.target.unsigned_abs());
        bar.set_position(progress.position.unsigned_abs());
    };
    let projections = servers.projections(config);
    let logs: Vec<Log> = std::iter::once(log).chain(database::followed(&config.log.follow)?).collect();
    let rebuilding = projections::rebuild(name, &projections, &logs, options, &mut progress, &stop);
    let outcome = async {
        tokio::pin!(rebuilding);
        tokio::select! {
            outcome = &mut rebuilding => outcome,
            () = stop_signal() => {
                stop.cancel();
                rebuilding.await
            }
        }
    }
    .await;
    bar.finish_and_clear();
    outcome.with_context(|| format!("{name} was not rebuilt"))
}

/// The certificate, for a person.
pub(super) fn table(certificate: &Certificate) -> Table {
    let mut table = output::table();
    table.add_row(["read model", &certificate.projection]);
    table.add_row(["code", &certificate.code_version]);
    table.add_row(["log", &format!("{} to {}", certificate.from, certificate.to)]);
    table.add_row(["events", &format!("{} ({:.0} a second)", certificate.events, certificate.events_per_s)]);
    table.add_row(["documents", &certificate.documents.to_string()]);
    table.add_row(["hash", &certificate.hash]);
    table.add_row(["compared", &compared(certificate)]);
    table.add_row(["took", &format!("{} ms", certificate.duration_ms)]);
    table
}

fn compared(certificate: &Certificate) -> String {
    let Some(before) = certificate.compared_with else { return "there was none before".into() };
    let (Some(version), Some(at)) = (&certificate.compared_version, &certificate.compared_at) else {
        return format!("generation {before} could not be compared");
    };
    let before = format!("generation {before} ({version}) at {at}");
    if certificate.equal {
        return format!("equal to {before}");
    }
    let (count, names) = (certificate.differences_count, certificate.differences.join(", "));
    let more = if count > certificate.differences.len() { ", ..." } else { "" };
    format!("{count} differ from {before}, accepted: {names}{more}")
}
