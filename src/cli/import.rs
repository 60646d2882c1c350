//! `waybill import online-retail PATH...`: brings the UCI data in through the front door, and shows that all of it is accounted for.
//!
//! Exit status 0: every line is accounted for, nothing was refused, and all orders are settled. 1: not so, and the report says what.
//! Anything else: the files could not be read, or Waybill did not answer; repeating the import is harmless.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::import::{Options, Plan, Sent, read, send};

const NOT_ALL: u8 = 1;

/// Imports the files, folders of files, or gzipped files at `paths`. `settled` tells how many sagas are open.
pub(crate) async fn online_retail(
    paths: Vec<PathBuf>,
    options: &Options,
    json: bool,
    settled: impl AsyncFn() -> anyhow::Result<u64>,
    out: &mut impl Write,
) -> anyhow::Result<(ExitCode, Sent)> {
    let location = options.location.clone();
    let plan = tokio::task::spawn_blocking(move || anyhow::Ok(Plan::of(&read(&paths)?, &location)))
        .await
        .context("reading the files was broken off")??;
    anyhow::ensure!(plan.accounts.balance(), "the plan does not account for every line:\n{}", plan.accounts.to_table());
    let bar = ProgressBar::new(0).with_style(style());
    let sent = send(plan, options, settled, |phase, done, total| {
        bar.set_message(phase);
        bar.set_length(total);
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    let sent = sent.context("the import did not come to its end; repeat it, nothing is placed twice")?;
    report(&sent, json, out)?;
    Ok((if sent.ok() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALL) }, sent))
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
