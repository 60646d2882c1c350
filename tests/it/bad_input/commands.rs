//! The command line, the configuration, and a machine where something is missing.

use std::{fs, net::TcpListener, time::Instant};

use serde_json::Value;

use super::is_calm;
use crate::support::{
    program::{Ended, Program, run},
    shop::{PATIENCE, Shop},
};

/// Nobody listens on port 1.
const NO_POSTGRES: &[(&str, &str)] = &[
    ("WAYBILL__DATABASE__URL", "postgres://nobody@127.0.0.1:1/none"),
    ("WAYBILL__DATABASE__OWNER_URL", "postgres://nobody@127.0.0.1:1/none"),
    ("WAYBILL__DATABASE__ADMIN_URL", "postgres://nobody@127.0.0.1:1/none"),
];

/// It ended with this status, and said why in a few words that name the culprit.
#[track_caller]
fn refuses(what: &str, ended: &Ended, code: i32, named: &str) {
    assert_eq!(ended.code(), Some(code), "{what}: {ended:#?}");
    assert!(ended.err.contains(named), "{what} does not name {named:?}: {}", ended.err);
    // Less what it logged before.
    let said: String = ended.err.lines().filter(|line| !line.starts_with('{')).collect();
    assert!(said.len() < 1_500, "{what} says too much: {said}");
    is_calm(what, &said);
    is_calm(what, &ended.out);
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_ends_with_2_and_says_which_part() {
    let shop = Shop::plan().prepare().await;
    let cases: &[(&[&str], &str)] = &[
        (&["fly"], "fly"),
        (&["run", "--roles", "pilot"], "pilot"),
        (&["run", "--surprise"], "--surprise"),
        (&["simulate", "--listen", "everywhere"], "everywhere"),
        (&["rebuild"], "NAME"),
        (&["rebuild", "everything"], "everything"),
        (&["rebuild", "order-view", "--switch-back", "--from-scratch"], "--switch-back"),
        (&["check", "--from", "the-beginning"], "the-beginning"),
        (&["check", "--to", "-5"], "-5"),
        (&["audit", "replay", "--from", "yesterday"], "yesterday"),
        (&["audit", "replay", "--format", "xml"], "xml"),
        (&["import"], "Usage"),
        (&["import", "online-retail"], "PATHS"),
        (&["demo", "--orders", "0"], "0"),
        (&["demo", "--orders", "many"], "many"),
        (&["demo", "--orders", "5", "--resume"], "--resume"),
        (&["dead-letters", "replay", "17"], "17"),
        (&["dead-letters", "list", "--limit", "-1"], "-1"),
    ];
    for (arguments, named) in cases {
        let ended = shop.command(arguments).await;
        refuses(&format!("{arguments:?}"), &ended, 2, named);
        assert!(ended.out.is_empty(), "{arguments:?}: {}", ended.out);
    }
    let nothing = shop.command(&[]).await;
    assert!(nothing.code() == Some(2) && nothing.err.contains("Usage"), "{nothing:?}");
}

#[tokio::test]
async fn what_a_subcommand_cannot_do_ends_with_1_and_says_why() {
    let shop = Shop::plan().prepare().await;
    let folder = shop.folder().to_path_buf();
    fs::write(folder.join("garbage.csv"), b"\x00\xff not, a \"csv").expect("it can be written");
    fs::write(folder.join("garbage.csv.gz"), b"not gzip at all").expect("it can be written");
    fs::write(folder.join("empty.csv"), b"").expect("it can be written");
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    fs::write(
        folder.join("bad.csv"),
        format!("{header}536365,85123A,X,six,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"),
    )
    .expect("it can be written");
    let nowhere = "0192f0c1-0000-7000-8000-000000000001";
    let cases: &[(&[&str], &str)] = &[
        (&["--config", "none.toml", "doctor"], "none.toml"),
        (&["import", "online-retail", "none.csv"], "none.csv"),
        (&["import", "online-retail", "garbage.csv"], "garbage.csv"),
        (&["import", "online-retail", "garbage.csv.gz"], "garbage.csv.gz"),
        (&["import", "online-retail", "empty.csv"], "empty.csv"),
        (&["import", "online-retail", "bad.csv"], "bad.csv"),
        (&["check", "--from", "other:1"], "other"),
        (&["check", "--ledger", "http://127.0.0.1:1"], "http://127.0.0.1:1"),
        (&["check", "--ledger", "not a url"], "not a url"),
        (&["audit", "replay", "--from", "other:1"], "other"),
        (&["audit", "replay", "--from", "main:7"], "ends at main:0"),
        (&["audit", "replay", "--out", "garbage.csv"], "garbage.csv is there already"),
        (&["audit", "replay", "--from", "0", "--out", "garbage.csv"], "in the middle of a line"),
        (&["audit", "replay", "--out", "/proc/none/log.ndjson"], "/proc/none/log.ndjson"),
        (&["dead-letters", "replay", nowhere], nowhere),
        (&["openapi", "--check", "none.json"], "none.json"),
        (&["simulate", "--waybill", "nowhere"], "nowhere"),
    ];
    for (arguments, named) in cases {
        let ended = shop.command(arguments).await;
        refuses(&format!("{arguments:?}"), &ended, 1, named);
    }
    assert_eq!(shop.head().await, 0, "nothing was recorded");
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_by_name() {
    let shop = Shop::plan().prepare().await;
    let cases = [
        ("[http", "waybill.toml"),
        ("\u{0}", "waybill.toml"),
        ("[http]\nlisten_on = '0.0.0.0:80'", "listen_on"),
        ("[http]\nlisten = 'everywhere'", "listen"),
        ("[surprise]\nx = 1", "surprise"),
        ("[sagas.times]\npoll_ms = 'soon'", "poll_ms"),
        ("[sagas.times]\npoll_ms = -5", "poll_ms"),
        ("[log]\nid = 'a b'", "id"),
        ("[shop]\nlocation = 'a b'", "location"),
    ];
    for (toml, named) in cases {
        fs::write(shop.folder().join("waybill.toml"), toml).expect("it can be written");
        // What the environment says would win.
        let name = "WAYBILL__SAGAS__TIMES__POLL_MS";
        let mut environment = shop.environment().clone();
        environment.remove(name);
        environment.remove("WAYBILL__HTTP__LISTEN");
        let ended = run(shop.folder(), &["run"], &environment, PATIENCE).await;
        refuses(toml, &ended, 1, named);
    }
    fs::remove_file(shop.folder().join("waybill.toml")).expect("it was written");
    let misspelt = shop.command_with(&["doctor"], &[("WAYBILL__HTTP__LISTEN_ON", "127.0.0.1:0")]).await;
    refuses("a misspelt variable", &misspelt, 1, "listen_on");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let shop = Shop::plan().prepare().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let ended = shop.command_with(&["run"], &[("WAYBILL__HTTP__LISTEN", &address)]).await;
    refuses("run on a port in use", &ended, 1, &address);
    assert!(ended.err.contains("WAYBILL__HTTP__LISTEN"), "{}", ended.err);
    let ended = shop.command(&["simulate", "--listen", &address]).await;
    refuses("simulate on a port in use", &ended, 1, &address);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_soon_and_in_words() {
    let shop = Shop::plan().prepare().await;
    for arguments in [
        &["run"][..],
        &["check"],
        &["migrate"],
        &["rebuild", "order-view"],
        &["audit", "replay"],
        &["dead-letters", "list"],
    ] {
        let asked = Instant::now();
        let ended = shop.command_with(arguments, NO_POSTGRES).await;
        refuses(&format!("{arguments:?} without Postgres"), &ended, 1, "cannot");
        assert!(asked.elapsed().as_secs() < 20, "{arguments:?}: {:?}", asked.elapsed());
    }
    for (variable, named) in [
        (NO_POSTGRES[0], "the configured database: cannot connect"),
        (NO_POSTGRES[1], "the configured owner's database: cannot connect"),
        (("WAYBILL__REDIS__URL", "redis://127.0.0.1:1"), "the configured Redis: cannot connect"),
        (("WAYBILL__RABBITMQ__URL", "amqp://127.0.0.1:1"), "the configured RabbitMQ: nobody at 127.0.0.1:1"),
    ] {
        let ended = shop.command_with(&["doctor"], &[variable]).await;
        assert_eq!(ended.code(), Some(3), "{ended:#?}");
        assert!(ended.out.contains(named), "{}", ended.out);
    }
    let well = shop.command(&["doctor", "--json"]).await;
    assert_eq!((well.code(), &well.json()["servers"]), (Some(0), &Value::Null), "{well:#?}");
    for says in [r#""fsync":"on""#, r#""maxmemory-policy":"noeviction""#, r#""migrations pending":"0""#] {
        assert!(well.out.contains(says), "no {says} in {}", well.out);
    }
    for (name, url) in [
        ("WAYBILL__DATABASE__URL", "not a url"),
        ("WAYBILL__REDIS__URL", "not a url"),
        ("WAYBILL__RABBITMQ__URL", "not a url"),
        ("WAYBILL__SAGAS__PROVIDERS__PAYMENT_URL", "not a url"),
    ] {
        let ended = shop.command_with(&["run"], &[(name, url)]).await;
        refuses(&format!("run with {name}={url}"), &ended, 1, "URL");
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_stops_the_simulator_and_is_named() {
    let shop = Shop::plan().prepare().await;
    let ledgers = shop.folder().join("files/simulator");
    fs::create_dir_all(&ledgers).expect("it can be made");
    fs::write(ledgers.join("payments.ndjson"), "this is no ledger\n{}\n").expect("it can be written");
    let ended = shop.command(&["simulate", "--listen", "127.0.0.1:0"]).await;
    refuses("a corrupt ledger", &ended, 1, "payments.ndjson");
}

#[tokio::test]
async fn a_ledger_that_another_process_holds_is_told_with_what_to_do() {
    let shop = Shop::plan().prepare().await;
    let mut simulator =
        Program::start(shop.folder(), &["simulate", "--listen", "127.0.0.1:0", "--json"], shop.environment());
    let line = simulator.says("url", PATIENCE).await;
    let answers: Value = serde_json::from_str(&line).expect("one JSON object");
    assert!(answers["url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{line}");
    let ended = shop.command(&["demo"]).await;
    refuses("demo beside a simulator", &ended, 1, "another process holds the ledger");
    assert!(ended.err.contains("stop that `waybill up`"), "{}", ended.err);
}

#[tokio::test]
async fn whatever_only_looks_migrates_nothing_and_starts_nothing() {
    let shop = Shop::plan().private_postgres().prepare().await;
    let mut environment = shop.environment().clone();
    for unnamed in ["WAYBILL__REDIS__URL", "WAYBILL__RABBITMQ__URL"] {
        environment.remove(unnamed);
    }
    let looks = [&["audit", "replay"][..], &["log", "stats"], &["dead-letters", "list"]];
    for arguments in looks.iter().chain(&looks) {
        let ended = run(shop.folder(), arguments, &environment, PATIENCE).await;
        refuses(&format!("{arguments:?} without a schema"), &ended, 1, "run `waybill migrate`");
    }
    refuses("check without a schema", &shop.command(&["check"]).await, 1, "run `waybill migrate`");
    let doctor = shop.command(&["doctor"]).await;
    assert!(doctor.code() == Some(3) && doctor.out.contains("run `waybill migrate`"), "{doctor:#?}");
    for arguments in [&["migrate"][..]].iter().chain(&looks) {
        let ended = run(shop.folder(), arguments, &environment, PATIENCE).await;
        assert_eq!(ended.code(), Some(0), "{arguments:?}: {ended:#?}");
    }
    assert!(!shop.folder().join(".waybill").exists(), "Redis or RabbitMQ was started");
}
