//! Compares the log with what the provider and the carriers say they have done: nothing lost, nothing twice.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use uuid::Uuid;

use super::{
    CheckError,
    effects::Kind,
    findings::{Invariant, Note},
    fold::Fold,
};

const CARRIERS: [&str; 2] = ["swift", "steady"];

/// A line of the payment provider's or a carrier's ledger: an effect that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct LedgerLine {
    pub(super) kind: String,
    pub(super) effect_key: String,
    pub(super) parent_key: Option<String>,
    pub(super) amount_minor: Option<i64>,
    /// How often it was really applied.
    pub(super) applied: u32,
}

/// Fetches the ledgers of the simulator at `base_url` and notes every difference.
pub(super) async fn compare(base_url: &str, fold: &mut Fold) -> Result<(), CheckError> {
    let base_url = base_url.trim_end_matches('/');
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(60))
        .build()
        .map_err(|source| CheckError::Ledger { url: base_url.into(), source })?;
    let mut lines = fetch(&client, format!("{base_url}/payments/ledger")).await?;
    for carrier in CARRIERS {
        lines.extend(fetch(&client, format!("{base_url}/carriers/{carrier}/ledger")).await?);
    }
    let notes = judge(&lines, fold);
    fold.note(notes);
    Ok(())
}

async fn fetch(client: &reqwest::Client, url: String) -> Result<Vec<LedgerLine>, CheckError> {
    let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
    let text = match answer {
        Ok(answer) => answer.text().await,
        Err(error) => Err(error),
    };
    let text = text.map_err(|source| CheckError::Ledger { url: url.clone(), source })?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).map_err(|source| CheckError::LedgerLine {
                url: url.clone(),
                line: line.into(),
                source,
            })
        })
        .collect()
}

/// An effect that the provider applied may be missing in the log while its order is under way, and never afterwards.
pub(super) fn judge(lines: &[LedgerLine], fold: &Fold) -> Vec<Note> {
    let Some(applied) = &fold.applied else { return Vec::new() };
    let mut notes = vec![Note::checked(Invariant::Effects, i64::try_from(lines.len()).unwrap_or(i64::MAX))];
    let mut breach = |position, what| notes.push(Note::breach(Invariant::Effects, position, what));
    // An authorisation or booking that went unheard is undone by its own key, and the undo is in the log.
    let undone: HashSet<&str> =
        lines.iter().filter_map(|line| undo_of(line, applied.contains_key(&line.effect_key))).collect();
    let mut charged: HashMap<Uuid, i64> = HashMap::new();
    let mut seen: HashMap<&str, &LedgerLine> = HashMap::new();
    for line in lines {
        let Some(kind) = kind(&line.kind) else { continue };
        let LedgerLine { effect_key, .. } = line;
        if line.applied > 1 || seen.insert(effect_key, line).is_some() {
            breach(None, format!("{} {effect_key} was applied more than once", line.kind));
        }
        let order_id = order_of(effect_key);
        if let Some(order_id) = order_id {
            let captures = i64::from(kind == Kind::Capture) - i64::from(kind == Kind::Refund);
            *charged.entry(order_id).or_default() += captures;
        }
        let settled = order_id.is_none_or(|order_id| fold.is_closed(order_id));
        match applied.get(effect_key) {
            Some((known, ..)) if *known == kind => (),
            Some((known, position, _)) => {
                breach(
                    Some(*position),
                    format!("{effect_key} is a {} to its provider and {known:?} in the log", line.kind),
                );
            }
            None if settled && !undone.contains(effect_key.as_str()) => {
                breach(None, format!("{} {effect_key} was applied and is not in the log", line.kind));
            }
            None => (),
        }
    }
    for (order_id, _) in charged.iter().filter(|(_, captures)| **captures > 1) {
        breach(None, format!("order {order_id} was charged twice"));
    }
    for (effect_key, (kind, position, amount)) in applied {
        if matches!(kind, Kind::Reservation | Kind::Release | Kind::Commit | Kind::PutBack) {
            continue; // ours, not a provider's
        }
        match seen.get(effect_key.as_str()) {
            None if undoes_nothing(*kind, effect_key, &seen) => (),
            None => breach(Some(*position), format!("{kind:?} {effect_key} is in the log and in no ledger")),
            Some(line) if amount.is_some() && line.amount_minor != *amount => {
                let (theirs, ours) = (line.amount_minor.unwrap_or(0), amount.unwrap_or(0));
                breach(
                    Some(*position),
                    format!("{kind:?} {effect_key} is {ours} in the log and {theirs} in the ledger"),
                );
            }
            Some(_) => (),
        }
    }
    notes
}

/// What a provider never did is undone without asking it.
fn undoes_nothing(kind: Kind, effect_key: &str, seen: &HashMap<&str, &LedgerLine>) -> bool {
    let undone = effect_key.strip_suffix("/undo");
    matches!(kind, Kind::Void | Kind::Cancellation) && undone.is_some_and(|undone| !seen.contains_key(undone))
}

fn undo_of(line: &LedgerLine, in_the_log: bool) -> Option<&str> {
    let undo = matches!(kind(&line.kind), Some(Kind::Void | Kind::Cancellation));
    line.parent_key.as_deref().filter(|_| undo && in_the_log)
}

fn kind(name: &str) -> Option<Kind> {
    match name {
        "authorisation" => Some(Kind::Authorisation),
        "capture" => Some(Kind::Capture),
        "void" => Some(Kind::Void),
        "refund" => Some(Kind::Refund),
        "booking" => Some(Kind::Booking),
        "cancellation" => Some(Kind::Cancellation),
        _ => None, // a dispatch is the carrier's own doing
    }
}

/// `fulfilment/{order}/{step}/{occurrence}`
fn order_of(effect_key: &str) -> Option<Uuid> {
    effect_key.split('/').nth(1)?.parse().ok()
}
