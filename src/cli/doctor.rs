//! `waybill doctor`: what was found on this machine, and what is wrong.

use std::process::ExitCode;

use serde_json::json;

use super::output;
use crate::{config::Config, database, servers};

pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let inspection = local_services::inspect(&servers::checkout(&config)?).await?;
    let mut problems: Vec<String> = inspection.findings.iter().filter_map(|finding| finding.problem.clone()).collect();
    if let Some(url) = &config.database.url
        && let Err(error) = database::connect(url, 1).await
    {
        problems.push(format!("the configured database: {error:#}"));
    }
    if json {
        output::line(json!({ "ok": problems.is_empty(), "problems": problems, "servers": inspection }));
    } else {
        let mut table = output::table();
        table.set_header(["server", "program", "version", "runs at", "problem"]);
        for finding in &inspection.findings {
            let program =
                finding.program.as_ref().map_or_else(|| "not found".into(), |path| path.display().to_string());
            let address = finding.address.clone().unwrap_or_else(|| "does not run".into());
            let problem = finding.problem.clone().unwrap_or_default();
            table.add_row([finding.service.to_string(), program, finding.version.clone(), address, problem]);
        }
        output::line(table);
        output::line(format_args!("State: {}\nData:  {}", inspection.state.display(), inspection.data.display()));
        for problem in &problems {
            output::line(format_args!("Wrong: {problem}"));
        }
        if problems.is_empty() {
            output::line("Nothing is wrong.");
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) })
}
