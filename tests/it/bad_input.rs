//! Bad input to every endpoint and every subcommand: a clear error that says what to fix, the right status, nothing recorded,
//! no panic, no backtrace.

mod bodies;
mod commands;
mod extremes;
mod requests;

use http_api::Code;
use serde_json::Value;

use crate::support::client::Answer;

/// A problem document that a program and a person understand: of the catalogue, with the status that its code has.
#[track_caller]
fn is_problem(what: &str, answer: &Answer) {
    let Answer { status, text, body, .. } = answer;
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("application/problem+json"), "{what}: {status} {content_type}: {text}");
    let code = Code::parse(answer.code()).unwrap_or_else(|| panic!("{what}: no code of the catalogue: {text}"));
    assert_eq!(
        (*status, body["status"].as_u64()),
        (code.status().as_u16(), Some(u64::from(*status))),
        "{what}: {text}"
    );
    assert!(!body["detail"].as_str().unwrap_or_default().is_empty(), "{what}: it does not say what to fix: {text}");
    assert!(answer.header("x-request-id").is_some(), "{what}: nothing to find it in the log by");
    is_calm(what, text);
}

/// Nothing of the program's inside.
#[track_caller]
fn is_calm(what: &str, text: &str) {
    for inside in ["panicked", "stack backtrace", "RUST_BACKTRACE", "src/", ".rs:", "sqlx", "PoolTimedOut"] {
        assert!(!text.contains(inside), "{what}: {inside:?} is nobody's business: {text}");
    }
}

/// A request that the client got wrong.
#[track_caller]
fn is_the_clients_mistake(what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
    is_problem(what, answer);
}

fn pointer(body: &Value) -> &str {
    body["pointer"].as_str().unwrap_or_default()
}
