//! For tests: the checkout's servers, and in them a database, a virtual host or a Redis database of one's own.
//!
//! Everything here panics where it fails, with the whole chain of causes: a test can do nothing else about it.

mod dump;
mod eventually;
pub(crate) mod janitor;
mod proxy;
pub(crate) mod template;

use std::error::Error as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use crate::error::Error;
use crate::host::{LocalServices, Options};
use crate::postgres::Postgres;
use crate::process::Identity;
use crate::rabbitmq::RabbitMq;
use crate::redis::{self, Redis};
pub use dump::dump_and_restore;
pub use eventually::{eventually, eventually_within};
use janitor::{Chore, Janitor};
pub use proxy::PostgresProxy;

/// The servers of the checkout under test, shared by all tests of all its test binaries.
#[derive(Debug)]
pub struct TestServices {
    pub postgres: Postgres,
    pub redis: Redis,
    pub rabbitmq: RabbitMq,
    janitor: Janitor,
    _services: LocalServices,
}

impl TestServices {
    /// Starts or joins them, once a process. Holds nothing of the runtime it is called from.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestServices> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let mut services =
            expect(LocalServices::acquire(Options::new(workspace()), &say).await, "start the local servers");
        let (postgres, redis, rabbitmq) = (services.postgres.take(), services.redis.take(), services.rabbitmq.take());
        let postgres = postgres.expect("all services were asked for");
        let redis = redis.expect("all services were asked for");
        let rabbitmq = rabbitmq.expect("all services were asked for");
        let janitor = Janitor::start(postgres.clone(), rabbitmq.clone());
        Self { postgres, redis, rabbitmq, janitor, _services: services }
    }

    /// A database of one's own, cloned in tens of milliseconds from a template that `migrate` fills once per `schema`,
    /// by whichever process comes first. `migrate` gets a superuser's URL and has closed its connections when it returns.
    ///
    /// `schema`: a name of all that `migrate` does, such as a hash of the migrations; letters, digits and `_`, up to 40.
    pub async fn fresh_database<E>(
        &self,
        schema: &str,
        migrate: impl AsyncFnOnce(String) -> Result<(), E>,
    ) -> TestDatabase
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let template = expect(template::ensure(&self.postgres, schema, migrate).await, "make the template database");
        let name = fresh_name();
        expect(template::clone(&self.postgres, &template, &name).await, "clone the template database");
        TestDatabase { postgres: self.postgres.clone(), janitor: self.janitor.clone(), name }
    }

    /// An empty virtual host of one's own.
    pub async fn fresh_vhost(&self) -> TestVhost {
        let name = fresh_name();
        expect(self.rabbitmq.create_vhost(&name).await, "make a virtual host");
        TestVhost { rabbitmq: self.rabbitmq.clone(), janitor: self.janitor.clone(), name }
    }

    /// An empty Redis database. There are 1,023, handed out in turn.
    pub async fn fresh_redis(&self) -> TestRedis {
        let counted =
            expect(self.redis.ask(&[&["INCR", "waybill:databases-handed-out"]]).await, "take a Redis database");
        let count: u32 = counted[0].parse().expect("INCR answers with a number");
        let number = 1 + count % (redis::DATABASES - 1);
        expect(self.redis.ask(&[&["SELECT", &number.to_string()], &["FLUSHDB"]]).await, "empty a Redis database");
        TestRedis { redis: self.redis.clone(), number }
    }
}

/// A database that goes away with this value, connections or not.
#[derive(Debug)]
pub struct TestDatabase {
    pub name: String,
    pub postgres: Postgres,
    janitor: Janitor,
}

impl TestDatabase {
    pub fn url(&self, user: &str) -> String {
        self.postgres.url(&self.name, user)
    }

    pub fn superuser_url(&self) -> String {
        self.postgres.superuser_url(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.janitor.ask(Chore::DropDatabase(std::mem::take(&mut self.name)));
    }
}

/// A virtual host that goes away with this value.
#[derive(Debug)]
pub struct TestVhost {
    pub name: String,
    pub rabbitmq: RabbitMq,
    janitor: Janitor,
}

impl TestVhost {
    pub fn url(&self) -> String {
        self.rabbitmq.url(&self.name)
    }
}

impl Drop for TestVhost {
    fn drop(&mut self) {
        self.janitor.ask(Chore::DeleteVhost(std::mem::take(&mut self.name)));
    }
}

/// A Redis database for one test.
#[derive(Debug)]
pub struct TestRedis {
    pub number: u32,
    pub redis: Redis,
}

impl TestRedis {
    pub fn url(&self) -> String {
        self.redis.url(self.number)
    }
}

/// The folder that holds all our crates: `cargo test` names the crate under test.
fn workspace() -> PathBuf {
    let tested = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let this = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
    let start = tested.unwrap_or(this);
    start.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&start).to_owned()
}

/// Past the test harness, which would keep it until the test fails: an installation takes minutes.
fn say(sentence: &str) {
    writeln!(std::io::stderr(), "{sentence}").ok();
}

/// Names its process, so that a later one can tell whether it still lives.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Identity { pid, started } = *own();
    format!("t_{pid}_{started}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn own() -> &'static Identity {
    static OWN: OnceLock<Identity> = OnceLock::new();
    OWN.get_or_init(Identity::own)
}

/// The process that a name was made by.
fn maker(name: &str) -> Option<Identity> {
    let mut parts = name.strip_prefix("t_")?.split('_');
    Some(Identity { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? })
}

fn expect<T>(outcome: Result<T, Error>, doing: &str) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => {
            let mut chain = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                chain.push_str(&format!("\n  because: {cause}"));
                source = cause.source();
            }
            panic!("cannot {doing}: {chain}")
        }
    }
}
