//! Reads the files: CSV, gzipped or not, one or many or a folder of them. Anything unreadable is an error that names its line.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDateTime, Utc};
use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::documents::Documents;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} has no .csv or .csv.gz file", path.display())]
    EmptyFolder { path: PathBuf },
    #[error("{} is not the Online Retail data: it has no column {missing}", path.display())]
    OtherColumns { path: PathBuf, missing: &'static str },
    #[error("the files have no lines")]
    NoLines,
    #[error("{}, line {line}: {problem}", path.display())]
    BadLine { path: PathBuf, line: u64, problem: String },
}

/// Far beyond any shop's, and so small that a line's value is exact in 96 bits.
const PIECES_MAX: u64 = 1_000_000_000;
const POUNDS_MAX: u32 = 10_000_000;
const DECIMALS_MAX: u32 = 6;

/// A line as the file has it, its numbers read exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceLine {
    pub(super) document: String,
    pub(super) code: String,
    pub(super) description: String,
    pub(super) quantity: i64,
    pub(super) price: Decimal,
    pub(super) time: DateTime<Utc>,
    pub(super) customer: Option<String>,
    pub(super) country: String,
}

const COLUMNS: [&str; 8] =
    ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    invoice_no: String,
    stock_code: String,
    description: String,
    quantity: String,
    invoice_date: String,
    unit_price: String,
    #[serde(rename = "CustomerID")]
    customer_id: String,
    country: String,
}

/// Reads every file that the paths name, in the order of their names within a folder. A file that is named twice is read once.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Documents, SourceError> {
    let mut documents = Documents::default();
    for path in files(paths)? {
        read_file(&path, &mut documents)?;
    }
    if documents.all.is_empty() { Err(SourceError::NoLines) } else { Ok(documents) }
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |source| SourceError::Unreadable { path: path.clone(), source };
        if !path.metadata().map_err(unreadable)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in path.read_dir().map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            if name.ends_with(".csv") || name.ends_with(".csv.gz") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(SourceError::EmptyFolder { path: path.clone() });
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn read_file(path: &Path, documents: &mut Documents) -> Result<(), SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.into(), source };
    let mut text = Vec::new();
    let mut file = File::open(path).map_err(unreadable)?;
    // A month is at most some ten megabytes; the whole of it is hashed before a line is believed.
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        MultiGzDecoder::new(file).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        file.read_to_end(&mut text).map_err(unreadable)?;
    }
    let hash = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    if !documents.begin_file(hash) {
        return Ok(());
    }
    let bad = |line, problem: String| SourceError::BadLine { path: path.into(), line, problem };
    let at = |error: &csv::Error| error.position().map_or(0, csv::Position::line);
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let headers = reader.headers().map_err(|error| bad(1, error.to_string()))?.clone();
    if let Some(missing) = COLUMNS.iter().find(|column| !headers.iter().any(|header| header == **column)) {
        return Err(SourceError::OtherColumns { path: path.into(), missing });
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| bad(at(&error), error.to_string()))? {
        let line = record.position().map_or(0, csv::Position::line);
        let fields = record.deserialize(Some(&headers)).map_err(|error| bad(line, error.to_string()))?;
        let read = parse(fields).map_err(|problem| bad(line, problem))?;
        documents.add(read).map_err(|problem| bad(line, problem))?;
    }
    Ok(())
}

fn parse(record: Record) -> Result<SourceLine, String> {
    let Record { invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country } =
        record;
    let number = |name: &str, text: &str| format!("{name} {text:?} is no number");
    let time = NaiveDateTime::parse_from_str(&invoice_date, "%Y-%m-%d %H:%M:%S")
        .map_err(|_| format!("InvoiceDate {invoice_date:?} is not like 2010-12-01 08:26:00"))?;
    // The source writes it as a float: 17850.0.
    let customer = customer_id.trim().trim_end_matches(".0");
    if invoice_no.is_empty() || !invoice_no.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("InvoiceNo {invoice_no:?} is not made of letters and digits"));
    }
    if stock_code.trim().is_empty() {
        return Err("StockCode is empty".into());
    }
    if !customer.bytes().all(|byte| byte.is_ascii_alphanumeric()) || customer.len() > 64 {
        return Err(format!("CustomerID {customer:?} is not made of letters and digits"));
    }
    let pieces: i64 = quantity.parse().map_err(|_| number("Quantity", &quantity))?;
    if pieces.unsigned_abs() > PIECES_MAX {
        return Err(format!("Quantity {quantity:?} is beyond {PIECES_MAX}"));
    }
    let mut price = Decimal::from_str_exact(&unit_price).map_err(|_| number("UnitPrice", &unit_price))?;
    if price.scale() > DECIMALS_MAX {
        price = price.normalize();
    }
    if price.abs() > POUNDS_MAX.into() || price.scale() > DECIMALS_MAX {
        return Err(format!(
            "UnitPrice {unit_price:?} is beyond {POUNDS_MAX}, or has more than {DECIMALS_MAX} decimals"
        ));
    }
    Ok(SourceLine {
        document: invoice_no,
        code: stock_code.trim().into(),
        description: description.split_whitespace().collect::<Vec<_>>().join(" "),
        quantity: pieces,
        price,
        time: time.and_utc(),
        customer: (!customer.is_empty()).then(|| customer.into()),
        country: country.trim().into(),
    })
}
