//! Servers for one test alone, to be stopped, killed, paused and emptied at will; they keep their ports and sockets while they do.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::account;
use crate::error::Error;
use crate::folders;
use crate::launch::Home;
use crate::lock::{Lock, Mode};
use crate::packages::{self, Service};
use crate::ports;
use crate::postgres::{Postgres, PostgresServer, remove_folder};
use crate::process;
use crate::rabbitmq::{RabbitMq, RabbitMqServer};
use crate::redis::{Redis, RedisServer};
use crate::reporter::Silent;
use crate::watchdog::{self, Duty};

/// What all private servers can do. Dropping one kills it and removes its folder; so does the death of the process that made it.
#[derive(Debug)]
pub struct PrivateServer {
    home: Home,
    folder: PathBuf,
    /// Where its data lie, if that is a disk of its own.
    disk: Option<PathBuf>,
}

impl PrivateServer {
    async fn new(service: Service) -> Result<Self, Error> {
        packages::ensure(&[service], true, &Silent).await?;
        let shelter = Shelter::of_this_process().await?;
        let folder = shelter.folder.join(shelter.count.fetch_add(1, Ordering::Relaxed).to_string());
        folders::private(&folder)?;
        let home = Home::new(service, &folder, folder.join("log"));
        Ok(Self { home, folder, disk: None })
    }

    /// Puts its data, and not its log, on a disk of their own; says whether that could be done.
    fn mount(&mut self, bytes: u64) -> Result<bool, Error> {
        let disk = self.folder.join("disk");
        folders::private(&disk)?;
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0711"), "tmpfs"]).arg(&disk);
        let mounted = account::is_root() && mount.output().is_ok_and(|done| done.status.success());
        if mounted {
            self.home = Home::new(self.home.service, &disk, self.home.log.clone());
            self.disk = Some(disk);
        }
        Ok(mounted)
    }

    /// The root of the disk that its data have for themselves: whatever is put there takes room from them.
    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_deref()
    }

    /// In good order.
    pub async fn stop(&self) -> Result<(), Error> {
        // A stopped process does not hear SIGTERM.
        self.resume();
        self.home.stop().await
    }

    /// kill -9; returns when it is gone.
    pub async fn kill(&self) -> Result<(), Error> {
        self.home.kill().await
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.home.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.home.signal(Signal::CONT);
    }

    pub fn is_running(&self) -> bool {
        self.home.pid().is_some()
    }

    /// Kills it and removes its data: the next start begins with nothing.
    pub async fn wipe(&self) -> Result<(), Error> {
        self.kill().await?;
        remove_folder(&self.home.folder)
    }

    /// What it wrote to its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.home.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for PrivateServer {
    #[expect(clippy::disallowed_methods, reason = "a drop cannot await")]
    fn drop(&mut self) {
        let start = Instant::now();
        while process::inside(&self.folder).iter().map(|left| process::signal(left, Signal::KILL)).count() > 0
            && start.elapsed() < Duration::from_secs(2)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(disk) = &self.disk {
            std::process::Command::new("umount").arg("--lazy").arg(disk).output().ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A Postgres for one test alone.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: PostgresServer,
    private: PrivateServer,
}

impl PrivatePostgres {
    /// Makes and starts one: about a second.
    pub async fn create() -> Result<Self, Error> {
        let new = Self::of(PrivateServer::new(Service::Postgres).await?)?;
        new.start().await?;
        Ok(new)
    }

    /// One whose disk holds so many bytes and no more; none where this process may not mount, as only root may.
    pub async fn on_a_small_disk(bytes: u64) -> Result<Option<Self>, Error> {
        let mut private = PrivateServer::new(Service::Postgres).await?;
        if !private.mount(bytes)? {
            return Ok(None);
        }
        let new = Self::of(private)?;
        new.start().await?;
        Ok(Some(new))
    }

    /// Another one that holds what this one holds and follows it: some seconds.
    pub async fn standby(&self) -> Result<Self, Error> {
        let new = Self::of(PrivateServer::new(Service::Postgres).await?)?;
        new.server.copy_of(self.at()).await?;
        new.start().await?;
        Ok(new)
    }

    fn of(private: PrivateServer) -> Result<Self, Error> {
        let at = Postgres::at(private.folder.join("socket"), ports::free()?);
        let (programs, home) = (found(Service::Postgres)?, private.home.clone());
        Ok(Self { server: PostgresServer { programs, home, at, tcp: true }, private })
    }

    /// Again, after a stop, a kill or a wipe; nothing if it runs.
    pub async fn start(&self) -> Result<(), Error> {
        if self.is_running() {
            return Ok(());
        }
        self.server.start().await
    }

    /// Listens on this port of 127.0.0.1 too, for whoever wants to stand between.
    pub fn at(&self) -> &Postgres {
        &self.server.at
    }
}

/// A Redis for one test alone.
#[derive(Debug)]
pub struct PrivateRedis {
    server: RedisServer,
    private: PrivateServer,
}

impl PrivateRedis {
    /// Makes and starts one: some 50 ms.
    pub async fn create() -> Result<Self, Error> {
        let private = PrivateServer::new(Service::Redis).await?;
        let at = Redis { port: ports::free()?, password: ports::random_hex::<16>() };
        let new =
            Self { server: RedisServer { program: found(Service::Redis)?, home: private.home.clone(), at }, private };
        new.start().await?;
        Ok(new)
    }

    /// Again, after a stop, a kill or a wipe; it comes back empty in any case.
    pub async fn start(&self) -> Result<(), Error> {
        if self.is_running() {
            return Ok(());
        }
        self.server.start().await
    }

    pub fn at(&self) -> &Redis {
        &self.server.at
    }
}

/// A RabbitMQ for one test alone.
#[derive(Debug)]
pub struct PrivateRabbitMq {
    server: RabbitMqServer,
    private: PrivateServer,
}

impl PrivateRabbitMq {
    /// Makes and starts one: 5 to 10 s.
    pub async fn create() -> Result<Self, Error> {
        let private = PrivateServer::new(Service::RabbitMq).await?;
        let at = RabbitMq::on_free_ports(ports::random_hex::<16>())?;
        let new = Self {
            server: RabbitMqServer { program: found(Service::RabbitMq)?, home: private.home.clone(), at },
            private,
        };
        new.start().await?;
        Ok(new)
    }

    /// Again, after a stop, a kill or a wipe; nothing if it runs.
    pub async fn start(&self) -> Result<(), Error> {
        if self.is_running() {
            return Ok(());
        }
        // The port mapper may have outlived the broker.
        self.private.kill().await?;
        self.server.start().await
    }

    pub fn at(&self) -> &RabbitMq {
        &self.server.at
    }

    /// `rabbitmqctl` with these arguments, such as `close_all_connections "a test"`; takes about a second.
    pub async fn control(&self, arguments: &[&str]) -> Result<String, Error> {
        self.server.control(arguments).await
    }
}

macro_rules! is_a_private_server {
    ($($name:ty),*) => { $(
        impl Deref for $name {
            type Target = PrivateServer;

            fn deref(&self) -> &PrivateServer {
                &self.private
            }
        }
    )* };
}
is_a_private_server!(PrivatePostgres, PrivateRedis, PrivateRabbitMq);

fn found(service: Service) -> Result<PathBuf, Error> {
    service.find(None).ok_or_else(|| Error::Missing { packages: service.package().to_owned() })
}

/// The folder of this process's private servers, with a watchdog that ends them when the process does, however it does.
struct Shelter {
    folder: PathBuf,
    count: AtomicU32,
    _user: Lock,
}

impl Shelter {
    async fn of_this_process() -> Result<&'static Self, Error> {
        static SHELTER: OnceCell<Shelter> = OnceCell::const_new();
        SHELTER.get_or_try_init(Self::new).await
    }

    async fn new() -> Result<Self, Error> {
        let folder = PathBuf::from(format!("/tmp/waybill-{}-{}", std::process::id(), ports::random_hex::<4>()));
        folders::private(&folder)?;
        account::own_file(&folder.join("users.lock"), None, 0o600, "")?;
        let user =
            Lock::wait(&folder.join("users.lock"), Mode::Shared, Duration::from_secs(10), "our own lock").await?;
        watchdog::ensure(&folder, &folder, &folder, Duration::ZERO, Duty::Remove).await?;
        Ok(Self { folder, count: AtomicU32::new(1), _user: user })
    }
}
