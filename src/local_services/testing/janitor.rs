//! Takes away what tests leave, on a thread of its own: a test's runtime may be gone when its database is dropped.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::testing::{maker, template};

/// RabbitMQ 3.10 must not lose a virtual host whose quorum queues have just been declared or are being recovered: the workers
/// that dead-letter at least once crash then, and two of them within a second end their supervisor, and with it every such
/// queue of the broker until it is started again.
const QUEUES_SETTLE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Chore {
    DropDatabase(String),
    DeleteVhost(String),
}

/// Whatever it has not done when the process ends is a leftover that the next process's janitor finds by its name.
#[derive(Debug, Clone)]
pub(crate) struct Janitor {
    chores: Sender<Chore>,
}

impl Janitor {
    pub(crate) fn start(postgres: Postgres, rabbitmq: RabbitMq) -> Self {
        let (chores, waiting) = channel();
        std::thread::spawn(move || work(&postgres, &rabbitmq, &waiting));
        Self { chores }
    }

    pub(crate) fn ask(&self, chore: Chore) {
        self.chores.send(chore).ok();
    }
}

fn work(postgres: &Postgres, rabbitmq: &RabbitMq, waiting: &Receiver<Chore>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    // A leftover that cannot be removed now (its server was killed by a test) is found again later.
    let mut vhosts = VecDeque::new();
    runtime.block_on(clean_up_after_the_dead(postgres, rabbitmq, &mut vhosts)).ok();
    loop {
        let due = vhosts.front().map_or(QUEUES_SETTLE, |(due, _): &(Instant, _)| due.duration_since(Instant::now()));
        match waiting.recv_timeout(due) {
            Ok(Chore::DeleteVhost(name)) => vhosts.push_back((Instant::now() + QUEUES_SETTLE, name)),
            Ok(Chore::DropDatabase(name)) => drop(runtime.block_on(template::drop(postgres, &name))),
            Err(RecvTimeoutError::Timeout) => {
                if let Some((_, name)) = vhosts.pop_front() {
                    runtime.block_on(rabbitmq.delete_vhost(&name)).ok();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

async fn clean_up_after_the_dead(
    postgres: &Postgres,
    rabbitmq: &RabbitMq,
    vhosts: &mut VecDeque<(Instant, String)>,
) -> Result<(), Error> {
    let dead = |name: &String| maker(name).is_some_and(|maker| !maker.is_alive());
    let due = Instant::now() + QUEUES_SETTLE;
    vhosts.extend(rabbitmq.vhosts().await?.into_iter().filter(dead).map(|name| (due, name)));
    for name in template::databases(postgres).await?.into_iter().filter(dead) {
        template::drop(postgres, &name).await.ok();
    }
    Ok(())
}
