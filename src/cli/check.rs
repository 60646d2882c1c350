//! `waybill check`: verifies the log's invariants and says which event breaks one first.
//!
//! Exit status 0: all hold. 1: one is broken. Anything else: the log could not be read.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;

use crate::check::{Options, Report, check};

/// Some invariant is broken.
pub(crate) const BROKEN: u8 = 1;

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
    Ok((if report.ok { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) }, report))
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {human_pos} of {human_len} events, {per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
