//! The rules of the source tree that are mostly absences, so that no other test would notice: ARCHITECTURE.md states
//! them, this file holds them. A breach names file and line, and what to do instead.

use crate::support::source_tree::{FILES, Line, SourceFile, in_word, mentions};

/// Tests that may sleep, and why. Waiting for a condition with a deadline polls; anything else waits for luck.
const MAY_SLEEP: &[(&str, &str)] =
    &[("src/local_services/testing/eventually.rs", "the one loop that waits for a condition")];

/// Where the environment may be read, and why. Everyone else is handed a configuration.
const MAY_READ_THE_ENVIRONMENT: &[(&str, &str)] = &[
    ("src/main", "the one entrance"),
    ("src/config", "turns the environment into the configuration"),
    ("src/local_services", "starts other programs: finds them in PATH, and the checkout they belong to"),
];

const FILE_LINES_MAX: usize = 600;

// --- the domain ---

#[test]
fn the_domain_is_pure() {
    const IMPURE: &[&str] = &[
        "async",
        ".await",
        "tokio",
        "futures_util",
        "sqlx",
        "lapin",
        "redis",
        "axum",
        "reqwest",
        "rand",
        "Utc::now",
        "Local::now",
        "SystemTime",
        "Instant",
        "Clock",
        "Ids",
        "now_v7",
        "new_v4",
        "std::env",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
    ];
    hold(
        "the domain does no IO and reads no clock and no randomness: pass what it needs inside the command",
        breaches(|file| file.is_in("write-side/src/domain"), |_, line| any_of(IMPURE, &line.code)),
    );
}

// --- who depends on whom ---

#[test]
fn dependencies_between_crates_point_one_way() {
    const MAY_USE: &[(&str, &[&str])] = &[
        ("events", &[]),
        ("src/local_services", &[]),
        ("src/http", &["events"]),
        ("write-side", &["events", "http-api"]),
        ("sagas", &["events", "write-side"]),
        ("projections", &["events"]),
        ("read-side", &["events", "http-api", "projections"]),
    ];
    const OURS: &[&str] =
        &["events", "write-side", "sagas", "projections", "read-side", "local-services", "http-api", "waybill"];
    let mut found = Vec::new();
    for (folder, allowed) in MAY_USE {
        let manifest = source(&format!("{folder}/Cargo.toml"));
        let mut section = String::new();
        for line in &manifest.lines {
            if line.code.starts_with('[') {
                section = line.code.trim().to_owned();
            }
            let name = line.code.split(['.', ' ', '=']).next().unwrap_or_default();
            let for_tests = section == "[dev-dependencies]" && name == "local-services";
            if section.contains("dependencies") && OURS.contains(&name) && !allowed.contains(&name) && !for_tests {
                found.push(place(manifest, line, &format!("{name} in {section}")));
            }
        }
    }
    hold("an arrow points the wrong way: what both sides need belongs into events, or goes through the log", found);
}

#[test]
fn the_checker_shares_no_fold_with_the_product() {
    const PRODUCT: &[&str] = &["projections", "write_side", "sagas", "read_side"];
    hold(
        "`waybill check` must not inherit the product's mistakes: fold raw JSON with code of its own",
        breaches(
            |file| file.is_in("src/check"),
            |_, line| {
                any_of(PRODUCT, &line.code).or_else(|| {
                    line.code
                        .contains("events::")
                        .then_some("events::")
                        .filter(|_| !line.code.contains("events::schema"))
                })
            },
        ),
    );
}

// --- one door for each thing ---

#[test]
fn only_the_event_store_appends() {
    // A benchmark fills a log of its own, and measures beside ours how fast rows go into a table at all.
    const STORE: &[&str] = &["write-side/src/event_store", "write-side/src/append_sql", "src/bench"];
    let append = append_functions();
    hold(
        "the log has one door: append through write_side's event store",
        breaches(
            |file| file.is_rust() && !STORE.iter().any(|place| file.is_in(place)),
            |_, line| {
                let appends = append.iter().any(|name| mentions(&line.with_strings, name));
                (!line.is_test && (appends || sql(line, &["insert", "into"]))).then_some("an append")
            },
        ),
    );
}

#[test]
fn nobody_changes_an_event() {
    hold(
        "the log is append-only: a correction is a new event, a new shape is an upcaster",
        breaches(SourceFile::is_rust, |_, line| {
            let changes = sql(line, &["update"]) || sql(line, &["delete", "from"]) || sql(line, &["truncate"]);
            (!line.is_test && changes).then_some("a change of the log")
        }),
    );
}

#[test]
fn only_the_relay_publishes() {
    hold(
        "the log is the outbox: record an event, and the relay publishes it",
        breaches(
            |file| file.is_rust() && !file.is_in("sagas/src/relay"),
            |_, line| (!line.is_test && mentions(&line.code, "basic_publish")).then_some("basic_publish"),
        ),
    );
}

#[test]
fn no_lock_outlives_a_statement() {
    hold(
        "a process that is frozen between two statements would keep its locks: make it one statement, or a function",
        breaches(
            |file| file.is_rust() && !file.is_in("events/src/schema.rs"),
            |_, line| {
                (!line.is_test && line.code.contains(".begin()")).then_some("a transaction of several statements")
            },
        ),
    );
}

#[test]
fn the_read_side_reads_the_log_in_two_places() {
    const PLACES: &[&str] = &["read-side/src/http/audit_events.rs", "read-side/src/order_from_log.rs"];
    const READS: &[&str] = &["Tail", "raw_page", "log.page", "log.stream"];
    // Of a chain over several lines the receiver stands on the line before.
    let call = |file: &SourceFile, line: &Line| match file.lines.get(line.number.wrapping_sub(2)) {
        Some(previous) if line.code.trim_start().starts_with('.') => {
            format!("{}{}", previous.code, line.code.trim_start())
        }
        _ => line.code.clone(),
    };
    hold(
        "a query that needs the log lacks a projection: add a read model",
        breaches(
            |file| file.is_in("read-side/src") && !PLACES.contains(&file.path.as_str()),
            |file, line| {
                let reads = any_of(READS, &call(file, line)).or_else(|| sql(line, &["from"]).then_some("FROM events"));
                reads.filter(|_| !line.is_test)
            },
        ),
    );
}

#[test]
fn only_main_and_config_read_the_environment() {
    const READS: &[&str] = &["env::var", "env::var_os", "env::vars", "env::vars_os"];
    let allowed = |file: &SourceFile| MAY_READ_THE_ENVIRONMENT.iter().any(|(place, _)| file.is_in(place));
    hold(
        "take it from the configuration that main.rs hands out",
        breaches(
            |file| file.is_rust() && !allowed(file),
            |_, line| any_of(READS, &line.code).filter(|_| !line.is_test),
        ),
    );
}

// --- everywhere ---

#[test]
fn money_is_never_a_float() {
    const MONEY: &[&str] = &["price", "prices", "amount", "amounts", "tax", "money", "cents", "minor", "refund", "fee"];
    let is_money = |word: &str| word == "total" || word.split('_').any(|part| MONEY.contains(&part));
    hold(
        "money is an integer of minor units with a currency: use events::Money, and rust_decimal inside a calculation",
        breaches(SourceFile::is_rust, |_, line| {
            let words: Vec<&str> = line.code.split(|c| !in_word(c)).filter(|word| !word.is_empty()).collect();
            let float = words.iter().any(|word| matches!(*word, "f32" | "f64"));
            (float && words.iter().any(|word| is_money(&word.to_lowercase()))).then_some("a float beside money")
        }),
    );
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long = FILES.iter().filter(|file| file.lines.len() > FILE_LINES_MAX);
    let found = long.map(|file| format!("{}:{}: {} lines", file.path, FILE_LINES_MAX + 1, file.lines.len()));
    hold("a file this long holds two ideas: give the second one a file of its own", found.collect());
}

#[test]
fn nothing_is_left_for_later() {
    const NOTES: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
    const GAPS: &[&str] = &["todo!", "unimplemented!", "#[ignore", "#![ignore"];
    hold(
        "finish it, or file an issue; a test asserts today's answer and says why it is wrong",
        breaches(SourceFile::is_rust, |_, line| any_of(NOTES, &line.comment).or_else(|| any_of(GAPS, &line.code))),
    );
}

#[test]
fn tests_wait_for_a_condition_and_do_not_sleep() {
    let sleeps = |line: &Line| line.is_test && mentions(&line.code, "sleep") && line.code.contains("sleep(");
    let allowed = |path: &str| MAY_SLEEP.iter().any(|(allowed, _)| *allowed == path);
    let mut found =
        breaches(|file| file.is_rust() && !allowed(&file.path), |_, line| sleeps(line).then_some("a sleep"));
    for (path, reason) in MAY_SLEEP {
        if !FILES.iter().any(|file| file.path == *path && file.lines.iter().any(sleeps)) {
            found.push(format!("tests/it/tidy.rs: MAY_SLEEP lists {path} ({reason}), which does not sleep"));
        }
    }
    hold("wait for the condition itself, with a deadline; the one loop that polls is listed in MAY_SLEEP", found);
}

#[test]
fn every_file_says_what_it_is() {
    let mut found = Vec::new();
    for file in FILES.iter() {
        let opening = if file.is_rust() { "//! " } else { "-- " };
        let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if !file.path.ends_with(".toml") && !first.starts_with(opening) {
            found.push(format!("{}:1: {first}", file.path));
        }
    }
    hold(
        "open with one to three lines: what it is, what it promises, what it leaves to others (`//!`, in SQL `--`)",
        found,
    );
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let root = source("Cargo.toml");
    let mut found = Vec::new();
    if !root.text.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"") {
        found.push("Cargo.toml:1: [workspace.lints.rust] begins with unsafe_code = \"forbid\"".to_owned());
    }
    for file in FILES.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        if !file.text.contains("[lints]\nworkspace = true") {
            found.push(format!("{}:1: no `[lints] workspace = true`", file.path));
        }
    }
    hold("every crate takes the workspace's lints, which forbid unsafe code", found);
}

#[test]
fn a_new_variant_stops_the_build_where_it_matters() {
    const SAYS: &str = "clippy::wildcard_enum_match_arm";
    let places = [
        ("projections/src/lib.rs", "projections/src/lib.rs"),
        ("sagas/src/lib.rs", "sagas/src/lib.rs"),
        ("write-side/src/lib.rs", "write-side/src/domain/mod.rs"),
    ];
    let says = |path: &str| FILES.iter().any(|file| file.path == path && file.text.contains(SAYS));
    let silent = places.iter().filter(|(root, place)| begun(root) && !says(root) && !says(place));
    let found = silent.map(|(_, place)| format!("{place}:1: the lint is not set")).collect();
    hold("no `_ =>` over our own enums: `#![warn(clippy::wildcard_enum_match_arm)]`", found);
}

/// A renamed file would switch its rule off in silence.
#[test]
fn the_places_that_rules_name_exist() {
    let places = [
        ("write-side/src/lib.rs", "write-side/src/domain"),
        ("write-side/src/lib.rs", "write-side/src/event_store"),
        ("write-side/src/lib.rs", "write-side/src/batcher"),
        ("sagas/src/lib.rs", "sagas/src/relay"),
        ("read-side/src/lib.rs", "read-side/src/http/audit_events"),
        ("read-side/src/lib.rs", "read-side/src/order_from_log"),
        ("src/main.rs", "src/check"),
        ("src/main.rs", "src/config"),
    ];
    let missing = places.iter().filter(|(root, place)| begun(root) && !FILES.iter().any(|file| file.is_in(place)));
    let mut found: Vec<String> = missing.map(|(_, place)| format!("{place}.rs: is not there")).collect();
    if FILES.iter().any(|file| file.is_in("migrations")) && append_functions().is_empty() {
        found.push("migrations: no function inserts into events".to_owned());
    }
    hold("a rule of this file names a place that moved: correct the rule", found);
}

// --- how a rule is held ---

#[track_caller]
fn hold(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}\n  {}\n", breaches.join("\n  "));
}

/// The lines of the chosen files in which `find` finds something, each as `file:line: what: the line`.
fn breaches<'a>(
    choose: impl Fn(&SourceFile) -> bool,
    find: impl Fn(&SourceFile, &Line) -> Option<&'a str>,
) -> Vec<String> {
    let mut found = Vec::new();
    for file in FILES.iter().filter(|file| choose(file)) {
        for line in &file.lines {
            if let Some(what) = find(file, line) {
                found.push(place(file, line, what));
            }
        }
    }
    found
}

fn place(file: &SourceFile, line: &Line, what: &str) -> String {
    let text = file.text.lines().nth(line.number - 1).unwrap_or_default();
    format!("{}:{}: {what}: {}", file.path, line.number, text.trim())
}

fn any_of<'a>(words: &[&'a str], text: &str) -> Option<&'a str> {
    words.iter().copied().find(|word| mentions(text, word))
}

/// Does the line hold this SQL verb directly before the table `events`, with or without its schema?
fn sql(line: &Line, verb: &[&str]) -> bool {
    let text = line.with_strings.to_lowercase();
    let words: Vec<&str> = text.split(|c| !in_word(c) && c != '.').filter(|word| !word.is_empty()).collect();
    words.windows(verb.len() + 1).any(|window| {
        let (last, first) = window.split_last().expect("a window has a word");
        first == verb && (*last == "events" || last.ends_with(".events"))
    })
}

/// The SQL functions that insert into the log, by the migrations.
fn append_functions() -> Vec<String> {
    let mut names = Vec::new();
    for file in FILES.iter().filter(|file| file.is_in("migrations")) {
        let mut function = None;
        for line in &file.lines {
            let words: Vec<String> = line.code.split(|c| !in_word(c)).map(str::to_lowercase).collect();
            if let Some(at) =
                words.iter().position(|word| word == "function").filter(|_| words.contains(&"create".to_owned()))
            {
                function = words.get(at + 1).cloned();
            }
            if sql(line, &["insert", "into"]) {
                names.extend(function.clone());
            }
        }
    }
    names
}

fn source(path: &str) -> &'static SourceFile {
    FILES.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is not there"))
}

/// A crate that nobody has begun has nothing to break yet.
fn begun(root: &str) -> bool {
    source(root).lines.len() > 4
}
