//! File locks that the kernel releases when their holder dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// Held until dropped. Children never inherit it: std opens files with `O_CLOEXEC`.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Polls rather than blocks, so that a wait has an end and can be cancelled.
    pub(crate) async fn wait(path: &Path, mode: Mode, patience: Duration, what: &'static str) -> Result<Self, Error> {
        let start = Instant::now();
        loop {
            if let Some(lock) = Self::attempt(path, mode)? {
                return Ok(lock);
            }
            if start.elapsed() > patience {
                return Err(Error::Locked { what, seconds: patience.as_secs(), path: path.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `None`: somebody holds it, or the file was replaced under us and the next try opens the new one.
    pub(crate) fn attempt(path: &Path, mode: Mode) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Folder { doing: "lock", path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let outcome = match mode {
            Mode::Shared => file.try_lock_shared(),
            Mode::Exclusive => file.try_lock(),
        };
        match outcome {
            Ok(()) if is_at(&file, path) => Ok(Some(Self { _file: file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// A removed folder takes its lock file along; a lock on what nobody else can open protects nothing.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
