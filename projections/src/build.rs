//! Builds a generation from the log while another one answers, and opens the one that a projector follows with.

use events::{Log, LogError, Position};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    catch_up::{Pace, catch_up},
    failure::{ProjectionError, Whose},
    names::Generation,
    store::{OpenGeneration, Store},
};

/// The generation under construction, from where it was left, or a new one.
pub(crate) async fn open_construction<S: Store>(
    store: &S,
    log: &Log,
    cached: usize,
) -> Result<S::Open, ProjectionError> {
    if let Some(generation) = store.building().await? {
        match store.open(generation, cached).await {
            Err(ProjectionError::Lost { .. }) => store.abandon(generation).await?,
            Err(ProjectionError::Outdated { built_by, ours, .. }) if built_by < ours => {
                store.abandon(generation).await?;
            }
            outcome => return outcome,
        }
    }
    let generation = store.start_building(log.id()).await?;
    store.open(generation, cached).await
}

/// Folds up to the head of the log.
pub(crate) async fn build_to_head<S: Store>(
    open: &mut S::Open,
    log: &Log,
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(Position, Position) + Send),
) -> Result<(), ProjectionError> {
    let head = || async { log.head().await.map_err(Whose(S::NAME).log()) };
    build_to::<S, _>(open, log, head, pace, stop, progress).await
}

/// Folds up to a goal; again, while that moves away by more than a page.
pub(crate) async fn build_to<S: Store, F>(
    open: &mut S::Open,
    log: &Log,
    goal: impl Fn() -> F + Send,
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(Position, Position) + Send),
) -> Result<(), ProjectionError>
where
    F: Future<Output = Result<Position, ProjectionError>> + Send,
{
    loop {
        let goal = goal().await?;
        let behind = goal.0 - open.folded().position.0;
        if behind > 0 {
            catch_up(S::NAME, open, log, goal, pace, stop, &mut |open| progress(open.folded().position, goal)).await?;
        }
        if behind <= i64::from(pace.page) {
            return Ok(());
        }
    }
}

/// Refuses a construction that was not made of each event once, and drops it: whoever builds next begins anew.
pub(crate) async fn verified<S: Store>(store: &S, log: &Log, open: S::Open) -> Result<S::Open, ProjectionError> {
    let (at, applied) = (open.written().clone(), open.applied());
    match log.verify_applied(&at, applied).await {
        Ok(()) => Ok(open),
        Err(unequal @ LogError::Unequal { .. }) => {
            let generation = open.generation();
            open.close().await?;
            store.abandon(generation).await?;
            Err(Whose(S::NAME).log()(unequal))
        }
        Err(error) => Err(Whose(S::NAME).log()(error)),
    }
}

/// Drops every generation but the one that answers, the one before it, and the one under construction.
pub(crate) async fn sweep<S: Store>(store: &S) -> Result<(), ProjectionError> {
    let kept: [Option<Generation>; 3] = [store.active().await?, store.previous().await?, store.building().await?];
    for generation in store.generations().await? {
        if !kept.contains(&Some(generation)) {
            tracing::info!(projection = S::NAME, generation, "an old generation is dropped");
            store.drop_generation(generation).await?;
        }
    }
    Ok(())
}

/// While building, documents are written once for many pages.
pub(crate) fn building_pace(config: &Config) -> Pace {
    Pace { page: config.rebuild_page_size, batch: config.rebuild_batch as usize }
}

/// A little behind: page by page.
pub(crate) fn following_pace(config: &Config) -> Pace {
    Pace { page: config.page_size, batch: config.page_size as usize }
}
