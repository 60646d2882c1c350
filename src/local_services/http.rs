//! The few requests to RabbitMQ's management API that fixtures need: a hundred times faster than starting `rabbitmqctl`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::packages::Service;
use crate::rabbitmq::RabbitMq;

const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

impl RabbitMq {
    /// Makes a virtual host in which our user may do everything.
    pub async fn create_vhost(&self, name: &str) -> Result<(), Error> {
        self.request("PUT", &format!("/api/vhosts/{name}"), "{}").await?;
        let everything = r#"{"configure":".*","write":".*","read":".*"}"#;
        self.request("PUT", &format!("/api/permissions/{name}/{}", self.user), everything).await.map(drop)
    }

    /// Removes a virtual host with all that is in it.
    pub async fn delete_vhost(&self, name: &str) -> Result<(), Error> {
        self.request("DELETE", &format!("/api/vhosts/{name}"), "").await.map(drop)
    }

    pub(crate) async fn vhosts(&self) -> Result<Vec<String>, Error> {
        let path = "/api/vhosts?columns=name";
        let body = self.request("GET", path, "").await?;
        vhosts_in(&body).map_err(|_| Error::Answer {
            service: Service::RabbitMq,
            request: path.to_owned(),
            answer: body.clone(),
        })
    }

    /// HTTP/1.0, so that the answer ends with the connection.
    async fn request(&self, method: &str, path: &str, body: &str) -> Result<String, Error> {
        let request = format!("{method} {path}");
        let failed = |source| Error::Io { service: Service::RabbitMq, request: request.clone(), source };
        let login = STANDARD.encode(format!("{}:{}", self.user, self.password));
        let message = format!(
            "{request} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {login}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let conversation = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.management_port)).await?;
            stream.set_nodelay(true)?;
            stream.write_all(message.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(ANSWERED_WITHIN, conversation)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        match head.split_whitespace().nth(1) {
            Some(status) if status.starts_with('2') => Ok(body.to_owned()),
            _ => Err(Error::Answer { service: Service::RabbitMq, request: request.clone(), answer: answer.clone() }),
        }
    }
}

pub(crate) fn vhosts_in(list: &str) -> Result<Vec<String>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Vhost {
            name: String,
        },
        /// What stands for a virtual host that is just being made or removed.
        Passing([(); 0]),
    }
    let entries: Vec<Entry> = serde_json::from_str(list)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Vhost { name } => Some(name),
            Entry::Passing([]) => None,
        })
        .collect())
}
