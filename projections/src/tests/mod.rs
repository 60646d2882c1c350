//! Folds pinned by snapshots, and the engine against a real Postgres, Redis and Tantivy.

mod folds;
mod following;
mod life;
mod rebuilding;
mod redis_faults;
mod searching;
mod shop;
mod stores;
mod two_logs;
