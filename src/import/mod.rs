//! `waybill import online-retail`: brings the UCI "Online Retail" data into a running Waybill, through its front door.
//!
//! Every line of the files ends up in an order, in a stock adjustment, or in a remainder that is named, counted and valued; the parts
//! add up to the files' own sum. Keys come from the documents, so repeating an import places nothing twice.
//!
//! The rules, by document (`InvoiceNo`):
//! - `C...` is a cancellation or return, `A...` a correction of bad debt: not representable yet, listed by reason.
//! - A negative quantity elsewhere is a write-off: a stock adjustment with the description as its reason.
//! - A document with a customer or with a price is an order at the agreed prices; its lines at price 0 are free lines.
//! - What is left has neither: pieces found, a stock adjustment upwards. A service without a price moves nothing and is listed.
//! - The price of a line is rounded half to even to pence on its total, never on the unit price; the difference is shown.
//! - `InvoiceDate` is taken as UTC; a document's time is that of its first line.

mod accounts;
mod catalogue;
mod codes;
mod documents;
mod plan;
mod returns;
mod send;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use plan::Plan;
pub(crate) use send::{Options, Sent, send};
pub(crate) use source::read;
