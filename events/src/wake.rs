//! Wakes the readers of a log: in the process directly after a commit, across processes by NOTIFY.
//!
//! A hint and nothing else: every reader also looks by itself, so a lost notification costs latency only.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, PgPool, postgres::PgListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Position;

const CHANNEL: &str = "waybill_log";

/// At most one notification in this time leaves a process, however many commits there are.
const NOTIFY_GAP: Duration = Duration::from_millis(2);
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The newest position that this process has heard of. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wake {
    newest: Arc<watch::Sender<Position>>,
    committed: Arc<watch::Sender<Position>>,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            newest: Arc::new(watch::Sender::new(Position::START)),
            committed: Arc::new(watch::Sender::new(Position::START)),
        }
    }
}

impl Wake {
    /// This process has committed up to `position`.
    pub fn committed(&self, position: Position) {
        raise(&self.committed, position);
        raise(&self.newest, position);
    }

    /// What anybody has said; to wake readers, and never to rely on.
    #[must_use]
    pub fn newest(&self) -> Position {
        *self.newest.borrow()
    }

    /// The newest position that this process has seen committed itself: the log certainly reaches it.
    #[must_use]
    pub fn reached(&self) -> Position {
        *self.committed.borrow()
    }

    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// Tells the other processes of our commits and hears of theirs, until shutdown. Survives the loss of Postgres.
    pub async fn exchange(self, pool: PgPool, shutdown: CancellationToken) {
        let both = async { tokio::join!(self.notify_others(&pool), self.listen(&pool)) };
        shutdown.run_until_cancelled(both).await;
    }

    async fn notify_others(&self, pool: &PgPool) {
        let mut committed = self.committed.subscribe();
        let mut connection = None;
        while committed.changed().await.is_ok() {
            let position = *committed.borrow_and_update();
            match tokio::time::timeout(NOTIFY_TIMEOUT, notify(&mut connection, pool, position)).await {
                Ok(Ok(_)) => (),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "readers elsewhere were not notified and will look by themselves")
                }
                Err(_) => tracing::debug!("notifying readers elsewhere took too long; they will look by themselves"),
            }
            tokio::time::sleep(NOTIFY_GAP).await;
        }
    }

    async fn listen(&self, pool: &PgPool) {
        loop {
            if let Err(error) = self.listen_once(pool).await {
                tracing::debug!(%error, "the notification channel was lost and is opened again");
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn listen_once(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            let notification = listener.recv().await?;
            if let Ok(position) = notification.payload().parse() {
                raise(&self.newest, Position(position));
            }
        }
    }
}

/// On a connection of its own: a busy pool does not keep readers waiting, and nobody waits for the disk because of a hint.
async fn notify(connection: &mut Option<PgConnection>, pool: &PgPool, position: Position) -> Result<(), sqlx::Error> {
    let mut own = match connection.take() {
        Some(own) => own,
        None => {
            let options = (*pool.connect_options()).clone().options([("synchronous_commit", "off")]);
            PgConnection::connect_with(&options).await?
        }
    };
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(position.to_string()).execute(&mut own).await?;
    *connection = Some(own);
    Ok(())
}

fn raise(sender: &watch::Sender<Position>, position: Position) {
    sender.send_if_modified(|newest| {
        let higher = position > *newest;
        if higher {
            *newest = position;
        }
        higher
    });
}
