//! Turns the log into read models and owns their shape: folds, the engine that runs them, rebuild, and the readers.
//!
//! One pass over a log serves all models, and a model can be made from several logs. A checkpoint lies with the data and moves with it, so nothing is applied twice. Everything
//! here can be dropped and built again from the first event, sending nothing and deciding nothing.

#![deny(clippy::wildcard_enum_match_arm)]

mod build;
mod cache;
mod catch_up;
mod certificate;
mod checkpoint_text;
mod config;
mod customer_orders;
mod engine;
mod failure;
mod follow;
mod handle;
mod index_folder;
mod index_generation;
mod index_writer;
mod lanes;
mod model;
mod names;
mod order_document;
mod order_index;
mod order_view;
mod order_words;
mod pass;
mod product_index;
mod product_view;
mod read;
mod rebuild;
mod redis_generation;
mod redis_scripts;
mod redis_store;
mod redis_views;
pub mod search;
mod status;
mod stock_view;
mod store;
#[cfg(test)]
mod tests;
mod views;
mod wait;

pub use certificate::{Certificate, Progress, RebuildOptions};
pub use config::Config;
pub use customer_orders::{CustomerOrders, OrderSummary};
pub use engine::{Followed, Parts, run};
pub use failure::ProjectionError;
pub use handle::{Construction, Gauge, Handle, LogGauge, PROJECTIONS, ProjectionState, ProjectionStatus};
pub use model::{Place, ReadModel, SearchModel};
pub use order_document::{
    Attention, Fulfilment, OrderDocument, OrderJson, OrderPayment, OrderShipment, OrderStatus, OrderTag, PaymentStatus,
    ShipmentStatus, TimelineEntry,
};
pub use order_index::OrderIndex;
pub use order_view::{OrderView, fold_order_events};
pub use product_index::ProductIndex;
pub use product_view::{ProductDocument, ProductView};
pub use read::{Cursor, Page, Read, ReadError};
pub use rebuild::{applied, drop_previous, rebuild, switch_back};
pub use search::{Indexes, SearchIndex};
pub use status::statuses;
pub use stock_view::{Stock, StockAt, StockDocument, StockView};
pub use views::{View, Views};
