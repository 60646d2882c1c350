//! The unprivileged users that servers run as where we are root, and commands run as them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Account {
    /// The package's own user where we are root, or `nobody` where there is none; `None` otherwise: then servers run as ourselves.
    pub(crate) fn for_server(package_user: &str) -> Option<Self> {
        is_root().then(|| {
            Self::named(package_user).or_else(|| Self::named("nobody")).unwrap_or(Self { uid: 65_534, gid: 65_534 })
        })
    }

    fn named(name: &str) -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            Some(Self { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
    }
}

/// A command of the account, with nothing of our environment but a path: no `PG*` or `RABBITMQ_*` variable reaches a server by accident.
pub(crate) fn command(account: Option<&Account>, program: impl AsRef<OsStr>) -> Command {
    let mut command = match account {
        None => Command::new(program),
        Some(Account { uid, gid }) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups")
                .arg("--")
                .arg(program);
            command
        }
    };
    clean(&mut command);
    command
}

/// The same in a session of its own, so that no Ctrl-C and no closed terminal reaches it; its parent is gone at once.
pub(crate) fn detached(account: Option<&Account>, program: impl AsRef<OsStr>) -> Command {
    let inner = command(account, program);
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(inner.as_std().get_program()).args(inner.as_std().get_args());
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

/// Runs to the end and returns what it printed; `Failed` carries its complaint.
pub(crate) async fn output(command: &mut Command, patience: Duration) -> Result<String, Error> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).output();
    let output = tokio::time::timeout(patience, running)
        .await
        .map_err(|_| Error::Failed {
            program: program.clone(),
            output: format!("no end after {} s", patience.as_secs()),
        })?
        .map_err(Error::run(&program))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Failed {
        program,
        output: format!("{}\n{}", text(&output.stdout), text(&output.stderr)).trim().to_owned(),
    })
}

/// Makes the folder, or takes it over, for the account alone.
pub(crate) fn own_folder(path: &Path, account: Option<&Account>, mode: u32) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::folder("make", path))?;
    give(path, account, mode)
}

/// Writes a file that only the account can read.
pub(crate) fn own_file(path: &Path, account: Option<&Account>, mode: u32, text: &str) -> Result<(), Error> {
    // A read-only file of an earlier start cannot be written again by an ordinary user.
    fs::remove_file(path).ok();
    fs::write(path, "").map_err(Error::folder("write", path))?;
    give(path, account, 0o600)?;
    fs::write(path, text).map_err(Error::folder("write", path))?;
    give(path, account, mode)
}

fn give(path: &Path, account: Option<&Account>, mode: u32) -> Result<(), Error> {
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid)).map_err(Error::folder("hand over", path))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::folder("set the mode of", path))
}

/// Whether the account can get into `folder` through all that lies above it. Asked of the kernel, so that ACLs count too.
pub(crate) async fn can_enter(account: &Account, folder: &Path) -> bool {
    output(command(Some(account), "test").arg("-x").arg(folder), Duration::from_secs(10)).await.is_ok()
}
