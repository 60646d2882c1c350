//! Why local servers could not be had; each message says what a person can do about it.

use std::io;
use std::path::PathBuf;

use crate::packages::Service;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}", path.display())]
    Folder { doing: &'static str, path: PathBuf, source: io::Error },
    /// Somebody else was there first; a shared `/tmp` must not make us trust their files.
    #[error("{} belongs to another user or is no folder; remove it, or set the servers' addresses in the configuration", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "the servers need packages that are not installed ({packages}): install them with your package manager (Debian and Ubuntu: \
         apt-get install {packages}), or start deploy/compose.yaml and take its servers with --config deploy/waybill.toml"
    )]
    Missing { packages: String },
    #[error(
        "cannot install {packages}: {output}\nInstall them yourself, or start deploy/compose.yaml and take its servers with --config \
         deploy/waybill.toml"
    )]
    Install { packages: String, output: String },
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("{service} stopped while it was starting; its log {} ends with:\n{tail}", log.display())]
    Died { service: Service, log: PathBuf, tail: String },
    #[error("{service} did not answer within {seconds} s; its log {} ends with:\n{tail}", log.display())]
    Slow { service: Service, seconds: u64, log: PathBuf, tail: String },
    #[error("{service} would not stop (process {pid}, data in {})", folder.display())]
    Unstoppable { service: Service, pid: u32, folder: PathBuf },
    #[error("gave up after {seconds} s of waiting for {what}; who holds {}?", path.display())]
    Locked { what: &'static str, seconds: u64, path: PathBuf },
    #[error(
        "{} was made by PostgreSQL {made_by}, but {found} is installed: install postgresql-{made_by}, or move the folder away",
        folder.display()
    )]
    OtherVersion { folder: PathBuf, made_by: u32, found: String },
    #[error("cannot find a free port on 127.0.0.1")]
    NoPort,
    #[error("Postgres: cannot {doing}")]
    Postgres { doing: &'static str, source: sqlx::Error },
    #[error("{service} answered unexpectedly to {request}: {answer}")]
    Answer { service: Service, request: String, answer: String },
    #[error("{service} did not take {request}")]
    Io { service: Service, request: String, source: io::Error },
}

impl Error {
    pub(crate) fn folder(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { doing, path, source }
    }

    pub(crate) fn run(program: &str) -> impl FnOnce(io::Error) -> Self {
        let program = program.to_owned();
        move |source| Self::Run { program, source }
    }
}
