//! The simulator over HTTP, with a receiver that plays Waybill.

mod carriers;
mod ledger;
mod payments;
mod support;
mod webhooks;
