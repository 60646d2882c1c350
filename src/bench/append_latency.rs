//! `append-latency`: one caller, one event, nothing else running.

use std::{path::Path, time::Instant};

use events::{Ids, SystemIds};
use hdrhistogram::Histogram;
use sqlx::PgConnection;

use super::{
    Effort, Round, Spec,
    append::append_one,
    log::{LogUnderTest, Sample, stream},
    plot,
};

pub(super) const SPEC: Spec = Spec {
    name: "append-latency",
    unit: "µs",
    limit: "one INSERT and COMMIT of the same row through the same driver and socket, p50",
    ours: "a single append, p50",
    larger_is_better: false,
    aim: 1.0 / 1.4,
    aim_p99: Some(0.5),
};

pub(super) async fn run(effort: Effort, folder: Option<&Path>, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Round>> {
    let log = LogUnderTest::start(effort.store).await?;
    log.make_limit_table().await?;
    let mut connection = log.connection().await?;
    let sample = Sample::new();
    let (mut next, mut version) = (1_i64, 0_i64);
    let mut all = [plot::histogram(), plot::histogram()];
    let mut rounds = Vec::new();
    // The first round warms up and is not counted.
    for number in 0..=effort.rounds {
        let duration = if number == 0 { effort.duration / 4 } else { effort.duration };
        let (mut limit, mut ours) = (plot::histogram(), plot::histogram());
        let started = Instant::now();
        while started.elapsed() < duration {
            let from = Instant::now();
            insert_one(&mut connection, &sample, next).await?;
            plot::record(&mut limit, from.elapsed());
            next += 1;
        }
        let started = Instant::now();
        while started.elapsed() < duration {
            let from = Instant::now();
            append_one(&log.store, &sample, &stream(0), version).await?;
            plot::record(&mut ours, from.elapsed());
            version += 1;
        }
        if number == 0 {
            continue;
        }
        let round = round(&limit, &ours);
        progress(&format!(
            "round {number}: limit p50 {:.0} p99 {:.0}, ours p50 {:.0} p99 {:.0} µs",
            round.limit,
            limit.value_at_quantile(0.99),
            round.ours,
            ours.value_at_quantile(0.99)
        ));
        all[0].add(&limit)?;
        all[1].add(&ours)?;
        rounds.push(round);
    }
    if let Some(folder) = folder {
        plot::write_histogram(SPEC.name, &[("limit", &all[0]), ("ours", &all[1])], folder)?;
    }
    log.stop().await;
    Ok(rounds)
}

fn round(limit: &Histogram<u64>, ours: &Histogram<u64>) -> Round {
    let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64;
    let (limit_p99, ours_p99) = (at(limit, 0.99), at(ours, 0.99));
    let more = vec![("limit_p99", limit_p99), ("ours_p99", ours_p99), ("ratio_p99", limit_p99 / ours_p99)];
    Round { limit: at(limit, 0.5), ours: at(ours, 0.5), more }
}

async fn insert_one(connection: &mut PgConnection, sample: &Sample, position: i64) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO limit_events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at) \
         VALUES ($1, $2, $1, $3, $4, $5, $6::text::json, $7::text::json, clock_timestamp())",
    )
    .bind(position)
    .bind(stream(0).as_str())
    .bind(SystemIds.next())
    .bind(sample.event_type)
    .bind(sample.schema_version)
    .bind(&sample.payload)
    .bind(&sample.metadata)
    .execute(connection)
    .await?;
    Ok(())
}
