//! A RabbitMQ of our own, with its own Erlang port mapper, cookie, node and folders: nothing of the packaged instance is read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::account;
use crate::error::Error;
use crate::launch::{Answers, Home};
use crate::packages::{self, Service};
use crate::ports;
use crate::postgres::remove_folder;

const NODE: &str = "waybill@localhost";
const USER: &str = "waybill";

/// Where a RabbitMQ listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RabbitMq {
    pub port: u16,
    /// The management plugin: its pages and its HTTP API.
    pub management_port: u16,
    pub(crate) distribution_port: u16,
    pub(crate) port_mapper_port: u16,
    pub user: String,
    /// Keeps the other users of this machine out.
    pub password: String,
}

impl RabbitMq {
    pub(crate) fn on_free_ports(password: String) -> Result<Self, Error> {
        Ok(Self {
            port: ports::free()?,
            management_port: ports::free()?,
            distribution_port: ports::free()?,
            port_mapper_port: ports::free()?,
            user: USER.to_owned(),
            password,
        })
    }

    /// `vhost`: `/` is the one that is always there.
    pub fn url(&self, vhost: &str) -> String {
        let vhost = vhost.replace('%', "%25").replace('/', "%2F");
        format!("amqp://{}:{}@127.0.0.1:{}/{vhost}", self.user, self.password, self.port)
    }

    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.management_port)
    }
}

impl Answers for RabbitMq {
    /// RabbitMQ listens when it has started all else.
    async fn answers(&self) -> bool {
        greets_as_rabbitmq("127.0.0.1", self.port).await
    }
}

/// Whether the protocol's greeting is answered with a method frame (type 1), as a RabbitMQ without TLS does. Logs nobody in.
pub async fn greets_as_rabbitmq(host: &str, port: u16) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
        stream.read_u8().await.ok()
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), greeting).await, Ok(Some(1)))
}

#[derive(Debug, Clone)]
pub(crate) struct RabbitMqServer {
    /// The script in RabbitMQ's own folder: the one in `/usr/sbin` changes user and folder.
    pub(crate) program: PathBuf,
    pub(crate) home: Home,
    pub(crate) at: RabbitMq,
}

impl RabbitMqServer {
    /// Starts it; data of a first start that was cut off are thrown away.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let whole = self.path("whole");
        if !whole.exists() {
            remove_folder(&self.home.folder)?;
        }
        self.home.make()?;
        self.write_settings()?;
        self.start_port_mapper().await?;
        let mut command = self.home.server(&self.program)?;
        // The script passes arguments on to the Erlang VM: by this one we know it again.
        command.arg("-waybill").arg(self.path("data"));
        self.environment(&mut command);
        self.home.launch(&mut command, &self.at).await?;
        account::own_file(&whole, self.home.account.as_ref(), 0o600, "")
    }

    /// `rabbitmqctl` with these arguments; takes about a second.
    pub(crate) async fn control(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = self.home.command(self.program.with_file_name("rabbitmqctl"));
        command.args(arguments).current_dir(&self.home.folder);
        self.environment(&mut command);
        account::output(&mut command, Duration::from_secs(60)).await
    }

    /// An Erlang VM would start one by itself, with nothing to know it by.
    async fn start_port_mapper(&self) -> Result<(), Error> {
        let program = packages::on_path("epmd")
            .ok_or_else(|| Error::Missing { packages: Service::RabbitMq.package().to_owned() })?;
        let link = self.path("epmd");
        fs::remove_file(&link).ok();
        symlink(program, &link).map_err(Error::folder("make", &link))?;
        let port = self.at.port_mapper_port;
        let mut command = self.home.server(&link)?;
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        command.status().await.map_err(Error::run("epmd"))?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                let request = format!("a connection to its port mapper on port {port}");
                return Err(Error::Io {
                    service: Service::RabbitMq,
                    request,
                    source: std::io::ErrorKind::TimedOut.into(),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn write_settings(&self) -> Result<(), Error> {
        let account = self.home.account.as_ref();
        let RabbitMq { port, management_port, user, password, .. } = &self.at;
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management_port}\n\
             default_user = {user}\ndefault_pass = {password}\n\
             disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n\
             log.file = false\nlog.console = true\nlog.console.level = warning\nlog.console.use_colors = off\n"
        );
        account::own_file(&self.path("rabbitmq.conf"), account, 0o600, &settings)?;
        account::own_file(&self.path("enabled_plugins"), account, 0o600, "[rabbitmq_management].\n")?;
        let cookie = self.path(".erlang.cookie");
        if !cookie.exists() {
            account::own_file(&cookie, account, 0o400, &ports::random_hex::<16>())?;
        }
        Ok(())
    }

    fn environment(&self, command: &mut Command) {
        let absent = self.path("absent");
        command
            .env("HOME", &self.home.folder)
            .env("RABBITMQ_NODENAME", NODE)
            .env("RABBITMQ_DIST_PORT", self.at.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.at.port_mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", self.path("data"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_SCHEMA_DIR", self.path("schema"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.path("generated"))
            .env("RABBITMQ_PID_FILE", self.path("rabbitmq.pid"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", &absent)
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", absent.with_extension("config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("enabled_plugins"))
            // Nor may any Erlang VM start another port mapper, which nobody would find and end.
            .env("ERL_AFLAGS", "-start_epmd false")
            // Makes the script become the Erlang VM instead of standing before it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            // Without busy waiting: the cores are shared with everything else.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
            );
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(&self.home.folder, name)
    }
}
