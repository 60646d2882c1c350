//! One projection's life: open or build, catch up, follow; and after any failure again, as the failure asks.

use std::{sync::Arc, time::Duration};

use events::{Log, LogError, LogId, Position};
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Handle, ProjectionState,
    build::{build_to_heads, building_pace, following_pace, ids, open_construction, reached_all, sweep, verified},
    catch_up::{Pace, catch_up},
    checkpoint_text::{FromLog, Head},
    failure::{ProjectionError, Remedy, Whose, chain, pause},
    lanes::{Came, Lanes},
    names::Generation,
    pass::Pass,
    store::{EventPage, OpenGeneration, Signals, Store},
};

/// How often a projection that has nothing to do looks whether its store is still there and still its own.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Events that are added up for a comparison, some 100 ms: without a maintainer that seals the blocks, none is made.
const UNSEALED_MAX: i64 = 50_000;

/// How often one that stands still looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// A hold that is never released is forgotten after this.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Searches that wait may have this many commits a second.
const COMMIT_GAP: Duration = Duration::from_millis(50);

/// Somebody asked for a commit shortly before the events that he waits for came.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// A question to a log, between pages of the others.
const GLANCE: Duration = Duration::from_secs(2);

/// How long one log is caught up with before the others have their turn.
const STEP: Duration = Duration::from_secs(1);

/// What a shutdown leaves for writing what is folded.
const GRACE: Duration = Duration::from_secs(3);

/// Another writer that has not moved in so many looks, although the log has, is gone.
const STILL_LOOKS: u32 = 3;

pub(crate) struct Follower<S: Store> {
    pub(crate) store: S,
    pub(crate) config: Arc<Config>,
    /// Each with what reads it for all projections.
    pub(crate) logs: Vec<Log>,
    pub(crate) passes: Vec<Pass>,
    pub(crate) handle: Handle,
    pub(crate) shutdown: CancellationToken,
}

impl<S: Store> Follower<S> {
    pub(crate) async fn run(self) {
        let mut distrusted = None;
        let mut attempt = 0;
        while !self.shutdown.is_cancelled() {
            let since = Instant::now();
            let failure = tokio::select! {
                outcome = self.follow(distrusted.take()) => match outcome {
                    Ok(()) => return,
                    Err(failure) => failure,
                },
                // A store that hangs is left as a crash would leave it.
                () = self.shutdown_is_over() => return,
            };
            if self.shutdown.is_cancelled() {
                return;
            }
            attempt = if since.elapsed() > Duration::from_secs(60) { 0 } else { attempt + 1 };
            if let ProjectionError::Lost { generation, .. } = &failure {
                distrusted = Some(*generation);
            }
            self.recover(&failure, attempt).await;
        }
    }

    async fn shutdown_is_over(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    async fn recover(&self, failure: &ProjectionError, attempt: u32) {
        let reason = chain(failure);
        match failure.remedy() {
            Remedy::Reopen => {
                tracing::info!(projection = S::NAME, reason, "a projection goes on with another generation")
            }
            Remedy::Retry => {
                tracing::warn!(projection = S::NAME, error = reason, attempt, "a projection tries again");
                self.handle.set_state(S::NAME, ProjectionState::Retrying { reason });
                self.shutdown.run_until_cancelled(tokio::time::sleep(pause(attempt))).await;
            }
            Remedy::Stop => {
                tracing::error!(projection = S::NAME, error = reason, "a projection has stopped");
                self.handle.set_state(S::NAME, ProjectionState::Stopped { reason });
                self.shutdown.run_until_cancelled(self.stand_still(failure)).await;
            }
        }
    }

    /// Until another generation answers (somebody rebuilt), or the other writer has gone.
    async fn stand_still(&self, failure: &ProjectionError) {
        let fenced = matches!(failure, ProjectionError::Fenced { .. });
        let before = self.store.active().await.ok().flatten();
        let (mut last, mut still) = (None, 0);
        loop {
            tokio::time::sleep(LOOK_WHEN_STOPPED).await;
            let Ok(active) = self.store.active().await else { continue };
            if active != before {
                return;
            }
            if !fenced {
                continue;
            }
            // Where nothing answers yet, it was a construction that two have begun.
            let contested = match active {
                Some(active) => Some(active),
                None => self.store.building().await.ok().flatten(),
            };
            let Some(generation) = contested else { return };
            let Ok(standing) = self.store.peek(generation).await else { continue };
            let behind = self.is_behind(&standing.head).await;
            still = if behind && last.as_ref() == Some(&standing) { still + 1 } else { 0 };
            last = Some(standing);
            if still >= STILL_LOOKS {
                tracing::warn!(projection = S::NAME, "the other writer does not move any more: this one takes over");
                return;
            }
        }
    }

    /// In a log that can be asked, and that somebody can follow.
    async fn is_behind(&self, at: &Head) -> bool {
        let followed = self.logs.iter().filter(|log| !self.handle.is_given_up(S::NAME, log.id()));
        let behind = followed.map(async |log| log.head().await.is_ok_and(|head| head > at.position(log.id())));
        join_all(behind).await.contains(&true)
    }

    async fn follow(&self, distrusted: Option<Generation>) -> Result<(), ProjectionError> {
        self.store.preflight().await?;
        let mut open = self.ready(distrusted).await?;
        self.moved(&open);
        self.logs.iter().for_each(|log| self.handle.set_trouble(S::NAME, log.id(), None));
        self.handle.set_state(S::NAME, ProjectionState::Following);
        self.follow_passes(&mut open).await?;
        open.close().await
    }

    /// The generation that answers, or a new one where there is none, or none that can be trusted.
    async fn ready(&self, distrusted: Option<Generation>) -> Result<S::Open, ProjectionError> {
        let mut answers = None;
        if let Some(generation) = self.store.active().await?.filter(|active| Some(*active) != distrusted) {
            match self.store.open(generation, &ids(&self.logs), self.config.cached_documents).await {
                Err(ProjectionError::Lost { what, .. }) => {
                    tracing::warn!(projection = S::NAME, generation, what, "a projection was lost and is built again");
                }
                // The old one goes on answering until the new one is there. A newer one is left alone: two releases side by side would
                // otherwise build against each other for ever.
                Err(ProjectionError::Outdated { built_by, ours, .. }) if built_by < ours => {
                    tracing::info!(
                        projection = S::NAME,
                        generation,
                        built_by,
                        ours,
                        "a projection is built by its new version"
                    );
                    answers = Some(generation);
                }
                outcome => return outcome,
            }
        }
        let mut needed = Vec::new();
        if let Some(generation) = answers {
            let head = self.store.peek(generation).await?.head;
            if let Some(log_id) = head.unfollowed(&ids(&self.logs)) {
                return Err(Whose(S::NAME).unfollowed(generation, log_id));
            }
            needed.extend(head.begun().filter(|from| from.reached).map(|from| from.checkpoint.log_id.clone()));
        }
        self.build(&needed).await
    }

    /// From the logs that can be read, and those that are needed among them: nothing takes the place of what has more. The others are
    /// followed as soon as they can be.
    async fn build(&self, needed: &[LogId]) -> Result<S::Open, ProjectionError> {
        let mut open = open_construction(&self.store, &ids(&self.logs), self.config.cached_documents).await?;
        let (generation, from) = (open.generation(), open.folded().positions());
        let (mut built, mut failure) = (Vec::new(), None::<ProjectionError>);
        for log in &self.logs {
            match self.build_from(&mut open, log).await {
                Ok(()) => built.push(log.clone()),
                Err(error @ ProjectionError::Log { .. }) if !needed.contains(log.id()) => {
                    tracing::warn!(projection = S::NAME, log = %log.id(), error = chain(&error), "a log is left out for now");
                    // One that may pass says more of what to do than one that needs a person.
                    failure = failure.filter(|before| before.remedy() == Remedy::Retry).or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(failure) = failure.filter(|_| built.is_empty()) {
            return Err(failure);
        }
        let open = verified(&self.store, &built, open).await?;
        self.store.switch_to(generation).await?;
        sweep(&self.store).await?;
        let to = open.written().positions();
        tracing::info!(projection = S::NAME, generation, from, to, "a projection was built");
        Ok(open)
    }

    async fn build_from(&self, open: &mut S::Open, log: &Log) -> Result<(), ProjectionError> {
        let generation = open.generation();
        let others = open.folded().events() - open.folded().position(log.id()).0;
        let mut tell = |position: i64, target: i64| {
            let target = others + target;
            self.handle.set_state(S::NAME, ProjectionState::Building { generation, position, target });
        };
        log.seal_blocks().await.map_err(Whose(S::NAME).log())?;
        let logs = std::slice::from_ref(log);
        build_to_heads::<S>(open, logs, building_pace(&self.config), &self.shutdown, &mut tell).await
    }

    /// Until shutdown, or until the generation cannot be written any more.
    async fn follow_passes(&self, open: &mut S::Open) -> Result<(), ProjectionError> {
        let mut lanes = Lanes::new(self.passes.iter().cloned());
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wishes = tokio::time::interval(COMMIT_GAP);
        wishes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_commit, mut asked) = (Instant::now(), None::<Instant>);
        let (mut verified, mut next_look) = (vec![None; self.logs.len()], Instant::now());
        loop {
            let unwritten = open.folded() != open.written();
            let urgent = asked.is_some_and(|asked| asked.elapsed() < ASKED_FOR);
            let commit_at = last_commit + if urgent { COMMIT_GAP } else { self.config.commit_interval() };
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    if unwritten {
                        self.write(open).await?;
                    }
                    return Ok(());
                }
                (lane, came) = lanes.next() => self.take(open, &mut lanes, lane, came).await?,
                () = tokio::time::sleep_until(commit_at), if unwritten => {
                    self.write(open).await?;
                    (last_commit, asked) = (Instant::now(), None);
                }
                () = self.handle.commit_wanted(S::NAME) => asked = Some(Instant::now()),
                // The same wish from another process.
                _ = wishes.tick(), if unwritten && !urgent && !S::AT_ONCE => {
                    if self.store.take_wish().await? {
                        asked = Some(Instant::now());
                    }
                }
                _ = heartbeat.tick() => {
                    let signals = open.check().await?;
                    self.heed(open, signals).await?;
                    if next_look <= Instant::now() {
                        self.verify_all(open.written(), &mut lanes, &mut verified).await?;
                        next_look = Instant::now() + self.config.verify_interval();
                    }
                }
            }
        }
    }

    /// What came of one log. One that cannot be read is left, and the others are followed.
    async fn take(
        &self,
        open: &mut S::Open,
        lanes: &mut Lanes,
        lane: usize,
        came: Came,
    ) -> Result<(), ProjectionError> {
        let log = &self.logs[lane];
        // To have joined is no proof yet that pages can be read.
        let joined = matches!(came, Came::Joined);
        let taken = match came {
            Came::Page(page) => self.fold(open, log, &page).await,
            Came::Joined => self.end_of(log).await.map(Some),
            Came::Behind(to) => self.catch_up_some(open, log, to).await,
            Came::Failed(error) => Err(Whose(S::NAME).log()(error)),
            Came::Unread if self.shutdown.is_cancelled() => return Ok(()),
            Came::Unread => Err(ProjectionError::Unread { projection: S::NAME }),
        };
        match taken {
            Ok(behind) => {
                lanes.catch_up(lane, behind);
                if !joined {
                    lanes.mark_well(lane);
                    self.handle.set_trouble(S::NAME, log.id(), None);
                }
                Ok(())
            }
            Err(error) => self.left(lanes, lane, error),
        }
    }

    /// Of a log that cannot be read: until later, or until a person has looked. Where no log is left, the projection has failed.
    fn left(&self, lanes: &mut Lanes, lane: usize, error: ProjectionError) -> Result<(), ProjectionError> {
        let (log, reason) = (&self.logs[lane], chain(&error));
        let trouble = match (&error, error.remedy()) {
            (ProjectionError::Log { .. }, Remedy::Retry) => {
                tracing::warn!(projection = S::NAME, log = %log.id(), error = reason, "a log is tried again");
                lanes.join_later(lane);
                ProjectionState::Retrying { reason }
            }
            (ProjectionError::Log { .. }, _) => {
                lanes.leave(lane);
                if lanes.all_left() {
                    return Err(error);
                }
                tracing::error!(projection = S::NAME, log = %log.id(), error = reason, "a log is not followed any more");
                ProjectionState::Stopped { reason }
            }
            _ => return Err(error),
        };
        self.handle.set_trouble(S::NAME, log.id(), Some(trouble));
        Ok(())
    }

    async fn end_of(&self, log: &Log) -> Result<Position, ProjectionError> {
        let head = tokio::time::timeout(GLANCE, log.head()).await;
        let late = || LogError::Postgres { doing: "read the head of the log", source: sqlx::Error::PoolTimedOut };
        head.unwrap_or_else(|_| Err(late())).map_err(Whose(S::NAME).log())
    }

    /// Up to where there is more to catch up with; none when that was all. For a moment only, since others wait.
    async fn catch_up_some(
        &self,
        open: &mut S::Open,
        log: &Log,
        to: Position,
    ) -> Result<Option<Position>, ProjectionError> {
        let far = to.0 - open.folded().position(log.id()).0 > i64::from(self.config.rebuild_page_size);
        let pace = if far { building_pace(&self.config) } else { following_pace(&self.config) };
        let pace = Pace { time: STEP, ..pace };
        catch_up(S::NAME, open, log, to, pace, &self.shutdown, &mut |open| self.moved(open)).await?;
        if open.folded().position(log.id()) < to {
            return Ok(Some(to));
        }
        reached_all(open, std::slice::from_ref(log)).await?;
        self.moved(open);
        Ok(None)
    }

    /// Compares with each log that is well and has moved since, what was applied of it.
    async fn verify_all(
        &self,
        at: &Head,
        lanes: &mut Lanes,
        verified: &mut [Option<Position>],
    ) -> Result<(), ProjectionError> {
        for (lane, well) in lanes.well().into_iter().enumerate() {
            let log = &self.logs[lane];
            let from = at.at(log.id());
            if !well || verified[lane] == Some(from.checkpoint.position) {
                continue;
            }
            match self.verify(log, from).await {
                Ok(true) => verified[lane] = Some(from.checkpoint.position),
                Ok(false) => (),
                Err(error) => self.left(lanes, lane, error)?,
            }
        }
        Ok(())
    }

    /// Compares what was applied with what the log holds; false where that could not be asked now, or would take long.
    async fn verify(&self, log: &Log, FromLog { checkpoint, applied, .. }: &FromLog) -> Result<bool, ProjectionError> {
        let compared = async {
            let quick = log.unsealed(checkpoint.position).await? <= UNSEALED_MAX;
            if quick { log.verify_applied(checkpoint, *applied).await.map(|()| Some(true)) } else { Ok(Some(false)) }
        };
        match tokio::time::timeout(GLANCE, compared).await.unwrap_or(Ok(None)) {
            Ok(None) => {
                tracing::warn!(projection = S::NAME, log = %log.id(), "the log is too slow to be compared with");
                Ok(false)
            }
            Ok(Some(false)) => {
                tracing::warn!(
                    projection = S::NAME,
                    log = %log.id(),
                    "what was applied is not compared with the log: its blocks are not sealed, which a maintainer does"
                );
                Ok(false)
            }
            Ok(Some(true)) => {
                self.handle.verified(S::NAME, checkpoint.log_position());
                Ok(true)
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(projection = S::NAME, error = chain(&error), "what was applied could not be verified");
                Ok(false)
            }
            Err(error) => Err(Whose(S::NAME).log()(error)),
        }
    }

    /// Up to where there is something to catch up with first: where pages are missing before this one, it is read again.
    async fn fold(&self, open: &mut S::Open, log: &Log, page: &EventPage) -> Result<Option<Position>, ProjectionError> {
        let (Some(first), Some(last)) = (page.events.first(), page.events.last()) else { return Ok(None) };
        if first.position > open.folded().at(log.id()).checkpoint.position.next() {
            return Ok(Some(last.position));
        }
        open.fold(page).await?;
        if S::AT_ONCE {
            self.write(open).await?;
        }
        Ok(None)
    }

    async fn write(&self, open: &mut S::Open) -> Result<(), ProjectionError> {
        let signals = open.write().await?;
        self.moved(open);
        self.heed(open, signals).await
    }

    /// Stands still while somebody compares, and lets go of a generation that no longer answers.
    async fn heed(&self, open: &mut S::Open, mut signals: Signals) -> Result<(), ProjectionError> {
        let generation = open.generation();
        let until = Instant::now() + HOLD_MAX;
        let stood = signals.held;
        loop {
            match signals.active {
                Some(active) if active == generation => (),
                Some(_) => return Err(ProjectionError::Superseded { projection: S::NAME, generation }),
                None => return Err(Whose(S::NAME).lost(generation, "nothing says that it answers")),
            }
            if !signals.held || Instant::now() >= until || self.shutdown.is_cancelled() {
                break;
            }
            self.handle.set_state(S::NAME, ProjectionState::Held);
            tokio::time::sleep(LOOK).await;
            signals = open.check().await?;
        }
        if stood {
            self.handle.set_state(S::NAME, ProjectionState::Following);
        }
        Ok(())
    }

    fn moved(&self, open: &S::Open) {
        let positions = self.logs.iter().map(|log| open.written().at(log.id()).checkpoint.log_position());
        self.handle.moved(S::NAME, open.generation(), positions.collect());
    }
}
