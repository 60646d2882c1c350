//! The projector: one pass over each log, and a follower for each projection.
//!
//! To add a read model: a file beside `order_view.rs` with its document and `impl ReadModel` (for a search index `impl SearchModel` as
//! well), a line in [`run`] below, one in `rebuild::with_store!`, its name in `handle::PROJECTIONS`, and its reader in `views.rs` or
//! `search`. Pin a whole life of its document with a snapshot in `tests/folds.rs`. Pages, checkpoint, rebuild and comparison come with it.

use std::{collections::HashMap, sync::Arc};

use events::{Log, LogPosition, Position, Wake};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Config, CustomerOrders, Handle, OrderIndex, OrderView, ProductIndex, ProductView, ProjectionState, StockView,
    failure::ProjectionError,
    follow::Follower,
    index_generation::SearchIndexes,
    pass::{self, Pass},
    redis_views::RedisViews,
    store::Store,
};

/// What the projector works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The process's own first.
    pub logs: Vec<Followed>,
    /// Given to the readers and the metrics of the same process as well.
    pub handle: Handle,
}

/// A log that the projections are made from.
#[derive(Debug, Clone)]
pub struct Followed {
    pub log: Log,
    pub wake: Wake,
}

/// Follows the logs with all projections until shutdown. What fails is tried again or stands still by itself, and says so in the
/// handle; the others go on.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), ProjectionError> {
    config.check()?;
    let Parts { logs, handle } = parts;
    let mut projector = Projector {
        config: Arc::new(config),
        logs: logs.iter().map(|followed| followed.log.clone()).collect(),
        passes: Vec::new(),
        handle: handle.clone(),
        shutdown,
        tasks: JoinSet::new(),
        names: HashMap::new(),
    };
    for Followed { log, wake } in logs {
        let (pass, door) = Pass::new();
        let (page_size, shutdown) = (projector.config.page_size, projector.shutdown.clone());
        handle.saw_log(&LogPosition::new(log.id().clone(), Position::START));
        projector.tasks.spawn(pass::run(door, log, wake, page_size, handle.clone(), shutdown));
        projector.passes.push(pass);
    }
    let config = Arc::clone(&projector.config);
    projector.follow(RedisViews::<OrderView>::new(&config)?);
    projector.follow(RedisViews::<CustomerOrders>::new(&config)?);
    projector.follow(RedisViews::<StockView>::new(&config)?);
    projector.follow(RedisViews::<ProductView>::new(&config)?);
    projector.follow(SearchIndexes::<ProductIndex>::new(&config));
    projector.follow(SearchIndexes::<OrderIndex>::new(&config));
    projector.until_all_end().await;
    Ok(())
}

struct Projector {
    config: Arc<Config>,
    logs: Vec<Log>,
    passes: Vec<Pass>,
    handle: Handle,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    names: HashMap<tokio::task::Id, &'static str>,
}

impl Projector {
    fn follow<S: Store>(&mut self, store: S) {
        let (logs, passes, handle) = (self.logs.clone(), self.passes.clone(), self.handle.clone());
        let (config, shutdown) = (Arc::clone(&self.config), self.shutdown.clone());
        let follower = Follower { store, config, logs, passes, handle, shutdown };
        let task = self.tasks.spawn(follower.run());
        self.names.insert(task.id(), S::NAME);
    }

    async fn until_all_end(mut self) {
        drop(self.passes);
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let Err(error) = ended else { continue };
            // A fold that panics takes only its own projection with it.
            let projection = self.names.get(&error.id()).copied();
            tracing::error!(projection, %error, "a task of the projector died");
            if let Some(name) = projection {
                self.handle.set_state(name, ProjectionState::Stopped { reason: error.to_string() });
            }
        }
    }
}
