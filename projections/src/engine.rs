//! The projector: one pass over the log, and a follower for each projection.
//!
//! To add a read model: a file beside `order_view.rs` with its document and `impl ReadModel` (for a search index `impl SearchModel` as
//! well), a line in [`run`] below, one in `rebuild::with_store!`, its name in `handle::PROJECTIONS`, and its reader in `views.rs` or
//! `search`. Pin a whole life of its document with a snapshot in `tests/folds.rs`. Pages, checkpoint, rebuild and comparison come with it.

use std::{collections::HashMap, sync::Arc};

use events::{Log, Wake};
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
    pub log: Log,
    pub wake: Wake,
    /// Given to the readers and the metrics of the same process as well.
    pub handle: Handle,
}

/// Follows the log with all projections until shutdown. What fails is tried again or stands still by itself, and says so in the
/// handle; the others go on.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), ProjectionError> {
    config.check()?;
    let (pass, door) = Pass::new();
    let mut projector =
        Projector { config: Arc::new(config), parts, pass, shutdown, tasks: JoinSet::new(), names: HashMap::new() };
    let Config { page_size, .. } = *projector.config;
    let Parts { log, wake, handle } = projector.parts.clone();
    projector.tasks.spawn(pass::run(door, log, wake, page_size, handle, projector.shutdown.clone()));
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
    parts: Parts,
    pass: Pass,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    names: HashMap<tokio::task::Id, &'static str>,
}

impl Projector {
    fn follow<S: Store>(&mut self, store: S) {
        let Parts { log, handle, .. } = self.parts.clone();
        let (config, pass, shutdown) = (Arc::clone(&self.config), self.pass.clone(), self.shutdown.clone());
        let follower = Follower { store, config, log, pass, handle, shutdown };
        let task = self.tasks.spawn(follower.run());
        self.names.insert(task.id(), S::NAME);
    }

    async fn until_all_end(mut self) {
        drop(self.pass);
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let Err(error) = ended else { continue };
            // A fold that panics takes only its own projection with it.
            let projection = self.names.get(&error.id()).copied();
            tracing::error!(projection, %error, "a task of the projector died");
            if let Some(name) = projection {
                self.parts.handle.set_state(name, ProjectionState::Stopped { reason: error.to_string() });
            }
        }
    }
}
