//! `waybill doctor`: what was found on this machine and of the configured servers, and what is wrong.

mod configured;

use std::process::ExitCode;

use local_services::Inspection;
use serde_json::json;

use self::configured::Configured;
use super::output;
use crate::{config::Config, servers};

pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let needs = servers::without_url(&config);
    let inspection =
        if needs.any() { Some(local_services::inspect(&servers::checkout(&config)?, needs).await?) } else { None };
    let configured = configured::ask(&config).await;
    let findings = inspection.iter().flat_map(|inspection| &inspection.findings);
    let mut problems: Vec<String> = findings.filter_map(|finding| finding.problem.clone()).collect();
    for Configured { server, problems: found, .. } in &configured {
        problems.extend(found.iter().map(|problem| format!("the configured {server}: {problem}")));
    }
    if json {
        let ok = problems.is_empty();
        output::line(json!({ "ok": ok, "problems": problems, "servers": inspection, "configured": configured }));
    } else {
        show(inspection.as_ref(), &configured);
        for problem in &problems {
            output::line(format_args!("Wrong: {problem}"));
        }
        if problems.is_empty() {
            output::line("Nothing is wrong.");
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::NOT_GOOD) })
}

fn show(inspection: Option<&Inspection>, configured: &[Configured]) {
    if let Some(inspection) = inspection {
        let mut table = output::table();
        table.set_header(["private server", "program", "version", "runs at", "problem"]);
        for finding in &inspection.findings {
            let program =
                finding.program.as_ref().map_or_else(|| "not found".into(), |path| path.display().to_string());
            let address = finding.address.clone().unwrap_or_else(|| "does not run".into());
            let problem = finding.problem.clone().unwrap_or_default();
            table.add_row([finding.service.to_string(), program, finding.version.clone(), address, problem]);
        }
        output::line(table);
        output::line(format_args!("State: {}\nData:  {}", inspection.state.display(), inspection.data.display()));
    }
    if !configured.is_empty() {
        let mut table = output::table();
        table.set_header(["configured server", "says", "problems"]);
        for Configured { server, says, problems } in configured {
            let says: Vec<String> = says.iter().map(|(name, value)| format!("{name} {value}")).collect();
            table.add_row([(*server).to_owned(), says.join(", "), problems.len().to_string()]);
        }
        output::line(table);
    }
}
