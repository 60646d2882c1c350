//! The plan for small files and for the real December 2010: every line has exactly one place, and the totals agree.

mod data;
mod doors;

use std::{fs, path::PathBuf};

use rust_decimal::Decimal;

use super::{Plan, accounts::Share, codes, documents::Documents, plan::pence, read, source::SourceError};

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// The plan for these lines; they begin with the document's number and lack only what is always the same.
fn plan(lines: &[&str]) -> Plan {
    let (_folder, path) = file(lines);
    Plan::of(&read(&[path]).expect("the lines are well-formed"), "main")
}

fn file(lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("lines.csv");
    fs::write(&path, format!("{HEADER}{}\n", lines.join("\n"))).expect("it can be written");
    (folder, path)
}

fn refusal(lines: &[&str]) -> SourceError {
    let (_folder, path) = file(lines);
    read(&[path]).expect_err("the lines are not well-formed")
}

fn remainder<'a>(plan: &'a Plan, reason: &str) -> &'a Share {
    plan.accounts.remainders.get(reason).unwrap_or_else(|| panic!("no {reason:?} in {:?}", plan.accounts.remainders))
}

const BOUGHT: &str = "1,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom";

#[test]
fn a_document_becomes_an_order_with_agreed_prices_and_its_own_time() {
    let plan = plan(&[BOUGHT, "1,POST,POSTAGE,1,2010-12-01 08:26:00,18.0,17850.0,United Kingdom"]);
    let [order] = &plan.orders[..] else { panic!("not one order: {:?}", plan.orders) };
    assert_eq!(order.key, "uci:1");
    assert_eq!(order.gross_minor, 6 * 255 + 1800);
    let body = serde_json::to_value(&order.body).expect("it is JSON");
    assert_eq!(body["customer_id"], "17850");
    assert_eq!(body["business_time"], "2010-12-01T08:26:00Z");
    assert_eq!(body["lines"][0]["agreed"]["total"]["amount_minor"], 1530);
    assert_eq!(body["delivery"]["country"], "GB");
    assert_eq!(body["reference"], "1");
    // Postage lies on no shelf.
    let [receipt] = &plan.receipts[..] else { panic!("not one receipt: {:?}", plan.receipts) };
    assert_eq!(receipt.body.lines.len(), 1);
    assert_eq!(receipt.body.lines[0].quantity, 16);
    let kinds: Vec<_> = plan.products.iter().map(|product| (product.body.sku.as_str(), product.body.kind)).collect();
    assert_eq!(kinds, [("85123A", codes::Kind::Goods), ("POST", codes::Kind::Service)]);
    assert!(plan.accounts.balance());
}

#[test]
fn a_line_is_rounded_on_its_total_half_to_even_and_the_difference_is_shown() {
    let priced = |price: &str, quantity: i64| format!("1,A,THING,{quantity},2010-12-01 08:26:00,{price},,France");
    let plan = plan(&[&priced("0.125", 1), &priced("0.135", 1), &priced("0.001", 7), &priced("0.333", 3)]);
    assert_eq!(plan.accounts.gross_minor, 12 + 14 + 1 + 100);
    assert_eq!(plan.accounts.rounding, Decimal::new(1266, 3) - Decimal::new(127, 2));
    assert!(plan.accounts.balance());
    assert_eq!(pence(Decimal::new(-125, 3)), Some(-12));
}

#[test]
fn price_0_is_a_free_line_a_find_or_a_write_off_by_its_document() {
    let at = "2010-12-01 08:26:00";
    let plan = plan(&[
        &format!("1,A,THING,1,{at},2.0,,France"),
        &format!("1,X,OTHER,2,{at},0.0,,France"),
        &format!("2,X,OTHER,3,{at},0.0,12583.0,France"),
        &format!("3,X,found,4,{at},0.0,,France"),
        &format!("4,X,damaged,-5,{at},0.0,,France"),
        &format!("5,POST,,6,{at},0.0,,France"),
    ]);
    assert_eq!(plan.orders.len(), 2);
    assert_eq!(plan.accounts.free_lines, 2);
    let deltas: Vec<_> =
        plan.adjustments.iter().map(|planned| (planned.body.delta, planned.body.reason.as_str())).collect();
    assert_eq!(deltas, [(4, "found (3)"), (-5, "damaged (4)")]);
    assert_eq!(remainder(&plan, "service without a price: moves neither stock nor money").documents, 1);
    let received = plan.receipts[0].body.lines.iter().find(|line| line.sku == "X").expect("X is received");
    assert_eq!(received.quantity, 2 + 3 + 5 + 10, "enough for what is sold and written off");
    let name = plan.products.iter().find(|product| product.body.sku == "X").map(|product| product.body.name.as_str());
    assert_eq!(name, Some("OTHER"), "a remark without a price is no name, but the most frequent");
    assert!(plan.accounts.balance());
}

#[test]
fn each_cancellation_has_one_reason() {
    let at = "2010-12-02 08:26:00";
    let returned = |number: &str, code: &str, quantity: i64, customer: &str| {
        format!("{number},{code},HOLDER,{quantity},{at},2.55,{customer},United Kingdom")
    };
    let plan = plan(&[
        BOUGHT,
        &BOUGHT.replacen('1', "2", 1),
        &returned("C3", "85123A", -6, "17850.0"),
        &returned("C4", "85123A", -2, "17850.0"),
        &returned("C5", "85123A", -5, "17850.0"),
        &returned("C6", "OTHER", -1, "17850.0"),
        &returned("C7", "85123A", -1, ""),
        &returned("C8", "D", -1, "17850.0"),
        &returned("A9", "B", 1, ""),
    ]);
    for reason in [
        "cancels a whole earlier order",
        "returns part of earlier orders",
        "returns more than was bought in these files",
        "returns something not bought in these files",
        "returns or credits without a customer",
        "discount, manual, postage or fee credit",
        "adjusts bad debt",
    ] {
        assert_eq!(remainder(&plan, reason).documents, 1, "{reason}");
    }
    assert_eq!(remainder(&plan, "cancels a whole earlier order").value, Decimal::new(-1530, 2));
    assert!(plan.accounts.balance());
}

#[test]
fn a_document_longer_than_an_order_may_be_becomes_several_orders() {
    let lines: Vec<_> = (0..1_114).map(|n| format!("1,C{n},THING,1,2010-12-01 08:26:00,1.0,,EIRE")).collect();
    let plan = plan(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let keys: Vec<_> = plan.orders.iter().map(|order| (order.key.as_str(), order.body.lines.len())).collect();
    assert_eq!(keys, [("uci:1", 1_000), ("uci:1:2", 114)]);
    assert_eq!((plan.accounts.split, plan.accounts.orders.documents), (1, 1));
    assert!(plan.accounts.balance());
}

#[test]
fn a_code_is_respelt_in_the_letters_of_a_sku() {
    assert_eq!(codes::sku("BANK CHARGES"), "BANK-CHARGES");
    assert_eq!(codes::kind("gift_0001_40"), codes::Kind::Service);
    assert_eq!(codes::kind("PADS"), codes::Kind::Goods);
}

#[test]
fn the_same_file_has_the_same_keys_and_a_file_given_twice_is_read_once() {
    let (_folder, path) = file(&[BOUGHT]);
    let keys = |paths: &[PathBuf]| {
        let plan = Plan::of(&read(paths).expect("it is read"), "main");
        let products = plan.products.iter().map(|product| product.key.clone());
        products.chain(plan.receipts.iter().map(|receipt| receipt.key.clone())).collect::<Vec<_>>()
    };
    assert_eq!(keys(std::slice::from_ref(&path)), keys(&[path.clone(), path]));
}

#[test]
fn a_file_that_cannot_be_read_says_where() {
    assert!(
        refusal(&["1,A,T,six,2010-12-01 08:26:00,2.55,,France"])
            .to_string()
            .ends_with("line 2: Quantity \"six\" is no number")
    );
    let error = refusal(&[BOUGHT, "1,A,T,6,1 Dec,2.55,,France"]).to_string();
    assert!(error.contains("line 3: InvoiceDate \"1 Dec\""), "{error}");
    let error = read(&["/nowhere".into()]).expect_err("there is no such file").to_string();
    assert_eq!(error, "cannot read /nowhere");
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let other = folder.path().join("other");
    fs::write(&other, "a,b\n1,2\n").expect("it can be written");
    let error = read(std::slice::from_ref(&other)).expect_err("other columns").to_string();
    assert!(error.ends_with("is not the Online Retail data: it has no column InvoiceNo"), "{error}");
    fs::write(&other, HEADER).expect("it can be written");
    assert!(matches!(read(&[other]), Err(SourceError::NoLines)));
    assert!(matches!(read(&[folder.path().into()]), Err(SourceError::EmptyFolder { .. })));
}

#[test]
fn numbers_beyond_all_bounds_are_refused_by_line() {
    let at = "2010-12-01 08:26:00";
    let most = "79228162514264337593543950335";
    for (quantity, price, named) in [
        ("1000000001", "1.0", "Quantity"),
        ("-9223372036854775808", "1.0", "Quantity"),
        ("1", "10000000.01", "UnitPrice"),
        ("1", "-10000001", "UnitPrice"),
        ("9", most, "UnitPrice"),
        ("1", "0.0000001", "UnitPrice"),
    ] {
        let error = refusal(&[BOUGHT, &format!("2,A,T,{quantity},{at},{price},,France")]).to_string();
        assert!(error.contains(&format!("line 3: {named}")), "{quantity} at {price}: {error}");
    }
    let huge = format!("2,A,T,100000000,{at},10000000,,France");
    let error = refusal(&[&huge, &huge]).to_string();
    assert!(error.contains("line 3: the lines up to here come to more than 1000000000000000 together"), "{error}");
    let plan = plan(&[&format!("2,A,T,100000000,{at},9999999.000000000,,France")]);
    assert!(plan.accounts.balance() && plan.orders.is_empty(), "{:?}", plan.accounts);
}

#[test]
fn what_a_document_or_a_sku_cannot_keep_is_counted() {
    let plan = plan(&[
        BOUGHT,
        "1,85123A,HOLDER,6,2010-12-01 08:27:00,2.55,17850.0,United Kingdom",
        "1,85123A,HOLDER,6,2010-12-01 08:27:00,2.55,17851.0,France",
        "1,BANK CHARGES,Charges,1,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "1,BANK-CHARGES,Charges,1,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "1,BANK-CHARGES,Charges,1,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
    ]);
    let departures: Vec<_> = plan.accounts.departures.iter().map(|(what, count)| (*what, *count)).collect();
    assert_eq!(
        departures,
        [
            ("lines with another country than their document's first", 1),
            ("lines with another customer than their document's first", 1),
            ("lines with another time than their document's first", 2),
            ("stock codes that became the SKU of another code", 1),
        ]
    );
    assert!(plan.accounts.to_table().contains("not kept: 2 lines with another time"), "{}", plan.accounts.to_table());
    assert!(plan.accounts.balance());
}

#[test]
fn a_document_in_two_files_is_refused() {
    let (_one, first) = file(&[BOUGHT]);
    let (_two, second) = file(&[&BOUGHT.replace("85123A", "B")]);
    let error = read(&[first, second]).map(|_: Documents| ()).expect_err("two halves, or twice the same");
    let error = error.to_string();
    assert!(error.ends_with("line 2: document 1 is in more than one file: give each line once"), "{error}");
}
