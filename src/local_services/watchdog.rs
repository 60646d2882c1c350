//! The detached shell script that outlives all users and stops the servers after the last of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::account;
use crate::error::Error;
use crate::lock::{Lock, Mode};

const SCRIPT: &str = include_str!("watchdog.sh");

/// What happens when the last user is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Duty {
    /// Stop in good order; data stay.
    Stop,
    /// Kill, and remove the folder.
    Remove,
}

/// Sees to it that one is on duty. The caller is a user already, so it cannot end meanwhile.
pub(crate) async fn ensure(
    state: &Path,
    data: &Path,
    sockets: &Path,
    grace: Duration,
    duty: Duty,
) -> Result<(), Error> {
    let orders = format!("{}\n{}\n{}\n", grace.as_secs_f64(), data.display(), sockets.display());
    replace(&state.join("host"), &orders)?;
    if Lock::attempt(&state.join("watchdog.lock"), Mode::Exclusive)?.is_none() {
        return Ok(());
    }
    let script = state.join("watchdog.sh");
    replace(&script, SCRIPT)?;
    let duty = match duty {
        Duty::Stop => "stop",
        Duty::Remove => "remove",
    };
    let mut command = account::detached(None, "sh");
    command.arg(script).arg(state).arg(duty).status().await.map_err(Error::run("setsid"))?;
    Ok(())
}

/// Never half written for a reader, nor for a shell that still reads the old one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_added_extension(std::process::id().to_string());
    account::own_file(&new, None, 0o600, text)?;
    fs::rename(&new, path).map_err(Error::folder("write", path))
}
