//! The queries as a client meets them: a listening server over real stores, a database and an index folder per test.

mod audit;
mod degraded;
mod description;
mod shop;
mod support;
mod views;
