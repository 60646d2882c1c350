//! Takes away what tests leave, on a thread of its own: a test's runtime may be gone when its database is dropped.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::Error;
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::testing::{maker, template};

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
    runtime.block_on(clean_up_after_the_dead(postgres, rabbitmq)).ok();
    while let Ok(chore) = waiting.recv() {
        runtime.block_on(perform(postgres, rabbitmq, chore)).ok();
    }
}

async fn clean_up_after_the_dead(postgres: &Postgres, rabbitmq: &RabbitMq) -> Result<(), Error> {
    let dead = |name: &String| maker(name).is_some_and(|maker| !maker.is_alive());
    for name in rabbitmq.vhosts().await?.into_iter().filter(dead) {
        perform(postgres, rabbitmq, Chore::DeleteVhost(name)).await.ok();
    }
    for name in template::databases(postgres).await?.into_iter().filter(dead) {
        perform(postgres, rabbitmq, Chore::DropDatabase(name)).await.ok();
    }
    Ok(())
}

async fn perform(postgres: &Postgres, rabbitmq: &RabbitMq, chore: Chore) -> Result<(), Error> {
    match chore {
        Chore::DropDatabase(name) => template::drop(postgres, &name).await,
        Chore::DeleteVhost(name) => rabbitmq.delete_vhost(&name).await,
    }
}
