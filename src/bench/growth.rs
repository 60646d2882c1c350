//! `growth`: does the log stay as fast as it grows? `append` and `read` at 1 M and 10 M events, against `append` at 0.

use super::{
    Effort, Round, Spec,
    append::Appender,
    log::LogUnderTest,
    read::{fill, read_all},
};

pub(super) const SPEC: Spec = Spec {
    name: "growth",
    unit: "events/s",
    limit: "append on an empty log",
    ours: "append on a log of 10,000,000 events",
    larger_is_better: true,
    aim: 0.85,
    aim_p99: None,
};

const SIZES: [(&str, &str, u64); 2] =
    [("append_at_1m", "read_at_1m", 1_000_000), ("append_at_10m", "read_at_10m", 10_000_000)];

/// Each size is measured on streams of its own.
const STREAMS_APART: usize = 100_000;
/// How much of the log's end is read.
const READ: i64 = 500_000;

pub(super) async fn run(effort: Effort, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let empty = LogUnderTest::start(effort.store.clone()).await?;
    let grown = LogUnderTest::start(effort.store).await?;
    let mut more = vec![Vec::new(); effort.rounds];
    let mut filled = 0;
    let mut pairs = Vec::new();
    for (place, (append_at, read_at, size)) in SIZES.into_iter().enumerate() {
        progress(&format!("filling the log up to {size} events"));
        fill(&grown, filled + 1, size).await?;
        // The store hears of it as it would of another process's appends.
        grown.store.wake().committed(grown.log().head().await?);
        let mut callers = [(); 2].map(|()| Appender::on_streams_from(STREAMS_APART * place));
        callers[0].run(&empty.store, effort.duration / 4).await?;
        callers[1].run(&grown.store, effort.duration / 4).await?;
        pairs.clear();
        for (number, more) in more.iter_mut().enumerate() {
            let limit = callers[0].run(&empty.store, effort.duration).await?;
            let ours = callers[1].run(&grown.store, effort.duration).await?;
            progress(&format!("round {} at {size}: empty {limit:.0}, grown {ours:.0} {}", number + 1, SPEC.unit));
            more.push((append_at, ours));
            pairs.push((limit, ours));
        }
        for (number, more) in more.iter_mut().enumerate() {
            let after = grown.log().head().await?.0 - READ;
            let read = read_all(&grown, events::Position(after.max(0))).await?;
            progress(&format!("round {} at {size}: read {read:.0} {}", number + 1, SPEC.unit));
            more.push((read_at, read));
        }
        filled = u64::try_from(grown.log().head().await?.0)?;
    }
    empty.stop().await;
    grown.stop().await;
    Ok(pairs.into_iter().zip(more).map(|((limit, ours), more)| Round { limit, ours, more }).collect())
}
