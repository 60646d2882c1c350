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
    /// Median over the rounds of each round's own ratio: what disturbs the machine disturbs both.
    pub ratio: f64,
    pub aim: f64,
    pub runs: Vec<Run>,
    pub machine: Machine,
    #[serde(skip)]
    pub spec: &'static Spec,
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
        Self {
            bench: spec.name,
            limit: in_unit(of(|run| run.limit)),
            ours: in_unit(of(|run| run.ours)),
            ratio: of(|run| run.ratio),
            aim: spec.aim,
            runs,
            machine,
            spec,
        }
    }

    pub(crate) fn reaches_its_aim(&self) -> bool {
        self.ratio >= self.aim
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

    const RATE: Spec = Spec { name: "r", unit: "1/s", limit: "", ours: "", larger_is_better: true, aim: 0.5 };
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
    fn a_median_is_the_middle_of_an_odd_and_the_mean_of_an_even_count() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
