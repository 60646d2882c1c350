//! Starts one server, and waits until it answers or has died.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::account::{self, Account};
use crate::error::Error;
use crate::packages::Service;
use crate::process;

/// RabbitMQ needs 4 to 8 s on an idle machine; a busy one may take many times that.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Before this, a server that is not seen may not have been forked yet.
const BORN_WITHIN: Duration = Duration::from_secs(3);
/// Postgres writes a checkpoint as it stops, RabbitMQ its queues.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Whether a server answers where it should listen. Says no while it starts, recovers or stops.
pub(crate) trait Answers: Sync {
    fn answers(&self) -> impl Future<Output = bool> + Send;
}

/// Where one server lives and as whom it runs.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) service: Service,
    /// Holds all its files; entered by its account alone.
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) account: Option<Account>,
}

impl Home {
    pub(crate) fn new(service: Service, data: &Path, log: PathBuf) -> Self {
        Self { service, folder: data.join(service.name()), log, account: Account::for_server(service.package_user()) }
    }

    pub(crate) fn make(&self) -> Result<(), Error> {
        account::own_folder(&self.folder, self.account.as_ref(), 0o700)
    }

    /// A command as the server's user.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        account::command(self.account.as_ref(), program.as_ref())
    }

    /// A command that becomes the server: detached, in its folder, writing to its log.
    pub(crate) fn server(&self, program: impl AsRef<Path>) -> Result<Command, Error> {
        let failed = |source| Error::Folder { doing: "write", path: self.log.clone(), source };
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = account::detached(self.account.as_ref(), program.as_ref());
        command.current_dir(&self.folder).stdout(log.try_clone().map_err(failed)?).stderr(log);
        Ok(command)
    }

    /// Runs `command`, and returns when it answers. What started and does not answer is ended.
    pub(crate) async fn launch(&self, command: &mut Command, at: &impl Answers) -> Result<(), Error> {
        self.turn_log();
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let status = command.status().await.map_err(Error::run(&program))?;
        if !status.success() {
            return Err(self.died());
        }
        let start = Instant::now();
        let mut look_at = start + BORN_WITHIN;
        while !at.answers().await {
            // Not at every turn: it reads all of /proc.
            if Instant::now() > look_at {
                look_at = Instant::now() + Duration::from_millis(500);
                if !self.has_process() {
                    return Err(self.died());
                }
            }
            if start.elapsed() > READY_WITHIN {
                self.kill().await?;
                return Err(Error::Slow {
                    service: self.service,
                    seconds: READY_WITHIN.as_secs(),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Erlang's port mapper is started apart and outlives the VM.
    fn has_process(&self) -> bool {
        process::inside(&self.folder).iter().any(|process| process.name != "epmd")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        process::leader(&self.folder).map(|process| process.pid)
    }

    pub(crate) async fn stop(&self) -> Result<(), Error> {
        process::stop(&self.folder, STOPS_WITHIN).await.map_err(|left| self.unstoppable(left.pid))
    }

    pub(crate) fn ask_to_stop(&self) {
        process::ask_to_stop(&self.folder);
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        process::kill(&self.folder).await.map_err(|left| self.unstoppable(left.pid))
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        for process in process::inside(&self.folder) {
            process::signal(&process, signal);
        }
    }

    fn unstoppable(&self, pid: u32) -> Error {
        Error::Unstoppable { service: self.service, pid, folder: self.folder.clone() }
    }

    fn died(&self) -> Error {
        Error::Died { service: self.service, log: self.log.clone(), tail: self.tail() }
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// A log does not grow for ever; a restart keeps what led to it.
    fn turn_log(&self) {
        const ENOUGH_BYTES: u64 = 4 << 20;
        let Ok(mut log) = OpenOptions::new().append(true).open(&self.log) else { return };
        if log.metadata().is_ok_and(|about| about.len() > ENOUGH_BYTES) {
            fs::copy(&self.log, self.log.with_extension("log.old")).ok();
            log.set_len(0).ok();
        }
        writeln!(log, "--- started by process {} ---", std::process::id()).ok();
    }
}
