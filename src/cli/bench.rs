//! `waybill bench NAME`: ours and the limit of this machine, in turn, in the same run.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::output;
use crate::{
    bench::{Bench, Effort, Report},
    config::Config,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, required_unless_present = "list")]
    name: Option<Bench>,
    /// Names them all, with what each measures and its aim.
    #[arg(long)]
    list: bool,
    /// How often each is measured; a figure that is quoted is the median of at least 5.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of one measurement of a rate.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Events in the log that `read` reads.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    events: u64,
    /// Where plot and histogram go.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
}

pub(super) async fn run(config: Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let Some(bench) = args.name.filter(|_| !args.list) else {
        list(json);
        return Ok(ExitCode::SUCCESS);
    };
    let effort = Effort {
        rounds: args.rounds.into(),
        duration: Duration::from_secs(args.seconds.into()),
        events: args.events,
        store: config.store,
    };
    let report = bench.run(effort, Some(&args.out), |round| output::note(round)).await?;
    show(&report);
    if json {
        output::line(serde_json::to_string(&report)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) {
    let specs = Bench::ALL.map(Bench::spec);
    if json {
        let names: Vec<_> =
            specs.iter().map(|spec| serde_json::json!({ "bench": spec.name, "aim": spec.aim })).collect();
        output::line(serde_json::Value::from(names));
        return;
    }
    let mut table = output::table();
    table.set_header(["bench", "ours", "limit", "aim"]);
    for spec in specs {
        table.add_row([spec.name, spec.ours, spec.limit, &format!("{:.2}", spec.aim)]);
    }
    output::line(table);
}

fn show(report: &Report) {
    let mut table = output::table();
    table.set_header(["", &format!("median of {}, {}", report.runs.len(), report.limit.unit), "what"]);
    table.add_row(["limit", &format!("{:.0}", report.limit.median), report.spec.limit]);
    table.add_row(["ours", &format!("{:.0}", report.ours.median), report.spec.ours]);
    let verdict = if report.reaches_its_aim() { "reached" } else { "missed" };
    table.add_row(["ratio", &format!("{:.3}", report.ratio), &format!("aim {:.2}: {verdict}", report.aim)]);
    if let Some(p99) = report.p99 {
        let what = format!("p99: limit {:.0}, ours {:.0}; aim {:.2}", p99.limit, p99.ours, p99.aim);
        table.add_row(["", &format!("{:.3}", p99.ratio), &what]);
    }
    table.add_row(["machine", "", &report.machine.to_string()]);
    output::line(table);
}
