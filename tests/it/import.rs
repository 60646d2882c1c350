//! A real shop's month through the front door: every line of it is accounted for.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::shop::{PATIENCE, Shop};

/// December 2010 of the UCI "Online Retail" data. None, said aloud, where it was not brought along; in CI that is a failure.
#[expect(clippy::print_stderr, reason = "cargo shows it")]
fn december() -> Option<PathBuf> {
    let file = "../shared/data/uci-online-retail/2010-12.csv.gz";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(option_env!("CI") != Some("true"), "{file} is not there, and in CI nothing is skipped");
    eprintln!("SKIPPED: {file} is not there");
    None
}

#[tokio::test]
async fn every_line_of_december_2010_is_accounted_for_and_importing_it_again_places_nothing_twice() {
    let Some(path) = december() else { return };
    let path = path.to_str().expect("a plain path");
    let mut shop = Shop::plan().patient().prepare().await;
    let first = shop.command(&["import", "online-retail", path, "--json"]).await;
    assert_eq!(first.code(), Some(0), "{}\n{}", first.out, first.err);
    let accounts = first.json()["accounts"].clone();
    let cancellations = accounts["remainders"].as_object().into_iter().flatten();
    let cancellations: i64 = cancellations.map(|(_, share)| number(share, "documents")).sum();
    let (finds, write_offs) = (number(&accounts["finds"], "lines"), number(&accounts["write_offs"], "lines"));
    let at_price_0 = number(&accounts, "free_lines") + finds + write_offs;
    assert_eq!(
        (number(&accounts["source"], "documents"), cancellations, write_offs, at_price_0),
        (2_025, 326, 70, 273),
        "{accounts:#}"
    );
    assert_eq!(shop.count("OrderPlaced").await, number(&accounts["orders"], "documents"));
    let placed = number(&accounts, "split") + number(&accounts["orders"], "documents");
    assert_eq!(first.json()["ended"], json!({ "completed": placed }), "as the source asks");
    assert!(first.out.contains(&format!("orders: {placed} completed\n")), "{}", first.out);
    let head = shop.head().await;
    let again = shop.command(&["import", "online-retail", path, "--json"]).await;
    assert_eq!(again.code(), Some(0), "{}\n{}", again.out, again.err);
    assert_eq!(again.json()["accounts"], accounts);
    assert_eq!(shop.head().await, head, "nothing was recorded twice");
    shop.start_simulator("127.0.0.1:0").await;
    shop.settled(PATIENCE).await;
    shop.check().await;
}

fn number(accounts: &Value, name: &str) -> i64 {
    accounts[name].as_i64().unwrap_or_else(|| panic!("no {name} in {accounts:#}"))
}
