//! A whole shop: servers, simulator and `waybill run`, to be asked, killed and started again.

use std::{
    fs,
    net::TcpListener,
    ops::Deref,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use super::{
    client::{Answer, Client, Wish},
    eventually::{eventually, holds},
    program::{Ended, Environment, Program, run},
    servers::{Private, Servers},
};

/// Debug builds on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
/// The import of a month, by a debug build.
const COMMAND: Duration = Duration::from_secs(400);

/// Short, so that a fault is noticed within a test's patience.
const IMPATIENT: &[(&str, &str)] = &[
    ("sagas.times.resend_first_ms", "500"),
    ("sagas.times.resend_max_ms", "10000"),
    ("sagas.times.poll_ms", "50"),
    ("sagas.runner.lease_ms", "1000"),
    ("sagas.runner.flush_ms", "50"),
    ("sagas.broker.canary_ms", "500"),
    ("sagas.broker.timeout_ms", "3000"),
    ("sagas.providers.timeout_ms", "500"),
    ("sagas.providers.pause_ms", "20"),
    ("simulator.hang_ms", "1000"),
];

/// How a shop shall be.
#[derive(Default)]
pub(crate) struct Plan {
    private: Private,
    settings: Vec<(String, String)>,
    roles: Option<&'static str>,
    patient: bool,
}

pub(crate) struct Shop {
    pub(crate) servers: Servers,
    pub(crate) client: Client,
    /// Where the simulator answers.
    pub(crate) simulator_url: String,
    environment: Environment,
    roles: Option<&'static str>,
    waybill: Option<Program>,
    simulator: Option<Program>,
    folder: TempDir,
}

/// An order that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) position: String,
}

impl Plan {
    pub(crate) fn private_postgres(mut self) -> Self {
        self.private.postgres = true;
        self
    }

    pub(crate) fn private_redis(mut self) -> Self {
        self.private.redis = true;
        self
    }

    pub(crate) fn private_rabbitmq(mut self) -> Self {
        self.private.rabbitmq = true;
        self
    }

    /// A setting as `waybill.toml` names it: `sagas.times.poll_ms`.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// With the times of a real shop: for much work at once, which those who ask again too soon only add to.
    pub(crate) fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Only these roles at first.
    pub(crate) fn roles(mut self, roles: &'static str) -> Self {
        self.roles = Some(roles);
        self
    }

    /// Everything runs and answers, and there are mugs.
    pub(crate) async fn open(self) -> Shop {
        let mut shop = self.prepare().await;
        shop.start_simulator("127.0.0.1:0").await;
        shop.start().await;
        shop.stock("mug", 795, 100_000).await;
        shop
    }

    /// Servers, and no process of ours yet.
    pub(crate) async fn prepare(self) -> Shop {
        let folder = tempfile::Builder::new().prefix("shop-").tempdir_in(own_folder()).expect("a folder can be made");
        let servers = Servers::new(self.private).await;
        let port = free_port();
        let mut environment = Environment::new();
        let mut set = |name: &str, value: &str| {
            environment.insert(variable(name), value.to_owned());
        };
        if !self.patient {
            IMPATIENT.iter().for_each(|(name, value)| set(name, value));
        }
        set("http.listen", &format!("127.0.0.1:{port}"));
        databases(&servers).iter().for_each(|(name, url)| set(name, url));
        set("redis.url", &servers.redis_url());
        set("rabbitmq.url", &servers.amqp_url());
        set("files.directory", &folder.path().join("files").display().to_string());
        self.settings.iter().for_each(|(name, value)| set(name, value));
        environment.insert("RUST_LOG".into(), "info,lapin=off,sqlx=warn".into());
        environment.insert("RUST_BACKTRACE".into(), "1".into());
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        let (simulator_url, roles) = (String::new(), self.roles);
        Shop { servers, client, simulator_url, environment, roles, waybill: None, simulator: None, folder }
    }
}

impl Shop {
    pub(crate) fn plan() -> Plan {
        Plan::default()
    }

    pub(crate) async fn open() -> Self {
        Plan::default().open().await
    }

    /// One for all tests that leave its processes and servers alone. End the test with [`Guest::leave`].
    pub(crate) async fn shared() -> Guest {
        static SHARED: OnceCell<Shop> = OnceCell::const_new();
        let shop = SHARED.get_or_init(Self::open).await;
        Guest { shop, present: GUESTS.read().await, _witness: Witness(shop) }
    }

    // --- its processes ---

    /// Returns when every part is ready.
    pub(crate) async fn start(&mut self) {
        let mut waybill = self.another(self.roles);
        waybill.says("Waybill answers at", PATIENCE).await;
        self.waybill = Some(waybill);
        self.ready().await;
    }

    /// Starts it so that it dies at a failure point, which may be at once.
    pub(crate) fn start_doomed(&mut self, point: &str) {
        let mut environment = self.environment.clone();
        environment.insert("FAILPOINTS".into(), format!("{point}=return"));
        self.waybill = Some(Program::start(self.folder.path(), &["run"], &environment));
    }

    /// One more process of the same shop, with some roles or all of them.
    pub(crate) fn another(&self, roles: Option<&str>) -> Program {
        let mut arguments = vec!["run"];
        if let Some(roles) = roles {
            arguments.extend(["--roles", roles]);
        }
        Program::start(self.folder.path(), &arguments, &self.environment)
    }

    pub(crate) async fn ready(&self) {
        eventually("every part is ready", PATIENCE, async || {
            let answer = self.client.get("/readyz").await;
            holds(answer.status == 200, || answer.text)
        })
        .await;
    }

    pub(crate) fn waybill(&mut self) -> &mut Program {
        self.waybill.as_mut().expect("waybill was started")
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.waybill().kill();
    }

    /// Dumps the database of a shop that was killed, restores it on another server, and starts the shop there.
    pub(crate) async fn move_database(&mut self) {
        self.servers.move_database().await;
        self.environment.extend(databases(&self.servers).map(|(name, url)| (variable(name), url)));
        self.start().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// Runs other roles from the next start on; none are all.
    pub(crate) fn set_roles(&mut self, roles: Option<&'static str>) {
        self.roles = roles;
    }

    /// Ends it in good order, and looks whether it panicked.
    pub(crate) async fn stop(&mut self) {
        let waybill = self.waybill();
        let status = waybill.terminate(STOP).await;
        assert!(status.success(), "it ended with {status}");
        let log = waybill.log();
        assert!(
            !log.contains("panicked"),
            "{}",
            log.lines().find(|line| line.contains("panicked")).unwrap_or_default()
        );
    }

    pub(crate) async fn start_simulator(&mut self, listen: &str) {
        let waybill = self.environment["WAYBILL__HTTP__LISTEN"].clone();
        let arguments = ["simulate", "--listen", listen, "--waybill", &format!("http://{waybill}")];
        let mut simulator = Program::start(self.folder.path(), &arguments, &self.environment);
        let line = simulator.says("The simulator answers at", PATIENCE).await;
        let url = line.split(' ').find(|word| word.starts_with("http://")).expect("it tells where");
        self.simulator_url = url.trim_end_matches(';').to_owned();
        for provider in ["PAYMENT_URL", "CARRIER_URL"] {
            self.environment.insert(format!("WAYBILL__SAGAS__PROVIDERS__{provider}"), self.simulator_url.clone());
        }
        self.simulator = Some(simulator);
    }

    pub(crate) fn kill_simulator(&mut self) {
        self.simulator.as_mut().expect("the simulator was started").kill();
    }

    /// On the port and the ledgers that it had.
    pub(crate) async fn restart_simulator(&mut self) {
        let listen = self.simulator_url.trim_start_matches("http://").to_owned();
        self.start_simulator(&listen).await;
    }

    /// Runs another subcommand beside it, on the same servers.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Ended {
        self.command_with(arguments, &[]).await
    }

    /// With these variables set as well.
    pub(crate) async fn command_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ended {
        let mut environment = self.environment.clone();
        environment.remove("RUST_LOG");
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        run(self.folder.path(), arguments, &environment, COMMAND).await
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    // --- its business ---

    /// Lists an article and receives pieces of it.
    pub(crate) async fn stock(&self, sku: &str, price_minor: i64, pieces: u32) -> Answer {
        let price = json!({ "amount_minor": price_minor, "currency": "GBP" });
        let product = json!({ "sku": sku, "name": format!("A {sku} for every day"), "price": price });
        let listed = self.client.post("/v1/products", &format!("list-{sku}"), &product).await.expect(201);
        if pieces == 0 {
            return listed;
        }
        let receipt = json!({ "reference": "PO-1", "lines": [{ "sku": sku, "quantity": pieces }] });
        let path = "/v1/inventory/main/receipts";
        self.client.post(path, &format!("receive-{sku}"), &receipt).await.expect(201)
    }

    pub(crate) async fn place(&self, key: &str, wish: &Wish) -> Placed {
        Placed::from(self.client.post("/v1/orders", key, &wish.body()).await.expect(201))
    }

    /// As a storefront does that must know: again under the same key, until there is an answer.
    pub(crate) async fn place_stubbornly(client: &Client, key: &str, wish: &Wish) -> Placed {
        let body = wish.body();
        eventually(&format!("order {key} is accepted"), PATIENCE * 2, async || {
            match client.try_post("/v1/orders", key, &body).await {
                Ok(answer) if answer.status == 201 => Ok(Placed::from(answer)),
                // Only "later" and "unknown" may be the answer.
                Ok(answer) if answer.status == 503 => Err(answer.text),
                Ok(answer) => panic!("order {key} was refused: {}", answer.text),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    pub(crate) async fn cancel(&self, order_id: &str) -> Answer {
        let body = json!({ "reason": "changed my mind" });
        self.client.post(&format!("/v1/orders/{order_id}/cancel"), &format!("cancel-{order_id}"), &body).await
    }

    /// The order page, up to date with this position.
    pub(crate) async fn order_at(&self, placed: &Placed) -> Value {
        self.client.get_at(&format!("/v1/orders/{}", placed.id), &placed.position).await.expect(200).body
    }

    /// Waits until this has happened to the order, and returns its page then.
    pub(crate) async fn until(&self, order_id: &str, event_type: &str) -> Value {
        let path = format!("/v1/orders/{order_id}");
        eventually(&format!("{event_type} of order {order_id}"), PATIENCE, async || {
            let answer = self.client.get(&path).await;
            if event_types(&answer.body).iter().any(|happened| happened == event_type) {
                return Ok(answer.body);
            }
            Err(format!("{} {:#?}", answer.status, sentences(&answer.body)))
        })
        .await
    }

    /// Has the carrier send a parcel off that was held.
    pub(crate) async fn dispatch(&self, order_id: &str, carrier: &str, occurrence: u32) {
        let key = json!({ "booking_key": format!("fulfilment/{order_id}/book_shipment/{occurrence}") });
        let simulator = Client::new(&self.simulator_url);
        simulator.post(&format!("/carriers/{carrier}/dispatch"), "none", &key).await.expect(200);
    }

    // --- its log ---

    pub(crate) async fn log(&self) -> PgConnection {
        PgConnection::connect(&self.servers.owner_url()).await.expect("the owner may connect")
    }

    /// How many events of this type were recorded.
    pub(crate) async fn count(&self, event_type: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1").bind(event_type);
        count.fetch_one(&mut self.log().await).await.expect("the log can be read")
    }

    /// The last position.
    pub(crate) async fn head(&self) -> i64 {
        let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events");
        head.fetch_one(&mut self.log().await).await.expect("the log can be read")
    }

    /// Waits until every order that was placed has ended, or is with a person.
    pub(crate) async fn settled(&self, within: Duration) {
        let mut log = self.log().await;
        eventually("all orders are settled", within, async || {
            let open: Vec<String> = sqlx::query_scalar(OPEN).fetch_all(&mut log).await.expect("the log can be read");
            holds(open.is_empty(), || format!("{} are open: {:#?} ...", open.len(), &open[..open.len().min(3)]))
        })
        .await;
    }

    /// The stories of the orders that are open.
    pub(crate) async fn open_orders(&self) -> Vec<String> {
        sqlx::query_scalar(OPEN).fetch_all(&mut self.log().await).await.expect("the log can be read")
    }

    /// Waits until all is settled; then no invariant is broken, and provider and carriers have done what the log says.
    pub(crate) async fn check(&self) -> Value {
        self.settled(PATIENCE * 2).await;
        let mut log = self.log().await;
        eventually("what has ended waits for nothing", PATIENCE, async || {
            let left: i64 = sqlx::query_scalar(LEFT).fetch_one(&mut log).await.expect("the deadlines can be read");
            holds(left == 0, || format!("{left} deadlines are left"))
        })
        .await;
        let arguments = ["check", "--settled", "--ledger", &self.simulator_url, "--json"];
        let checked = self.command(&arguments).await;
        assert_eq!(checked.code(), Some(0), "{}\n{}", checked.out, checked.err);
        checked.json()
    }
}

/// The variable of a setting as `waybill.toml` names it.
fn variable(setting: &str) -> String {
    format!("WAYBILL__{}", setting.to_uppercase().replace('.', "__"))
}

fn databases(servers: &Servers) -> [(&'static str, String); 3] {
    [
        ("database.url", servers.service_url()),
        ("database.owner_url", servers.owner_url()),
        ("database.admin_url", servers.admin_url()),
    ]
}

/// Placed, and neither ended nor with a person: which, and how far it came. Told by the log alone.
const OPEN: &str = "SELECT placed.stream_id || coalesce((
        SELECT string_agg(': ' || told.event_type || coalesce(' ' || (told.payload ->> 'step'), ''), '' ORDER BY told.position)
        FROM events told WHERE told.stream_id = 'fulfilment-' || substr(placed.stream_id, 7)), '')
    FROM events placed WHERE placed.stream_id LIKE 'order-%' AND placed.event_type = 'OrderPlaced' AND NOT EXISTS (
        SELECT FROM events told WHERE told.stream_id = 'fulfilment-' || substr(placed.stream_id, 7)
        AND told.event_type IN ('FulfilmentCompleted', 'FulfilmentUnwound', 'NeedsAttention'))";

/// Deadlines of sagas that have ended.
const LEFT: &str = "SELECT count(*) FROM saga_deadlines AS waits JOIN events AS told
    ON told.stream_id = 'fulfilment-' || waits.order_id AND told.event_type IN ('FulfilmentCompleted', 'FulfilmentUnwound')";

impl From<Answer> for Placed {
    fn from(answer: Answer) -> Self {
        let id = answer.body["order_id"].as_str().unwrap_or_else(|| panic!("no order id: {answer:?}")).to_owned();
        Self { id, position: answer.position() }
    }
}

/// A use of the shared shop, which shows its last words where a test fails.
pub(crate) struct Guest {
    shop: &'static Shop,
    present: RwLockReadGuard<'static, ()>,
    _witness: Witness,
}

struct Witness(&'static Shop);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(waybill) = &self.0.waybill
        {
            waybill.show();
        }
    }
}

/// The tests that are in the shared shop.
static GUESTS: RwLock<()> = RwLock::const_new(());

impl Guest {
    /// Whoever leaves last checks all that has happened there.
    pub(crate) async fn leave(self) {
        let Self { shop, present, _witness } = self;
        drop(present);
        if let Ok(_alone) = GUESTS.try_write() {
            shop.check().await;
        }
    }
}

impl Deref for Guest {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        self.shop
    }
}

/// What happened to an order, as its page tells.
pub(crate) fn event_types(order: &Value) -> Vec<String> {
    entries(order, "event_type")
}

pub(crate) fn sentences(order: &Value) -> Vec<String> {
    entries(order, "what")
}

fn entries(order: &Value, field: &str) -> Vec<String> {
    let entries = order["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// Below the range from which the kernel takes ports for outgoing connections, and below that of our servers: still free
/// when a killed process is started again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 4_000).expect("it is less than 4,000");
    let candidates = std::iter::repeat_with(|| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 5_000);
    let mut free = candidates.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a thousand ports is free")
}

/// Where this process's shops keep their files; those of processes that are gone are removed.
fn own_folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("it-").filter(|pid| !Path::new("/proc").join(pid).exists());
        if maker.is_some() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    let own = all.join(format!("it-{}", std::process::id()));
    fs::create_dir_all(&own).expect("cargo's folder for tests can be written");
    own
}
