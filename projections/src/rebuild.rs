//! Rebuild, blue and green: a new generation beside the one that answers, compared with it at the same position, switched in one step.
//!
//! The same version of the fold is compared at the head of the log, and what differs is a mistake somewhere. Another version, which this
//! release cannot bring forward, is compared where it stands, and what differs is named: whoever wants it says so.
//! Sends nothing and decides nothing. Stopped half-way, it resumes where it was; the generation before is kept until the next rebuild.

use std::time::{Duration, Instant};

use events::{Checkpoint, Log, LogError, Position, Tally};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    Certificate, Config, CustomerOrders, OrderIndex, OrderView, ProductIndex, ProductView, Progress, ReadModel,
    RebuildOptions, StockView,
    build::{build_to, build_to_heads, building_pace, heads, ids, open_construction, reached_all, sweep, verified},
    catch_up::{Pace, catch_up},
    checkpoint_text::Head,
    failure::{ProjectionError, Whose},
    index_generation::SearchIndexes,
    names::Generation,
    redis_views::RedisViews,
    store::{OpenGeneration, Standing, Store},
};

/// The live projector stands still at most this long while it is compared.
const HOLD: Duration = Duration::from_secs(30);
const ATTEMPTS: usize = 10;

/// Two looks this far apart that see the same: nobody is writing.
const STILL: Duration = Duration::from_millis(40);
const STILL_LOOKS: usize = 50;

/// A live generation that is behind and does not move for so many looks has no projector: it is brought forward here.
const UNMOVED_LOOKS: usize = 50;

/// A projector that holds the live generation and does not move it is waited for so many times.
const REFUSALS_MAX: u32 = 15;

/// How many names of differing documents are told.
const EXAMPLES: usize = 20;

/// Told instead of names where no document is known to differ.
const DIGESTS: &str = "(count and sum of hashes)";

/// Calls a function with the store of the projection of that name.
macro_rules! with_store {
    ($name:expr, $config:expr, $store:ident => $do:expr) => {
        match $name {
            name if name == OrderView::NAME => {
                let $store = RedisViews::<OrderView>::new($config)?;
                $do
            }
            name if name == CustomerOrders::NAME => {
                let $store = RedisViews::<CustomerOrders>::new($config)?;
                $do
            }
            name if name == StockView::NAME => {
                let $store = RedisViews::<StockView>::new($config)?;
                $do
            }
            name if name == ProductView::NAME => {
                let $store = RedisViews::<ProductView>::new($config)?;
                $do
            }
            name if name == ProductIndex::NAME => {
                let $store = SearchIndexes::<ProductIndex>::new($config);
                $do
            }
            name if name == OrderIndex::NAME => {
                let $store = SearchIndexes::<OrderIndex>::new($config);
                $do
            }
            name => Err(ProjectionError::Unknown(name.into())),
        }
    };
}

/// Rebuilds a projection from the first event of each log while the live one answers, and switches to it if they are equal or the differences are
/// accepted.
///
/// # Errors
/// `Unknown`: no such projection. `Different`: they are not equal; nothing was switched, and the next call begins anew. `Incomparable`:
/// nothing was switched either. `Interrupted`: stopped; the next call resumes. `Fenced` or `Locked`: another rebuild of the same projection
/// is running.
pub async fn rebuild(
    name: &str,
    config: &Config,
    logs: &[Log],
    options: &RebuildOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
    stop: &CancellationToken,
) -> Result<Certificate, ProjectionError> {
    config.check()?;
    with_store!(name, config, store => Rebuild { store, config, logs, options, stop }.run(progress).await)
}

/// Up to where the generation of a projection that answers is written in each log, and from which events it is made; empty where it is
/// not built.
pub async fn applied(name: &str, config: &Config) -> Result<Vec<(Checkpoint, Tally)>, ProjectionError> {
    with_store!(name, config, store => match store.active().await? {
        Some(active) => {
            let logs = store.peek(active).await?.head.logs;
            Ok(logs.into_iter().map(|from| (from.checkpoint, from.applied)).collect())
        }
        None => Ok(Vec::new()),
    })
}

/// Makes the generation before the live one again, where it is still kept; the projector brings it up to date. Returns its number.
pub async fn switch_back(name: &str, config: &Config) -> Result<u32, ProjectionError> {
    with_store!(name, config, store => back(&store).await)
}

/// Drops the generation before the live one.
pub async fn drop_previous(name: &str, config: &Config) -> Result<(), ProjectionError> {
    with_store!(name, config, store => match store.previous().await? {
        Some(previous) => store.drop_generation(previous).await,
        None => Ok(()),
    })
}

async fn back<S: Store>(store: &S) -> Result<u32, ProjectionError> {
    let nothing =
        || ProjectionError::Lost { projection: S::NAME, generation: 0, what: "no generation before it is kept".into() };
    let previous = store.previous().await?.ok_or_else(nothing)?;
    store.peek(previous).await?;
    store.switch_to(previous).await?;
    Ok(previous)
}

struct Rebuild<'a, S> {
    store: S,
    config: &'a Config,
    logs: &'a [Log],
    options: &'a RebuildOptions,
    stop: &'a CancellationToken,
}

type Tell<'a> = dyn FnMut(i64, i64) + Send + 'a;

/// What the comparison found.
struct Comparison {
    /// Where the live one stood; none when there was nothing that could be compared.
    live: Option<Standing>,
    equal: bool,
    documents: bool,
    differences: Vec<String>,
    count: usize,
}

impl Comparison {
    const fn none(equal: bool) -> Self {
        Self { live: None, equal, documents: false, differences: Vec::new(), count: 0 }
    }

    fn of(live: Standing, documents: bool, mut differences: Vec<String>, digests_equal: bool) -> Self {
        if differences.is_empty() && !digests_equal {
            differences.push(DIGESTS.into());
        }
        let count = differences.len();
        differences.truncate(EXAMPLES);
        Self { live: Some(live), equal: count == 0, documents, differences, count }
    }
}

impl<S: Store> Rebuild<'_, S> {
    async fn run(self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Certificate, ProjectionError> {
        let started = Instant::now();
        self.store.preflight().await?;
        if self.options.from_scratch
            && let Some(half_built) = self.store.building().await?
        {
            self.store.abandon(half_built).await?;
        }
        let mut open = open_construction(&self.store, &ids(self.logs), self.options.cached_documents).await?;
        let from = open.folded().clone();
        let mut tell = |position: i64, target: i64| {
            let events_per_s = rate(position - from.events(), started.elapsed());
            progress(Progress { position, target, events_per_s });
        };
        build_to::<S, _>(&mut open, self.logs, || self.goals(), self.pace(), self.stop, &mut tell).await?;
        if self.of_another_version().await?.is_none() {
            reached_all(&mut open, self.logs).await?;
        }
        // Before anybody has to stand still for the comparison.
        try_join_all(self.logs.iter().map(Log::seal_blocks)).await.map_err(Whose(S::NAME).log())?;
        let live = self.store.active().await?;
        let compared = match live {
            Some(live) => self.compare(live, &mut open).await,
            None => Ok(Comparison::none(true)),
        };
        let finished = match compared {
            Ok(comparison) => match self.accept(open, &comparison, &mut tell).await {
                Ok(open) => self.finish(open, live, comparison, &from, started).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.store.release().await?;
        sweep(&self.store).await?;
        finished
    }

    /// The heads of the logs; or where the live one stands, if another version made it: that is where they can be compared.
    async fn goals(&self) -> Result<Vec<Position>, ProjectionError> {
        let heads = heads::<S>(self.logs).await?;
        let Some(live) = self.of_another_version().await? else { return Ok(heads) };
        let within = |(log, head): (&Log, Position)| head.min(live.position(log.id()));
        Ok(self.logs.iter().zip(heads).map(within).collect())
    }

    /// Where the live one stands, if another version made it.
    async fn of_another_version(&self) -> Result<Option<Head>, ProjectionError> {
        let Some(live) = self.store.active().await? else { return Ok(None) };
        match self.store.peek(live).await {
            Err(ProjectionError::Lost { .. }) => Ok(None),
            outcome => outcome.map(|live| Some(live.head).filter(|head| head.code_version != S::VERSION)),
        }
    }

    /// Refuses what differs and was not to. What was compared with another version is brought up to date after that.
    async fn accept(
        &self,
        open: S::Open,
        comparison: &Comparison,
        tell: &mut Tell<'_>,
    ) -> Result<S::Open, ProjectionError> {
        let Some(live) = &comparison.live else { return self.whole(open, tell).await };
        if comparison.count > 0 && !self.options.accept_differences {
            let generation = open.generation();
            // Gives the lock of an index back.
            open.close().await?;
            self.store.abandon(generation).await?;
            let (count, examples) = (comparison.count, comparison.differences.clone());
            let (ours, built_by) = (S::VERSION, live.head.code_version);
            return Err(ProjectionError::Different { projection: S::NAME, ours, built_by, count, examples });
        }
        if live.head.code_version == S::VERSION { Ok(open) } else { self.whole(open, tell).await }
    }

    /// To the ends of the logs.
    async fn whole(&self, mut open: S::Open, tell: &mut Tell<'_>) -> Result<S::Open, ProjectionError> {
        build_to_heads::<S>(&mut open, self.logs, self.pace(), self.stop, tell).await?;
        Ok(open)
    }

    async fn finish(
        &self,
        open: S::Open,
        live: Option<Generation>,
        comparison: Comparison,
        from: &Head,
        started: Instant,
    ) -> Result<Certificate, ProjectionError> {
        let Comparison { live: compared, equal, documents: documents_compared, differences, count } = comparison;
        let open = verified(&self.store, self.logs, open).await?;
        let (generation, written, digest) = (open.generation(), open.written().clone(), open.digest());
        // Gives the lock of an index back before the projector wants it.
        open.close().await?;
        events::crash::point("projections::before_switch");
        self.store.switch_to(generation).await?;
        let (events, duration) = (written.events() - from.events(), started.elapsed());
        Ok(Certificate {
            projection: S::NAME.into(),
            code_version: version::<S>(S::VERSION),
            generation,
            compared_with: live,
            compared_version: compared.as_ref().map(|live| version::<S>(live.head.code_version)),
            compared_at: compared.map(|live| live.head.positions()),
            from: from.positions(),
            to: written.positions(),
            events,
            documents: digest.count,
            hash: format!("{:032x}", digest.sum),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            events_per_s: rate(events, duration),
            equal,
            documents_compared,
            differences_count: count,
            differences,
        })
    }

    /// Compares both at the same position. The live one stands still while that lasts and until the switch.
    async fn compare(&self, live: Generation, open: &mut S::Open) -> Result<Comparison, ProjectionError> {
        for _ in 0..ATTEMPTS {
            if !self.live_reaches(live, open.folded()).await? {
                return Ok(Comparison::none(false));
            }
            self.store.hold(HOLD).await?;
            if let Some(comparison) = self.compare_held(live, open).await? {
                return Ok(comparison);
            }
            self.store.release().await?;
        }
        Err(ProjectionError::Restless { projection: S::NAME })
    }

    /// Waits until the live generation is not behind the new one; brings it forward where no projector does. False: it cannot be compared,
    /// because it is lost, or cannot be brought forward and is to be replaced all the same.
    async fn live_reaches(&self, live: Generation, wanted: &Head) -> Result<bool, ProjectionError> {
        let (mut last, mut unmoved, mut refusals) = (None, 0, 0);
        loop {
            let standing = match self.store.peek(live).await {
                Err(ProjectionError::Lost { .. }) => return Ok(false),
                outcome => outcome?,
            };
            if let Some(log_id) = standing.head.unfollowed(&ids(self.logs)) {
                return self.incomparable(Whose(S::NAME).unfollowed(live, log_id));
            }
            if standing.whole && standing.head.reaches(wanted) {
                return Ok(true);
            }
            let toward = standing.head.toward(wanted);
            unmoved = if last == Some(toward) { unmoved + 1 } else { 0 };
            last = Some(toward);
            if unmoved >= UNMOVED_LOOKS {
                match self.bring_forward(live, wanted).await {
                    // A projector is there after all.
                    Err(source @ (ProjectionError::Fenced { .. } | ProjectionError::Locked { .. })) => {
                        if refusals >= REFUSALS_MAX {
                            // It follows another log and cannot follow this one: only another generation helps.
                            let replaced = self.logs.len() > 1 && self.options.accept_differences;
                            return if replaced { Ok(false) } else { Err(source) };
                        }
                        (unmoved, refusals) = (0, refusals + 1);
                    }
                    // What stands there comes of another history or another fold; whoever accepts differences replaces it.
                    Err(
                        source @ (ProjectionError::Log { source: LogError::HistoryChanged { .. }, .. }
                        | ProjectionError::Outdated { .. }),
                    ) => return self.incomparable(source),
                    outcome => outcome?,
                }
            }
            if self.stop.is_cancelled() {
                let position = wanted.positions();
                return Err(ProjectionError::Interrupted { projection: S::NAME, position });
            }
            tokio::time::sleep(STILL).await;
        }
    }

    /// Whoever accepts differences replaces what cannot be compared.
    fn incomparable(&self, source: ProjectionError) -> Result<bool, ProjectionError> {
        let incomparable = ProjectionError::Incomparable { projection: S::NAME, source: Box::new(source) };
        if self.options.accept_differences { Ok(false) } else { Err(incomparable) }
    }

    async fn bring_forward(&self, live: Generation, to: &Head) -> Result<(), ProjectionError> {
        let mut open = self.store.open(live, &ids(self.logs), self.options.cached_documents).await?;
        self.catch_up(&mut open, to).await?;
        open.close().await
    }

    async fn catch_up(&self, open: &mut S::Open, to: &Head) -> Result<(), ProjectionError> {
        for log in self.logs {
            let to = to.position(log.id());
            catch_up(S::NAME, open, log, to, self.pace(), self.stop, &mut |_| ()).await?;
        }
        Ok(())
    }

    /// None: the live generation was not to be held still.
    async fn compare_held(&self, live: Generation, open: &mut S::Open) -> Result<Option<Comparison>, ProjectionError> {
        let Some(standing) = self.stands_still(live).await? else { return Ok(None) };
        if !standing.head.reaches(open.folded()) {
            return Ok(None);
        }
        self.catch_up(open, &standing.head).await?;
        let digests_equal = standing.digest == open.digest() && standing.head.equals(open.written());
        let few = usize::try_from(open.digest().count.max(standing.digest.count))
            .is_ok_and(|count| count <= self.options.compare_documents_max);
        let differences = if few { self.differences(live, open.generation()).await? } else { Vec::new() };
        let unmoved = self.store.peek(live).await? == standing;
        Ok(unmoved.then(|| Comparison::of(standing, few, differences, digests_equal)))
    }

    /// Names of the documents that are in one only, or not the same in both.
    async fn differences(&self, live: Generation, new: Generation) -> Result<Vec<String>, ProjectionError> {
        let (old, new) = (self.store.contents(live).await?, self.store.contents(new).await?);
        let changed = new.iter().filter(|(name, hash)| old.get(*name) != Some(hash)).map(|(name, _)| name);
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        let mut differences = changed.chain(gone).cloned().collect::<Vec<_>>();
        differences.sort_unstable();
        Ok(differences)
    }

    /// Two looks in a row that see the same.
    async fn stands_still(&self, live: Generation) -> Result<Option<Standing>, ProjectionError> {
        let mut last = None;
        for _ in 0..STILL_LOOKS {
            let standing = self.store.peek(live).await?;
            if standing.whole && last.as_ref() == Some(&standing) {
                return Ok(last);
            }
            last = Some(standing);
            tokio::time::sleep(STILL).await;
        }
        Ok(None)
    }

    fn pace(&self) -> Pace {
        building_pace(self.config)
    }
}

fn version<S: Store>(version: u32) -> String {
    format!("{} v{version}", S::NAME)
}

fn rate(events: i64, duration: Duration) -> f64 {
    let seconds = duration.as_secs_f64();
    if seconds > 0.0 { events as f64 / seconds } else { 0.0 }
}
