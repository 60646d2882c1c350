//! Builds a generation from the logs while another one answers, and opens the one that a projector follows with.

use std::time::Duration;

use events::{Log, LogError, LogId, Position};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    catch_up::{Pace, catch_up},
    checkpoint_text::{FromLog, Head},
    failure::{ProjectionError, Whose},
    names::Generation,
    store::{OpenGeneration, Store},
};

/// The generation under construction, from where it was left, or a new one.
pub(crate) async fn open_construction<S: Store>(
    store: &S,
    logs: &[LogId],
    cached: usize,
) -> Result<S::Open, ProjectionError> {
    if let Some(generation) = store.building().await? {
        match store.open(generation, logs, cached).await {
            Err(ProjectionError::Lost { .. } | ProjectionError::Unfollowed { .. }) => store.abandon(generation).await?,
            // Begun for one log, and half-built: what is made from several says how far it is in each.
            Ok(open) if logs.len() > 1 && began_for_one(open.written()) => {
                open.close().await?;
                store.abandon(generation).await?;
            }
            Err(ProjectionError::Outdated { built_by, ours, .. }) if built_by < ours => {
                store.abandon(generation).await?;
            }
            outcome => return outcome,
        }
    }
    let generation = store.start_building(logs).await?;
    store.open(generation, logs, cached).await
}

/// The first of them claims to be whole from the start, as the only one may, and the others do not.
fn began_for_one(head: &Head) -> bool {
    head.logs[0].reached
        && head.logs.iter().skip(1).all(|from| !from.reached && from.checkpoint.position == Position::START)
}

/// Folds up to the heads of the logs. Told: events folded, and how many there are.
pub(crate) async fn build_to_heads<S: Store>(
    open: &mut S::Open,
    logs: &[Log],
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(i64, i64) + Send),
) -> Result<(), ProjectionError> {
    build_to::<S, _>(open, logs, || heads::<S>(logs), pace, stop, progress).await?;
    reached_all(open, logs).await
}

/// Notes that it is where the logs end.
pub(crate) async fn reached_all<O: OpenGeneration>(open: &mut O, logs: &[Log]) -> Result<(), ProjectionError> {
    logs.iter().for_each(|log| open.reached(log.id()));
    if open.folded() == open.written() { Ok(()) } else { open.write().await.map(drop) }
}

/// Where each log ends, in the order of the logs. Refuses a database that holds another log.
pub(crate) async fn heads<S: Store>(logs: &[Log]) -> Result<Vec<Position>, ProjectionError> {
    let head = async |log: &Log| {
        log.check_name().await?;
        log.head().await
    };
    try_join_all(logs.iter().map(head)).await.map_err(Whose(S::NAME).log())
}

/// Folds up to a goal in each log; again, while one moves away by more than a page.
pub(crate) async fn build_to<S: Store, F>(
    open: &mut S::Open,
    logs: &[Log],
    goals: impl Fn() -> F + Send,
    pace: Pace,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(i64, i64) + Send),
) -> Result<(), ProjectionError>
where
    F: Future<Output = Result<Vec<Position>, ProjectionError>> + Send,
{
    loop {
        let goals = goals().await?;
        let all = goals.iter().map(|goal| goal.0).sum();
        let mut furthest = 0;
        for (log, goal) in logs.iter().zip(goals) {
            let behind = goal.0 - open.folded().at(log.id()).checkpoint.position.0;
            if behind > 0 {
                catch_up(S::NAME, open, log, goal, pace, stop, &mut |open| progress(open.folded().events(), all))
                    .await?;
            }
            furthest = behind.max(furthest);
        }
        if furthest <= i64::from(pace.page) {
            return Ok(());
        }
    }
}

/// Refuses a construction that was not made of each event once, and drops it: whoever builds next begins anew.
pub(crate) async fn verified<S: Store>(store: &S, logs: &[Log], open: S::Open) -> Result<S::Open, ProjectionError> {
    for log in logs {
        let FromLog { checkpoint, applied, .. } = open.written().at(log.id()).clone();
        match log.verify_applied(&checkpoint, applied).await {
            Ok(()) => (),
            Err(unequal @ LogError::Unequal { .. }) => {
                let generation = open.generation();
                open.close().await?;
                store.abandon(generation).await?;
                return Err(Whose(S::NAME).log()(unequal));
            }
            Err(error) => return Err(Whose(S::NAME).log()(error)),
        }
    }
    Ok(open)
}

/// What the logs are called.
pub(crate) fn ids(logs: &[Log]) -> Vec<LogId> {
    logs.iter().map(|log| log.id().clone()).collect()
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
    Pace { page: config.rebuild_page_size, batch: config.rebuild_batch as usize, time: Duration::MAX }
}

/// A little behind: page by page.
pub(crate) fn following_pace(config: &Config) -> Pace {
    Pace { page: config.page_size, batch: config.page_size as usize, time: Duration::MAX }
}
