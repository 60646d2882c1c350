//! The outcome of a check, as a value, a JSON line and a table.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::findings::{Breach, Findings, Invariant};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    /// How many statements about the log were verified.
    pub(crate) checked: u64,
    pub(crate) first_breach: Option<Breach>,
    #[serde(skip)]
    pub(crate) breaches: u64,
}

/// How the orders of the log ended, as far as they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Endings {
    pub(crate) completed: u64,
    pub(crate) unwound: u64,
    pub(crate) needs_attention: u64,
    /// Still under way, each with a deadline or not yet begun.
    pub(crate) open: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    /// Up to where the log was read: `main:1234`.
    pub(crate) position: String,
    #[serde(serialize_with = "by_letter")]
    pub(crate) invariants: Vec<(&'static str, Verdict)>,
    #[serde(skip)]
    pub(crate) endings: Endings,
}

impl Report {
    pub(super) fn new(findings: &Findings, log_id: &str, position: i64, endings: Endings) -> Self {
        let verdict = |invariant: Invariant| {
            let tally = findings.tally(invariant);
            let verdict = Verdict {
                ok: tally.breaches == 0,
                checked: tally.checked,
                first_breach: tally.first.clone(),
                breaches: tally.breaches,
            };
            (invariant.letter(), verdict)
        };
        let invariants = Invariant::ALL.map(verdict).to_vec();
        let ok = invariants.iter().all(|(_, verdict)| verdict.ok);
        Self { ok, position: format!("{log_id}:{position}"), invariants, endings }
    }

    /// One line: `{"ok":bool,"position":"main:n","invariants":{"M":{"ok":bool,"checked":n,"first_breach":...},...}}`.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data with string keys, which JSON can always express")
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "invariant", "holds", "verified", "first breach"]);
        for (invariant, (letter, verdict)) in Invariant::ALL.iter().zip(&self.invariants) {
            let first = verdict.first_breach.as_ref().map_or_else(String::new, |breach| {
                let place = breach.position.map_or_else(|| "outside the log".into(), |at| format!("position {at}"));
                let more = match verdict.breaches {
                    0 | 1 => String::new(),
                    breaches => format!(" (and {} more)", breaches - 1),
                };
                format!("{place}: {}{more}", breach.what)
            });
            let holds = if verdict.ok { "yes" } else { "NO" };
            table.add_row([letter, invariant.name(), holds, &verdict.checked.to_string(), &first]);
        }
        let Endings { completed, unwound, needs_attention, open } = self.endings;
        format!(
            "{table}\norders: {completed} completed, {unwound} unwound, {needs_attention} need attention, {open} open; log read up to {}",
            self.position
        )
    }
}

fn by_letter<S: Serializer>(verdicts: &[(&'static str, Verdict)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(verdicts.len()))?;
    for (letter, verdict) in verdicts {
        map.serialize_entry(letter, verdict)?;
    }
    map.end()
}
