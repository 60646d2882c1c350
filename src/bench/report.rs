//! Rounds, their medians, and the ratio that is compared with the aim.

use serde::Serialize;

use super::machine::Machine;

/// What a benchmark is.
#[derive(Debug)]
pub(crate) struct Spec {
    pub name: &'static str,
    pub unit: &'static str,
    pub limit: &'static str,
    pub ours: &'static str,
    /// A rate is good when it is large, a time when it is small.
    pub larger_is_better: bool,
    /// The ratio to reach; larger is better in any case.
    pub aim: f64,
    /// The same for the 99th percentiles of a latency, which its rounds tell as `limit_p99` and `ours_p99`.
    pub aim_p99: Option<f64>,
}

/// One measurement of each, one after the other.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub limit: f64,
    pub ours: f64,
    /// Other figures of the round that are worth keeping, by name.
    #[serde(flatten)]
    pub more: Vec<(&'static str, f64)>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Median {
    pub median: f64,
    pub unit: &'static str,
}

/// The outcome, as `--json` prints it on the last line.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub bench: &'static str,
    pub limit: Median,
    pub ours: Median,
    /// Of the medians; each round's own stands with the round.
    pub ratio: f64,
    pub aim: f64,
    /// The same of the 99th percentiles, where the benchmark has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<Tail>,
    pub runs: Vec<Run>,
    pub machine: Machine,
    #[serde(skip)]
    pub spec: &'static Spec,
}

/// The 99th percentiles of a latency.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Tail {
    pub limit: f64,
    pub ours: f64,
    /// Larger is better.
    pub ratio: f64,
    pub aim: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub limit: f64,
    pub ours: f64,
    pub ratio: f64,
    #[serde(flatten)]
    pub more: std::collections::BTreeMap<&'static str, f64>,
}

impl Report {
    pub(crate) fn of(spec: &'static Spec, rounds: Vec<Round>, machine: Machine) -> Self {
        let ratio =
            |round: &Round| if spec.larger_is_better { round.ours / round.limit } else { round.limit / round.ours };
        let runs: Vec<_> = rounds
            .into_iter()
            .map(|round| Run {
                ratio: ratio(&round),
                limit: round.limit,
                ours: round.ours,
                more: round.more.into_iter().collect(),
            })
            .collect();
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
        let in_unit = |median| Median { median, unit: spec.unit };
        let (limit, ours) = (of(|run| run.limit), of(|run| run.ours));
        let p99 = spec.aim_p99.map(|aim| {
            let of = |name| median(runs.iter().filter_map(|run| run.more.get(name).copied()).collect());
            let (limit, ours) = (of("limit_p99"), of("ours_p99"));
            Tail { limit, ours, ratio: limit / ours, aim }
        });
        Self {
            bench: spec.name,
            limit: in_unit(limit),
            ours: in_unit(ours),
            ratio: if spec.larger_is_better { ours / limit } else { limit / ours },
            aim: spec.aim,
            p99,
            runs,
            machine,
            spec,
        }
    }

    pub(crate) fn reaches_its_aim(&self) -> bool {
        self.ratio >= self.aim && self.p99.is_none_or(|p99| p99.ratio >= p99.aim)
    }
}

/// The middle one; the mean of the middle two where there is none. 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Spec =
        Spec { name: "r", unit: "1/s", limit: "", ours: "", larger_is_better: true, aim: 0.5, aim_p99: None };
    const TIME: Spec = Spec { larger_is_better: false, ..RATE };

    fn round(limit: f64, ours: f64) -> Round {
        Round { limit, ours, more: vec![] }
    }

    #[test]
    fn a_ratio_is_large_when_it_is_good() {
        let rate = Report::of(&RATE, vec![round(100.0, 60.0)], Machine::default());
        let time = Report::of(&TIME, vec![round(60.0, 100.0)], Machine::default());
        assert!((rate.ratio - 0.6).abs() < 1e-9 && (time.ratio - 0.6).abs() < 1e-9);
        assert!(rate.reaches_its_aim());
    }

    #[test]
    fn a_slow_tail_misses_the_aim_though_the_middle_is_fast() {
        let spec = &Spec { aim_p99: Some(0.5), ..TIME };
        let round = |ours_p99| Round { more: vec![("limit_p99", 100.0), ("ours_p99", ours_p99)], ..round(10.0, 10.0) };
        let report = |ours_p99| Report::of(spec, vec![round(ours_p99)], Machine::default());
        assert!(report(150.0).reaches_its_aim() && !report(250.0).reaches_its_aim());
    }

    #[test]
    fn a_median_is_the_middle_of_an_odd_and_the_mean_of_an_even_count() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
