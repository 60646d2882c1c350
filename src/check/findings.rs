//! What the check found: for each invariant how much was judged, and the first event that breaks it.

use std::ops::RangeInclusive;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invariant {
    Money,
    Stock,
    Termination,
    Effects,
    Order,
    Projections,
}

impl Invariant {
    pub(super) const ALL: [Self; 6] =
        [Self::Money, Self::Stock, Self::Termination, Self::Effects, Self::Order, Self::Projections];

    pub(super) const fn letter(self) -> &'static str {
        match self {
            Self::Money => "M",
            Self::Stock => "S",
            Self::Termination => "T",
            Self::Effects => "E",
            Self::Order => "O",
            Self::Projections => "P",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Stock => "stock",
            Self::Termination => "termination",
            Self::Effects => "effects",
            Self::Order => "order",
            Self::Projections => "projections",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Breach {
    /// None when no event of the log shows it, such as an effect that only the provider knows.
    pub(crate) position: Option<i64>,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) checked: u64,
    pub(super) breaches: u64,
    pub(super) first: Option<Breach>,
}

/// Something that was found outside the fold.
#[derive(Debug)]
pub(super) enum Note {
    Checked(Invariant, u64),
    Breach(Invariant, Breach),
}

impl Note {
    pub(super) fn checked(invariant: Invariant, count: i64) -> Self {
        Self::Checked(invariant, u64::try_from(count).unwrap_or(0))
    }

    pub(super) fn breach(invariant: Invariant, position: Option<i64>, what: String) -> Self {
        Self::Breach(invariant, Breach { position, what })
    }
}

#[derive(Debug)]
pub(super) struct Findings {
    judged: RangeInclusive<i64>,
    tallies: [Tally; Invariant::ALL.len()],
}

impl Findings {
    pub(super) fn new(judged: RangeInclusive<i64>) -> Self {
        Self { judged, tallies: Default::default() }
    }

    pub(super) fn tally(&self, invariant: Invariant) -> &Tally {
        &self.tallies[invariant as usize]
    }

    /// Something at `position` was judged, whatever came out.
    pub(super) fn checked(&mut self, invariant: Invariant, position: i64) {
        if self.judged.contains(&position) {
            self.tallies[invariant as usize].checked += 1;
        }
    }

    pub(super) fn breach(&mut self, invariant: Invariant, position: i64, what: String) {
        if self.judged.contains(&position) {
            self.add(invariant, Breach { position: Some(position), what });
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Checked(invariant, count) => self.tallies[invariant as usize].checked += count,
            Note::Breach(invariant, breach) => self.add(invariant, breach),
        }
    }

    fn add(&mut self, invariant: Invariant, breach: Breach) {
        let tally = &mut self.tallies[invariant as usize];
        tally.breaches += 1;
        // What has no position says nothing about when, so anything that has one comes first.
        let place = |breach: &Breach| breach.position.unwrap_or(i64::MAX);
        if tally.first.as_ref().is_none_or(|first| place(&breach) < place(first)) {
            tally.first = Some(breach);
        }
    }
}

/// Where the event that is judged stands, and where to say what is wrong with it.
pub(super) struct Judge<'a> {
    pub(super) findings: &'a mut Findings,
    pub(super) position: i64,
}

impl Judge<'_> {
    /// States that something holds: counted, and a breach where it does not. `what` says what is wrong.
    pub(super) fn holds(&mut self, invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
        self.findings.checked(invariant, self.position);
        if !holds {
            self.findings.breach(invariant, self.position, what());
        }
    }
}
