//! A Redis of our own: nothing on disk, since it holds only what may be lost.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::account;
use crate::error::Error;
use crate::launch::{Answers, Home};
use crate::packages::{self, Service};

/// One per test, see `testing`; an empty one costs nothing.
pub(crate) const DATABASES: u32 = 1024;

/// Where a Redis listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redis {
    pub port: u16,
    /// Keeps the other users of this machine out.
    pub password: String,
}

impl Redis {
    /// `database`: 0 to 1023.
    pub fn url(&self, database: u32) -> String {
        format!("redis://:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Sends the commands in one go and returns the first line of each answer, which is all of it for numbers and statuses.
    pub(crate) async fn ask(&self, commands: &[&[&str]]) -> Result<Vec<String>, Error> {
        let request = commands.iter().map(|command| command.join(" ")).collect::<Vec<_>>().join("; ");
        let failed = |source| Error::Io { service: Service::Redis, request: request.clone(), source };
        let conversation = async {
            let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
            stream.get_mut().set_nodelay(true)?;
            let login: &[&str] = &["AUTH", &self.password];
            let mut bytes = String::new();
            for command in std::iter::once(&login).chain(commands) {
                bytes.push_str(&format!("*{}\r\n", command.len()));
                command.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
            }
            stream.get_mut().write_all(bytes.as_bytes()).await?;
            let mut answers = Vec::new();
            for _ in 0..=commands.len() {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                answers.push(line.trim_end().to_owned());
            }
            Ok(answers)
        };
        let answers = tokio::time::timeout(Duration::from_secs(10), conversation)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        match answers.iter().find(|answer| !answer.starts_with(['+', ':'])) {
            Some(answer) => Err(Error::Answer { service: Service::Redis, request, answer: answer.clone() }),
            None => Ok(answers[1..].iter().map(|answer| answer[1..].to_owned()).collect()),
        }
    }
}

impl Answers for Redis {
    async fn answers(&self) -> bool {
        self.ask(&[&["PING"]]).await.is_ok_and(|answers| answers == ["PONG"])
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RedisServer {
    pub(crate) program: PathBuf,
    pub(crate) home: Home,
    pub(crate) at: Redis,
}

impl RedisServer {
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.home.make()?;
        let settings = self.home.folder.join("redis.conf");
        // In a file, not in the arguments, where everybody could read the password.
        account::own_file(&settings, self.home.account.as_ref(), 0o600, &self.settings().await)?;
        let mut command = self.home.server(&self.program)?;
        command.arg(&settings);
        self.home.launch(&mut command, &self.at).await
    }

    async fn settings(&self) -> String {
        let Redis { port, password } = &self.at;
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\ndaemonize no\nsave \"\"\nappendonly no\ndatabases {DATABASES}\n\
             maxmemory-policy noeviction\nrequirepass {password}\nloglevel notice\n",
            self.home.folder.display()
        );
        // From 6.2 Redis can keep its command line, by which we know it again; before that it is known by its folder.
        if packages::redis_version(&self.program).await >= Some((6, 2)) {
            text.push_str("set-proc-title no\n");
        }
        text
    }
}
