//! A Postgres of our own: `initdb` once, a Unix socket in a folder that only its user can enter, durability as by default.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::account;
use crate::error::Error;
use crate::launch::{Answers, Home};
use crate::packages::Service;
use crate::process;

const SUPERUSER: &str = "postgres";
const SETTINGS: [&str; 7] = [
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "max_connections=200",
    "max_locks_per_transaction=256", // each session locks all partitions of the log: a billion events
    "cluster_name=waybill",
    "logging_collector=off",
    "log_checkpoints=off",
];

/// Where a Postgres listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    pub socket_dir: PathBuf,
    pub port: u16,
    pub superuser: String,
}

impl Postgres {
    pub(crate) fn at(socket_dir: PathBuf, port: u16) -> Self {
        Self { socket_dir, port, superuser: SUPERUSER.to_owned() }
    }

    /// For sqlx and psql, over the Unix socket. Users need no password: only its own user (and root) can enter the socket's folder.
    pub fn url(&self, database: &str, user: &str) -> String {
        let host = self.socket_dir.to_string_lossy().replace('/', "%2F");
        format!("postgres://{user}@{host}:{}/{database}", self.port)
    }

    pub fn superuser_url(&self, database: &str) -> String {
        self.url(database, &self.superuser)
    }

    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection, Error> {
        let failed = |source| Error::Postgres { doing: "connect", source };
        let options =
            PgConnectOptions::from_str(&self.superuser_url(database)).map_err(failed)?.disable_statement_logging();
        let connected = tokio::time::timeout(Duration::from_secs(20), options.connect()).await;
        connected.map_err(|_| failed(sqlx::Error::PoolTimedOut))?.map_err(failed)
    }
}

impl Answers for Postgres {
    async fn answers(&self) -> bool {
        // Looks before it knocks: a failed connect is logged by Postgres while it recovers.
        let socket = self.socket_dir.join(format!(".s.PGSQL.{}", self.port));
        if !socket.exists() {
            return false;
        }
        match self.connect(SUPERUSER).await {
            Ok(connection) => connection.close().await.is_ok(),
            // "The database system is starting up" is no answer; any other refusal (too many clients) is one.
            Err(Error::Postgres { source: sqlx::Error::Database(refusal), .. }) => {
                refusal.code().as_deref() != Some("57P03")
            }
            Err(_) => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PostgresServer {
    /// The folder of `initdb` and `postgres`.
    pub(crate) programs: PathBuf,
    pub(crate) home: Home,
    pub(crate) at: Postgres,
    /// Also on 127.0.0.1, for whoever wants to stand between: never for a server that outlives a test, for it asks no password.
    pub(crate) tcp: bool,
}

impl PostgresServer {
    /// Starts it, and makes its data folder first where there is none.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        account::own_folder(&self.at.socket_dir, self.home.account.as_ref(), 0o700)?;
        if !self.home.folder.exists() {
            self.initialise().await?;
        }
        match self.launch().await {
            // A killed postmaster's children may hold the shared memory for another moment.
            Err(Error::Died { .. }) => self.launch().await,
            outcome => outcome,
        }
    }

    async fn launch(&self) -> Result<(), Error> {
        let mut command = self.home.server(self.programs.join("postgres"))?;
        command.arg("-D").arg(&self.home.folder);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        if !has_shared_memory() {
            command.arg("-c").arg("dynamic_shared_memory_type=mmap");
        }
        command.arg("-c").arg(format!("port={}", self.at.port));
        command.arg("-c").arg(format!("unix_socket_directories={}", self.at.socket_dir.display()));
        command.arg("-c").arg(if self.tcp { "listen_addresses=127.0.0.1" } else { "listen_addresses=" });
        self.home.launch(&mut command, &self.at).await
    }

    /// Takes a copy of a running server's data as its own, and will follow that server once it starts.
    pub(crate) async fn copy_of(&self, primary: &Postgres) -> Result<(), Error> {
        account::own_folder(&self.home.folder, self.home.account.as_ref(), 0o700)?;
        let mut copy = self.home.command(self.programs.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "-U", SUPERUSER, "-h"]);
        copy.arg(&primary.socket_dir).arg("-p").arg(primary.port.to_string()).arg("-D").arg(&self.home.folder);
        account::output(&mut copy, Duration::from_secs(120)).await.map(drop)
    }

    /// Under another name until it is whole: a folder of the right name is a folder that works.
    async fn initialise(&self) -> Result<(), Error> {
        let unfinished = self.home.folder.with_extension("unfinished");
        // Of a starter that was killed, `initdb` may still be at work.
        process::kill(&unfinished).await.map_err(|left| Error::Unstoppable {
            service: Service::Postgres,
            pid: left.pid,
            folder: unfinished.clone(),
        })?;
        remove_folder(&unfinished)?;
        account::own_folder(&unfinished, self.home.account.as_ref(), 0o700)?;
        let mut initdb = self.home.command(self.programs.join("initdb"));
        initdb.arg("-D").arg(&unfinished).args(["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", SUPERUSER]);
        account::output(&mut initdb, Duration::from_secs(120)).await?;
        fs::rename(&unfinished, &self.home.folder).map_err(Error::folder("make", &self.home.folder))
    }
}

/// Containers often have 64 MB of it, too little for parallel queries.
fn has_shared_memory() -> bool {
    rustix::fs::statvfs("/dev/shm").is_ok_and(|about| about.f_blocks.saturating_mul(about.f_frsize) >= 256 << 20)
}

/// The major version that made a data folder.
pub(crate) fn made_by(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join("PG_VERSION")).ok()?.trim().parse().ok()
}

pub(crate) fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::folder("remove", path)(error)),
        _ => Ok(()),
    }
}
