//! Starts the servers of a checkout or joins those that run, and stops them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folders;
use crate::launch::{Answers, Home};
use crate::lock::{Lock, Mode};
use crate::packages::{self, Service};
use crate::ports;
use crate::postgres::{self, Postgres, PostgresServer};
use crate::process;
use crate::rabbitmq::{RabbitMq, RabbitMqServer};
use crate::redis::{Redis, RedisServer};
use crate::reporter::Reporter;
use crate::watchdog::{self, Duty};

/// Stopping takes up to 30 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(90);
/// Another process may be installing packages.
const STARTED_WITHIN: Duration = Duration::from_secs(1200);
/// Its folder is its own, so every Postgres of ours can have the same port.
const POSTGRES_PORT: u16 = 5432;

/// Which servers a caller uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    pub postgres: bool,
    pub redis: bool,
    pub rabbitmq: bool,
}

impl Needs {
    pub const ALL: Self = Self { postgres: true, redis: true, rabbitmq: true };
    pub const POSTGRES: Self = Self { postgres: true, redis: false, rabbitmq: false };
    pub const POSTGRES_AND_REDIS: Self = Self { postgres: true, redis: true, rabbitmq: false };

    #[must_use]
    pub fn any(self) -> bool {
        self != Self { postgres: false, redis: false, rabbitmq: false }
    }

    pub(crate) fn services(self) -> Vec<Service> {
        let wanted = |service: &Service| match service {
            Service::Postgres => self.postgres,
            Service::Redis => self.redis,
            Service::RabbitMq => self.rabbitmq,
        };
        Service::ALL.into_iter().filter(wanted).collect()
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Whose servers these are; state lies in its `.waybill`.
    pub checkout: PathBuf,
    pub needs: Needs,
    /// How long servers outlive their last user, so that the next one finds them running. The last to come decides.
    pub grace: Duration,
    /// Whether packages may be installed, where we are root on Debian or Ubuntu.
    pub install: bool,
}

impl Options {
    /// All three servers, twenty seconds of grace.
    pub fn new(checkout: impl Into<PathBuf>) -> Self {
        Self { checkout: checkout.into(), needs: Needs::ALL, grace: Duration::from_secs(20), install: true }
    }
}

/// A use of a checkout's servers: they run as long as one of these lives in any process.
#[derive(Debug)]
pub struct LocalServices {
    /// `None` where it was not among the [`Needs`]; likewise the others.
    pub postgres: Option<Postgres>,
    pub redis: Option<Redis>,
    pub rabbitmq: Option<RabbitMq>,
    data: PathBuf,
    checkout: PathBuf,
    _user: Lock,
}

impl LocalServices {
    /// Starts what is needed and does not run, together; joins what does. Tells `reporter` what a person should know.
    ///
    /// Takes milliseconds to join, 5 to 10 s to start all three, minutes where packages are installed.
    pub async fn acquire(options: Options, reporter: &dyn Reporter) -> Result<Self, Error> {
        let state = folders::state(&options.checkout)?;
        let user = Lock::wait(&state.join("users.lock"), Mode::Shared, STOPPED_WITHIN, "the servers to stop").await?;
        let starting = Lock::wait(
            &state.join("start.lock"),
            Mode::Exclusive,
            STARTED_WITHIN,
            "another process to start the servers",
        )
        .await?;
        let services = options.needs.services();
        let mut running = Running::read(&state);
        let absent = running.absent(&services).await;
        if !absent.is_empty() {
            packages::ensure(&absent, options.install, reporter).await?;
            let data = folders::data(&state, &Service::ALL, reporter).await?;
            if running.data != data {
                running = Running { data, ..Running::default() };
            }
        }
        let sockets = folders::sockets(&running.data)?;
        // On duty before the first server starts: should we be killed while starting, it cleans up.
        watchdog::ensure(&state, &running.data, &sockets, options.grace, Duty::Stop).await?;
        if !absent.is_empty() {
            let names = absent.iter().map(Service::to_string).collect::<Vec<_>>().join(", ");
            reporter.say(&format!("Starting {names} for {} ...", options.checkout.display()));
            let outcome = running.start(&absent, &sockets).await;
            running.write(&state)?;
            outcome?;
        }
        drop(starting);
        let Running { data, postgres, redis, rabbitmq } = running;
        Ok(Self {
            postgres: postgres.filter(|_| options.needs.postgres).map(|started| started.at),
            redis: redis.filter(|_| options.needs.redis).map(|started| started.at),
            rabbitmq: rabbitmq.filter(|_| options.needs.rabbitmq).map(|started| started.at),
            data,
            checkout: options.checkout,
            _user: user,
        })
    }

    /// Where the servers' data and logs lie.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Gives up this use, and stops the servers at once instead of after the grace if it was the last. Tells whether they stopped.
    pub async fn stop_if_last(self) -> Result<bool, Error> {
        let checkout = self.checkout.clone();
        drop(self);
        stop(&checkout).await
    }
}

/// Stops all servers of a checkout now. `false`: somebody uses them, and they go on.
pub async fn stop(checkout: &Path) -> Result<bool, Error> {
    let state = folders::state(checkout)?;
    let Some(_nobody_else) = lock_out(&state.join("users.lock")).await? else { return Ok(false) };
    for data in folders::data_candidates(&state) {
        for service in Service::ALL {
            // Signals all at once below; here one by one would add up their times.
            Home::new(service, &data, log(&data, service)).ask_to_stop();
        }
    }
    for data in folders::data_candidates(&state) {
        for service in Service::ALL {
            Home::new(service, &data, log(&data, service)).stop().await?;
        }
        folders::remove_sockets(&data);
    }
    fs::remove_file(state.join("services.json")).ok();
    Ok(true)
}

/// The exclusive lock, or `None` if there are users. A watchdog that is stopping the servers is waited for.
async fn lock_out(path: &Path) -> Result<Option<Lock>, Error> {
    let start = Instant::now();
    let mut users_since = None;
    loop {
        if let Some(lock) = Lock::attempt(path, Mode::Exclusive)? {
            return Ok(Some(lock));
        }
        // One that can be shared is held by users; a moment's patience, for the watchdog too takes a look now and then.
        users_since = Lock::attempt(path, Mode::Shared)?.and(users_since.or_else(|| Some(Instant::now())));
        if users_since.is_some_and(|since: Instant| since.elapsed() > Duration::from_millis(300)) {
            return Ok(None);
        }
        if start.elapsed() > STOPPED_WITHIN {
            return Err(Error::Locked {
                what: "the servers to stop",
                seconds: STOPPED_WITHIN.as_secs(),
                path: path.to_owned(),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn log(data: &Path, service: Service) -> PathBuf {
    data.join(format!("{}.log", service.name()))
}

/// `services.json`: what runs, for whoever joins and whoever looks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) data: PathBuf,
    pub(crate) postgres: Option<Started<Postgres>>,
    pub(crate) redis: Option<Started<Redis>>,
    pub(crate) rabbitmq: Option<Started<RabbitMq>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started<T> {
    pub(crate) pid: u32,
    #[serde(flatten)]
    pub(crate) at: T,
}

impl Running {
    /// Empty where there is none or a broken one: what runs nevertheless is found by its folder.
    pub(crate) fn read(state: &Path) -> Self {
        let text = fs::read(state.join("services.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, state: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("plain structs become JSON");
        watchdog::replace(&state.join("services.json"), &text)
    }

    /// Those of `services` that do not run or do not answer.
    async fn absent(&self, services: &[Service]) -> Vec<Service> {
        let (postgres, redis, rabbitmq) = tokio::join!(
            self.answers(Service::Postgres),
            self.answers(Service::Redis),
            self.answers(Service::RabbitMq)
        );
        let answers = |service: &Service| match service {
            Service::Postgres => postgres,
            Service::Redis => redis,
            Service::RabbitMq => rabbitmq,
        };
        services.iter().copied().filter(|service| !answers(service)).collect()
    }

    /// Both the process that was started and an answer: a number may belong to another process by now, a port too.
    pub(crate) async fn answers(&self, service: Service) -> bool {
        let leader = process::leader(&self.data.join(service.name())).map(|process| process.pid);
        match service {
            Service::Postgres => match &self.postgres {
                Some(started) => leader == Some(started.pid) && patiently(&started.at).await,
                None => false,
            },
            Service::Redis => match &self.redis {
                Some(started) => leader == Some(started.pid) && patiently(&started.at).await,
                None => false,
            },
            Service::RabbitMq => match &self.rabbitmq {
                Some(started) => leader == Some(started.pid) && patiently(&started.at).await,
                None => false,
            },
        }
    }

    async fn start(&mut self, absent: &[Service], sockets: &Path) -> Result<(), Error> {
        let secret = secret(&self.data)?;
        let wanted = |service| absent.contains(&service);
        let (postgres, redis, rabbitmq) = tokio::join!(
            async { if wanted(Service::Postgres) { Some(self.start_postgres(sockets).await) } else { None } },
            async { if wanted(Service::Redis) { Some(self.start_redis(&secret).await) } else { None } },
            async { if wanted(Service::RabbitMq) { Some(self.start_rabbitmq(&secret).await) } else { None } },
        );
        // What did start is recorded even if another did not.
        let mut failure = None;
        keep(postgres, &mut self.postgres, &mut failure);
        keep(redis, &mut self.redis, &mut failure);
        keep(rabbitmq, &mut self.rabbitmq, &mut failure);
        failure.map_or(Ok(()), Err)
    }

    async fn start_postgres(&self, sockets: &Path) -> Result<Started<Postgres>, Error> {
        let home = self.clean_home(Service::Postgres).await?;
        let made_by = postgres::made_by(&home.folder);
        let programs = program(Service::Postgres, made_by)?;
        if let Some(made_by) = made_by {
            let found = Service::Postgres.version(&programs).await;
            if found.split('.').next() != Some(made_by.to_string().as_str()) {
                return Err(Error::OtherVersion { folder: home.folder, made_by, found });
            }
        }
        let at = Postgres::at(sockets.join("postgres"), POSTGRES_PORT);
        let server = PostgresServer { programs, home, at, tcp: false };
        server.start().await?;
        Ok(Started { pid: server.home.pid().unwrap_or_default(), at: server.at })
    }

    async fn start_redis(&self, secret: &str) -> Result<Started<Redis>, Error> {
        let home = self.clean_home(Service::Redis).await?;
        let program = program(Service::Redis, None)?;
        let mut last = None;
        // Where one has died, its port first: those who use it will find the new one there.
        for port in ports::preferring(self.redis.as_ref().map(|started| started.at.port))? {
            let at = Redis { port, password: secret.to_owned() };
            let server = RedisServer { program: program.clone(), home: home.clone(), at };
            match server.start().await {
                Ok(()) => return Ok(Started { pid: server.home.pid().unwrap_or_default(), at: server.at }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::NoPort))
    }

    async fn start_rabbitmq(&self, secret: &str) -> Result<Started<RabbitMq>, Error> {
        let home = self.clean_home(Service::RabbitMq).await?;
        let program = program(Service::RabbitMq, None)?;
        let at = match &self.rabbitmq {
            Some(started) => started.at.clone(),
            None => RabbitMq::on_free_ports(secret.to_owned())?,
        };
        let server = RabbitMqServer { program, home, at };
        match server.start().await {
            Ok(()) => Ok(Started { pid: server.home.pid().unwrap_or_default(), at: server.at }),
            // A port may have been taken meanwhile.
            Err(Error::Died { .. }) => {
                server.home.kill().await?;
                let server = RabbitMqServer { at: RabbitMq::on_free_ports(secret.to_owned())?, ..server };
                server.start().await?;
                Ok(Started { pid: server.home.pid().unwrap_or_default(), at: server.at })
            }
            Err(error) => Err(error),
        }
    }

    /// The server's place, rid of whatever an earlier process has left running in it.
    async fn clean_home(&self, service: Service) -> Result<Home, Error> {
        let home = Home::new(service, &self.data, log(&self.data, service));
        home.stop().await?;
        Ok(home)
    }
}

fn keep<T>(outcome: Option<Result<Started<T>, Error>>, place: &mut Option<Started<T>>, failure: &mut Option<Error>) {
    match outcome {
        Some(Ok(started)) => *place = Some(started),
        Some(Err(error)) => *failure = Some(error),
        None => (),
    }
}

fn program(service: Service, made_by: Option<u32>) -> Result<PathBuf, Error> {
    service
        .find(made_by)
        .or_else(|| service.find(None))
        .ok_or_else(|| Error::Missing { packages: service.package().to_owned() })
}

/// Time for one that recovers after a crash: whoever finds it silent stops and starts it, under others that use it.
async fn patiently(at: &impl Answers) -> bool {
    let start = Instant::now();
    while !at.answers().await {
        if start.elapsed() > Duration::from_secs(10) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    true
}

/// The password of Redis and RabbitMQ; as lasting as the data, for RabbitMQ remembers it.
fn secret(data: &Path) -> Result<String, Error> {
    let path = data.join("secret");
    if let Ok(secret) = fs::read_to_string(&path)
        && !secret.is_empty()
    {
        return Ok(secret);
    }
    let secret = ports::random_hex::<16>();
    watchdog::replace(&path, &secret)?;
    Ok(secret)
}
