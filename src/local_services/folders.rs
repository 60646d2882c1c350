//! Where things lie: locks and `services.json` in `.waybill`, data beside them or where the servers' users can get, sockets in a short folder.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::account::{Account, can_enter};
use crate::error::Error;
use crate::packages::Service;
use crate::reporter::Reporter;

/// The folder of the locks and of `services.json`: `.waybill` in the checkout, or a private one where that cannot be written
/// or is another user's.
pub(crate) fn state(checkout: &Path) -> Result<PathBuf, Error> {
    let checkout = fs::canonicalize(checkout).map_err(Error::folder("find", checkout))?;
    let own = checkout.join(".waybill");
    match prepare(&own) {
        Ok(()) => Ok(own),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            let elsewhere = elsewhere(&own);
            private(&elsewhere)?;
            Ok(elsewhere)
        }
        Err(error) => Err(Error::folder("use", own)(error)),
    }
}

fn prepare(state: &Path) -> io::Result<()> {
    fs::create_dir_all(state)?;
    // What another user has begun there is not for us to share: neither could stop the other's servers.
    if fs::metadata(state)?.uid() != own_uid() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    // The folder may have been made already for other files.
    let ignored = state.join(".gitignore");
    if !ignored.exists() {
        fs::set_permissions(state, Permissions::from_mode(0o755))?;
        fs::write(ignored, "*\n")?;
    }
    OpenOptions::new().create(true).append(true).open(state.join("users.lock")).map(drop)
}

/// The folder of the servers' data.
pub(crate) async fn data(state: &Path, services: &[Service], reporter: &dyn Reporter) -> Result<PathBuf, Error> {
    if let Some(obstacle) = obstacle(state, services).await {
        let elsewhere = elsewhere(state);
        private(&elsewhere)?;
        let data = elsewhere.join("data");
        reporter.say(&format!("The servers' data lie in {}, because {obstacle}.", data.display()));
        return made(data);
    }
    made(state.join("data"))
}

/// All places where data may lie, for whoever looks for what was left behind.
pub(crate) fn data_candidates(state: &Path) -> [PathBuf; 2] {
    [state.join("data"), elsewhere(state).join("data")]
}

fn made(data: PathBuf) -> Result<PathBuf, Error> {
    fs::create_dir_all(&data).map_err(Error::folder("make", &data))?;
    fs::set_permissions(&data, Permissions::from_mode(0o711)).map_err(Error::folder("set the mode of", &data))?;
    Ok(data)
}

async fn obstacle(state: &Path, services: &[Service]) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@~,=".contains(c);
    if !state.to_str().is_some_and(|path| path.chars().all(plain)) {
        return Some(format!("{} has characters that the servers' scripts do not take", state.display()));
    }
    for service in services {
        let Some(account) = Account::for_server(service.package_user()) else { continue };
        if !can_enter(&account, state).await {
            return Some(format!(
                "{service} does not run as root, and its user {} cannot enter {}",
                service.package_user(),
                state.display()
            ));
        }
    }
    None
}

fn elsewhere(state: &Path) -> PathBuf {
    PathBuf::from(format!("/var/tmp/waybill-{}-{}", own_uid(), fingerprint(state)))
}

/// A Unix socket's path has 107 bytes; a checkout's own path may be longer.
pub(crate) fn sockets(data: &Path) -> Result<PathBuf, Error> {
    let folder = sockets_of(data);
    private(&folder)?;
    Ok(folder)
}

/// Sockets without servers are of no use to anybody.
pub(crate) fn remove_sockets(data: &Path) {
    fs::remove_dir_all(sockets_of(data)).ok();
}

fn sockets_of(data: &Path) -> PathBuf {
    PathBuf::from(format!("/tmp/waybill-{}-{}", own_uid(), fingerprint(data)))
}

/// A folder of ours among other people's: refused if somebody else has made it, or a link to another place.
pub(crate) fn private(folder: &Path) -> Result<(), Error> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::folder("make", folder)(error)),
        _ => (),
    }
    let about = fs::symlink_metadata(folder).map_err(Error::folder("look at", folder))?;
    if !about.is_dir() || about.uid() != own_uid() {
        return Err(Error::Foreign { path: folder.to_owned() });
    }
    fs::set_permissions(folder, Permissions::from_mode(0o711)).map_err(Error::folder("set the mode of", folder))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// FNV-1a, written out: the same in every build, unlike std's hashers.
fn fingerprint(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
