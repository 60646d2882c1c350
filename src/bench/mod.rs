//! `waybill bench`: measures ours and the limit of this machine in turn, in the same run, on private servers with durable settings.
//!
//! To add one: a file beside `append.rs` with a [`Spec`] and a function that measures one round, and a line in [`Bench`].

mod append;
mod append_latency;
mod append_outside;
mod growth;
mod log;
mod machine;
mod old_snapshot;
mod plot;
mod read;
mod report;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use write_side::StoreConfig;

pub(crate) use report::Report;
use report::{Round, Spec};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bench {
    /// Events a second durably appended, each by its own append.
    Append,
    /// The time of a single append while nothing else runs.
    AppendLatency,
    /// Events a second read in order and decoded.
    Read,
    /// `append` and `read` on a log that has grown.
    Growth,
    /// `append` under a snapshot that somebody holds for five minutes.
    OldSnapshot,
    /// 32 writers outside the product, through the SQL function.
    AppendOutside,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    /// Each measures the limit and ours once; at least 5 for a figure that is quoted.
    pub rounds: usize,
    /// Of one measurement of a rate.
    pub duration: Duration,
    /// Events in the log that `read` reads; the sizes of `growth` are fixed.
    pub events: u64,
    /// Of the append path, as in the configuration.
    pub store: StoreConfig,
}

impl Bench {
    pub(crate) const ALL: [Self; 6] =
        [Self::Append, Self::AppendLatency, Self::Read, Self::Growth, Self::OldSnapshot, Self::AppendOutside];

    pub(crate) const fn spec(self) -> &'static Spec {
        match self {
            Self::Append => &append::SPEC,
            Self::AppendLatency => &append_latency::SPEC,
            Self::Read => &read::SPEC,
            Self::Growth => &growth::SPEC,
            Self::OldSnapshot => &old_snapshot::SPEC,
            Self::AppendOutside => &append_outside::SPEC,
        }
    }

    /// Runs all rounds and writes histogram and plot to `folder`, where one is given. `progress` hears of each round.
    pub(crate) async fn run(
        self,
        effort: Effort,
        folder: Option<&Path>,
        progress: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let rounds: Vec<Round> = match self {
            Self::Append => append::run(effort, folder, &progress).await,
            Self::AppendLatency => append_latency::run(effort, folder, &progress).await,
            Self::Read => read::run(effort, &progress).await,
            Self::Growth => growth::run(effort, &progress).await,
            Self::OldSnapshot => old_snapshot::run(effort, &progress).await,
            Self::AppendOutside => append_outside::run(effort, &progress).await,
        }
        .with_context(|| format!("the benchmark {} could not be run", self.spec().name))?;
        let report = Report::of(self.spec(), rounds, machine::facts());
        if let Some(folder) = folder {
            plot::write(&report, folder)?;
        }
        Ok(report)
    }
}
