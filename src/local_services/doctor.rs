//! What `waybill doctor` tells of the local servers: programs found, servers running, what is wrong and what to do about it.

use std::path::{Path, PathBuf};

use crate::account::is_root;
use crate::error::Error;
use crate::folders;
use crate::host::{Needs, Running};
use crate::packages::Service;
use crate::process;
use crate::reporter::Silent;

/// The local servers of a checkout as they are now.
#[derive(Debug, serde::Serialize)]
pub struct Inspection {
    pub state: PathBuf,
    pub data: PathBuf,
    pub findings: Vec<Finding>,
}

#[derive(Debug, serde::Serialize)]
pub struct Finding {
    pub service: Service,
    /// For Postgres the folder of its programs.
    pub program: Option<PathBuf>,
    /// Empty when unknown.
    pub version: String,
    /// The running server's process id.
    pub pid: Option<u32>,
    /// Where it listens, without password.
    pub address: Option<String>,
    /// In words, with what to do about it.
    pub problem: Option<String>,
}

/// Looks at those that are needed, starts nothing, and changes nothing but for making the empty folders.
pub async fn inspect(checkout: &Path, needs: Needs) -> Result<Inspection, Error> {
    let state = folders::state(checkout)?;
    let running = Running::read(&state);
    let mut findings = Vec::new();
    for service in needs.services() {
        findings.push(look_at(service, &running).await);
    }
    let data = if running.data.as_os_str().is_empty() {
        let found: Vec<Service> = Service::ALL.into_iter().filter(|service| service.find(None).is_some()).collect();
        folders::data(&state, &found, &Silent).await?
    } else {
        running.data
    };
    Ok(Inspection { state, data, findings })
}

async fn look_at(service: Service, running: &Running) -> Finding {
    let program = service.find(None);
    let version = match &program {
        Some(program) => service.version(program).await,
        None => String::new(),
    };
    let address = match service {
        Service::Postgres => running.postgres.as_ref().map(|started| started.at.socket_dir.display().to_string()),
        Service::Redis => running.redis.as_ref().map(|started| format!("127.0.0.1:{}", started.at.port)),
        Service::RabbitMq => running.rabbitmq.as_ref().map(|started| format!("127.0.0.1:{}", started.at.port)),
    };
    let pid = process::leader(&running.data.join(service.name())).map(|process| process.pid);
    let problem = match (&program, &address, pid) {
        (None, _, _) => Some(missing(service)),
        (Some(_), Some(_), None) => Some("it was started and has died; the next start cleans up after it".to_owned()),
        (Some(_), Some(_), Some(_)) if !running.answers(service).await => {
            Some(format!("it runs but does not answer; see {}.log in {}", service.name(), running.data.display()))
        }
        (Some(_), _, _) => None,
    };
    Finding { service, program, version, pid, address, problem }
}

fn missing(service: Service) -> String {
    if is_root() {
        format!("not installed; the next start installs the package {} on Debian and Ubuntu", service.package())
    } else {
        format!("not installed; apt-get install {}, or use deploy/compose.yaml", service.package())
    }
}
