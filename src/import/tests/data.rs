//! Against the real data, where it is there: loudly skipped where it is not, and in CI that is a failure.

use std::path::{Path, PathBuf};

use rust_decimal::Decimal;

use crate::import::{Plan, read};

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/uci-online-retail");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "in CI the data must be there: {}", folder.display());
    eprintln!("SKIPPED: there is no {}", folder.display());
    None
}

#[test]
fn december_2010_is_accounted_for_to_the_penny() {
    let Some(folder) = folder() else { return };
    let documents = read(&[folder.join("2010-12.csv.gz")]).expect("the file is well-formed");
    let plan = Plan::of(&documents, "main");
    let accounts = &plan.accounts;
    println!("{}", accounts.to_table());
    assert_eq!((accounts.source.documents, accounts.source.lines), (2_025, 42_481));
    assert_eq!(accounts.source.value, Decimal::new(74_895_702, 2));
    assert_eq!(accounts.write_offs.lines, 70);
    assert_eq!(accounts.finds.lines, 70);
    assert_eq!(accounts.write_offs.lines + accounts.finds.lines + accounts.free_lines, 273, "every line at price 0");
    assert_eq!(accounts.remainders.values().map(|share| share.documents).sum::<usize>(), 326, "every cancellation");
    assert_eq!(accounts.orders.documents, 2_025 - 326 - 70 - 70);
    assert_eq!(plan.orders.len(), accounts.orders.documents);
    assert_eq!(accounts.rounding, Decimal::ZERO);
    assert_eq!((accounts.goods + accounts.services, accounts.respelt), (2_822, 1));
    assert!(accounts.unknown_countries.is_empty());
    assert!(accounts.balance());
}

#[test]
fn all_thirteen_months_are_accounted_for_to_the_penny() {
    let Some(folder) = folder() else { return };
    let plan = Plan::of(&read(&[folder]).expect("the files are well-formed"), "main");
    let accounts = &plan.accounts;
    println!("{}", accounts.to_table());
    assert_eq!((accounts.source.documents, accounts.source.lines), (25_900, 541_909));
    assert_eq!(accounts.source.value, Decimal::new(9_747_747_934, 3));
    assert_eq!(accounts.write_offs.lines, 1_336);
    assert_eq!(accounts.remainders["adjusts bad debt"].documents, 3);
    assert_eq!((accounts.split, accounts.orders.documents + 1), (1, plan.orders.len()));
    assert_eq!(accounts.rounding, Decimal::new(4, 3), "four prices of 0.001");
    assert!(accounts.unknown_countries.is_empty());
    assert!(accounts.balance());
}
