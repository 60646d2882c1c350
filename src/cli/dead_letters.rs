//! `waybill dead-letters`: messages that no participant could read, and sending them again.

use std::process::ExitCode;

use serde_json::json;
use uuid::Uuid;

use super::{output, session};
use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists them, newest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Has the relay send one again to the queue it came from.
    Replay { id: Uuid },
}

pub(super) async fn run(config: Config, command: &Command, json: bool) -> anyhow::Result<ExitCode> {
    let (pool, _servers) = session::log_pool(&config).await?;
    match command {
        Command::List { limit } => {
            let letters = sagas::dead_letters::list(&pool, *limit).await?;
            if json {
                output::line(json!({ "ok": true, "dead_letters": letters }));
                return Ok(ExitCode::SUCCESS);
            }
            if letters.is_empty() {
                output::line("There are no dead letters.");
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = output::table();
            table.set_header(["id", "received", "queue", "reason", "state"]);
            for letter in letters {
                let received = letter.received_at.to_rfc3339();
                table.add_row([letter.id.to_string(), received, letter.queue, letter.reason, letter.state.to_string()]);
            }
            output::line(table);
        }
        Command::Replay { id } => {
            sagas::dead_letters::replay(&pool, *id).await?;
            if json {
                output::line(json!({ "ok": true }));
            } else {
                output::line("The relay sends it again as soon as it runs.");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
