//! A ledger file: one JSON line a record, appended and synced before anybody hears of it. What waits is written in one
//! go, so that many requests share an fsync.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const WAITING_MAX: usize = 8192;
const BATCH_MAX: usize = 1024;
/// How long a request waits for a place in the queue; a sync of a busy disk takes a fraction of this.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot open the ledger {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "another process holds the ledger {}: stop that `waybill up`, `demo`, `import` or `simulate`; what is imported can go into \
         a Waybill that runs with --into",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("cannot read line {line} of the ledger {}: move the file away to start with an empty one", path.display())]
    Unreadable { path: PathBuf, line: usize, source: serde_json::Error },
}

/// Opens and locks the file and hands each of its lines to `read`. A last line without its end was never answered for:
/// it is cut off.
pub(super) fn open<L: DeserializeOwned>(path: &Path, mut read: impl FnMut(L)) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let whole = replay(path, &file, &mut read)?;
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if whole < length {
        tracing::warn!(path = %path.display(), bytes = length - whole, "the ledger ends in a torn line, which is cut off");
        file.set_len(whole).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(file)
}

/// Returns the length of the whole lines.
fn replay<L: DeserializeOwned>(path: &Path, file: &File, read: &mut impl FnMut(L)) -> Result<u64, OpenError> {
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let (mut whole, mut number, mut bytes) = (0, 0, Vec::new());
    loop {
        bytes.clear();
        let length =
            lines.read_until(b'\n', &mut bytes).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        if bytes.last() != Some(&b'\n') {
            return Ok(whole);
        }
        number += 1;
        let line = serde_json::from_slice(&bytes).map_err(|source| OpenError::Unreadable {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        read(line);
        whole += length as u64;
    }
}

/// The ledger cannot take a line: it is full, broken or closed. What was not answered may or may not be in it.
#[derive(Debug, thiserror::Error)]
#[error("the ledger takes no more lines for now")]
pub(super) struct Unavailable;

#[derive(Clone)]
pub(super) struct Journal(mpsc::Sender<Entry>);

struct Entry {
    bytes: Vec<u8>,
    durable: oneshot::Sender<bool>,
}

impl Journal {
    /// Starts the writer of `file`. It ends with `shutdown`, after what was appended before.
    pub(super) fn start(file: File, path: PathBuf, shutdown: CancellationToken, tracker: &TaskTracker) -> Self {
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        tracker.spawn(write(Writer { file, path, broken: false }, entries, shutdown));
        Self(sender)
    }

    /// A place in the file. Lines stand in the order of `Place::append`, not of `place`.
    pub(super) async fn place(&self) -> Result<Place<'_>, Unavailable> {
        match timeout(WAIT_MAX, self.0.reserve()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    /// Waits until all that was appended so far is durable.
    pub(super) async fn barrier(&self) -> Result<(), Unavailable> {
        self.place().await?.append_bytes(Vec::new()).wait().await
    }
}

pub(super) struct Place<'a>(mpsc::Permit<'a, Entry>);

impl Place<'_> {
    pub(super) fn append(self, line: &impl Serialize) -> Durable {
        let mut bytes = serde_json::to_vec(line).expect("a ledger line has text keys and no failing serializer");
        bytes.push(b'\n');
        self.append_bytes(bytes)
    }

    fn append_bytes(self, bytes: Vec<u8>) -> Durable {
        let (durable, wait) = oneshot::channel();
        self.0.send(Entry { bytes, durable });
        Durable(wait)
    }
}

/// The promise that a line is on the disk.
pub(super) struct Durable(oneshot::Receiver<bool>);

impl Durable {
    pub(super) async fn wait(self) -> Result<(), Unavailable> {
        match self.0.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Unavailable),
        }
    }
}

struct Writer {
    file: File,
    path: PathBuf,
    /// After a failed write the file's end is unknown: nothing is written behind it any more.
    broken: bool,
}

impl Writer {
    fn append(&mut self, bytes: &[u8]) -> bool {
        if self.broken {
            return false;
        }
        if bytes.is_empty() {
            return true;
        }
        if let Err(error) = self.file.write_all(bytes).and_then(|()| self.file.sync_data()) {
            tracing::error!(path = %self.path.display(), %error, "the ledger cannot be written; nothing is answered any more");
            self.broken = true;
        }
        !self.broken
    }
}

async fn write(mut writer: Writer, mut entries: mpsc::Receiver<Entry>, shutdown: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let count = tokio::select! {
            count = entries.recv_many(&mut batch, BATCH_MAX) => count,
            () = shutdown.cancelled(), if !entries.is_closed() => {
                entries.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let bytes: Vec<u8> = batch.iter().flat_map(|entry: &Entry| entry.bytes.iter().copied()).collect();
        let written = tokio::task::spawn_blocking(move || {
            let durable = writer.append(&bytes);
            (writer, durable)
        });
        // A writer that was lost to a panic or to the end of the runtime drops what waits, which says "unavailable".
        let Ok((returned, durable)) = written.await else { return };
        writer = returned;
        for entry in batch.drain(..) {
            // Who asked may have gone; the line stands all the same.
            let _ = entry.durable.send(durable);
        }
    }
}
