//! `waybill openapi`: the API's description, generated from the code.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::output;
use crate::api;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compares with this file instead of printing; status 3 when they differ.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "openapi.json")]
    check: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let current = api::whole().to_pretty_json().context("the description cannot be written as JSON")?;
    let Some(path) = &args.check else {
        output::line(current);
        return Ok(ExitCode::SUCCESS);
    };
    let committed = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if committed.trim_end() == current {
        return Ok(ExitCode::SUCCESS);
    }
    output::note(format_args!("{} is not what the code says: write it again with `waybill openapi`", path.display()));
    Ok(ExitCode::from(output::NOT_GOOD))
}
