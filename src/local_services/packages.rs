//! Finds the servers' programs, and installs their packages where that is ours to do.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::account::{self, is_root};
use crate::error::Error;
use crate::lock::{Lock, Mode};
use crate::reporter::Reporter;

/// One installer at a time on the whole machine, whatever the checkout.
const INSTALL_LOCK: &str = "/run/waybill-install.lock";
const POLICY: &str = "/usr/sbin/policy-rc.d";
const SAVED_POLICY: &str = "/usr/sbin/policy-rc.d.saved-by-waybill";
/// Known by its second line when it was left behind by a process that was killed.
const OUR_POLICY: &str = "#!/bin/sh\n# waybill: no packaged server is started while packages are installed\nexit 101\n";
const INSTALLS_WITHIN: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Postgres,
    Redis,
    RabbitMq,
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Redis, Self::RabbitMq];

    /// As in folder names: `postgres`, `redis`, `rabbitmq`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// Its package on Debian and Ubuntu.
    pub fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Redis => "redis-server",
            Self::RabbitMq => "rabbitmq-server",
        }
    }

    /// The user that its package makes.
    pub(crate) fn package_user(self) -> &'static str {
        self.name()
    }

    /// What is run to start it: for Postgres the folder of its programs. `made_by`: the version that an existing data folder needs.
    pub(crate) fn find(self, made_by: Option<u32>) -> Option<PathBuf> {
        match self {
            Self::Postgres => postgres_programs(made_by),
            Self::Redis => on_path("redis-server"),
            Self::RabbitMq => rabbitmq_script(),
        }
    }

    /// Empty when it will not tell.
    pub(crate) async fn version(self, program: &Path) -> String {
        let asked = match self {
            Self::Postgres => first_line(&program.join("postgres"), "--version").await,
            Self::Redis => redis_version_text(program).await,
            // `rabbitmqctl version` takes a second; the folder is named after it.
            Self::RabbitMq => fs::canonicalize(program)
                .ok()
                .and_then(|real| Some(real.ancestors().nth(2)?.file_name()?.to_str()?.rsplit_once('-')?.1.to_owned())),
        };
        let text = asked.unwrap_or_default();
        text.split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "Postgres",
            Self::Redis => "Redis",
            Self::RabbitMq => "RabbitMQ",
        })
    }
}

/// Sees to it that the programs of all `services` are there.
pub(crate) async fn ensure(services: &[Service], may_install: bool, reporter: &dyn Reporter) -> Result<(), Error> {
    if is_root() {
        mend_policy();
    }
    if missing(services).is_empty() {
        return Ok(());
    }
    let packages = names(&missing(services));
    if !(may_install && is_root() && has_apt()) {
        return Err(Error::Missing { packages });
    }
    let _lock = Lock::wait(Path::new(INSTALL_LOCK), Mode::Exclusive, INSTALLS_WITHIN, "another installation").await?;
    let missing_now = missing(services);
    if missing_now.is_empty() {
        return Ok(());
    }
    let packages = names(&missing_now);
    reporter
        .say(&format!("Installing Debian packages that are missing: {packages}. No packaged server is started by it."));
    install(&missing_now).await?;
    match missing(services) {
        left if left.is_empty() => Ok(()),
        left => Err(Error::Missing { packages: names(&left) }),
    }
}

fn missing(services: &[Service]) -> Vec<Service> {
    services.iter().copied().filter(|service| service.find(None).is_none()).collect()
}

fn names(services: &[Service]) -> String {
    services.iter().map(|service| service.package()).collect::<Vec<_>>().join(" ")
}

fn has_apt() -> bool {
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    on_path("apt-get").is_some()
        && about.lines().any(|line| line.starts_with("ID") && (line.contains("debian") || line.contains("ubuntu")))
}

async fn install(services: &[Service]) -> Result<(), Error> {
    let _policy = Policy::deny()?;
    // What an installation that was cut off has left half done stands in the way of the next.
    account::output(
        Command::new("dpkg").args(["--configure", "-a"]).env("DEBIAN_FRONTEND", "noninteractive"),
        INSTALLS_WITHIN,
    )
    .await
    .ok();
    // A machine that cannot update its lists may still have the packages in its old ones.
    apt(&["update", "-q"]).await.ok();
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(services.iter().map(|service| service.package()));
    apt(&arguments).await.map_err(|error| match error {
        Error::Failed { output, .. } => Error::Install { packages: names(services), output },
        error => error,
    })
}

async fn apt(arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    account::output(&mut command, INSTALLS_WITHIN).await.map(drop)
}

/// While it lives, packages may not start their servers; afterwards the machine's own rule is back.
struct Policy;

impl Policy {
    fn deny() -> Result<Self, Error> {
        mend_policy_now();
        if Path::new(POLICY).exists() {
            fs::rename(POLICY, SAVED_POLICY).map_err(Error::folder("move", POLICY))?;
        }
        // From here on dropping puts it back, also when the next lines fail.
        let policy = Self;
        fs::write(POLICY, OUR_POLICY).map_err(Error::folder("write", POLICY))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .map_err(Error::folder("set the mode of", POLICY))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        mend_policy_now();
    }
}

/// Puts back what an installer that was killed has left, unless one is at work.
fn mend_policy() {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == OUR_POLICY)
        && let Ok(Some(_lock)) = Lock::attempt(Path::new(INSTALL_LOCK), Mode::Exclusive)
    {
        mend_policy_now();
    }
}

fn mend_policy_now() {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == OUR_POLICY) {
        fs::remove_file(POLICY).ok();
    }
    if Path::new(SAVED_POLICY).exists() {
        fs::rename(SAVED_POLICY, POLICY).ok();
    }
}

/// Also where an ordinary user's path does not lead.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/lib/erlang/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn postgres_programs(made_by: Option<u32>) -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, folder): &(u32, PathBuf)| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .collect();
    found.sort();
    if let Some(made_by) = made_by {
        found.retain(|(version, _)| *version == made_by);
    }
    match found.pop() {
        Some((_, folder)) => Some(folder),
        None => on_path("initdb").and_then(|path| Some(fs::canonicalize(path).ok()?.parent()?.to_owned())),
    }
}

fn rabbitmq_script() -> Option<PathBuf> {
    let own = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if own.is_file() {
        return Some(own);
    }
    // Elsewhere it is not wrapped: the path leads to RabbitMQ's own folder.
    on_path("rabbitmq-server")
        .and_then(|path| fs::canonicalize(path).ok())
        .filter(|path| path.with_file_name("rabbitmq-env").is_file())
}

/// Major and minor number.
pub(crate) async fn redis_version(program: &Path) -> Option<(u32, u32)> {
    let text = redis_version_text(program).await?;
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `Redis server v=7.0.15 sha=...`
async fn redis_version_text(program: &Path) -> Option<String> {
    let line = first_line(program, "--version").await?;
    line.split_whitespace().find_map(|word| word.strip_prefix("v=").map(str::to_owned))
}

async fn first_line(program: &Path, argument: &str) -> Option<String> {
    let output = account::output(account::command(None, program).arg(argument), Duration::from_secs(10)).await.ok()?;
    output.lines().next().map(str::to_owned)
}
