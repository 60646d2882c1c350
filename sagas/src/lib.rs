//! Coordinates streams over time: the saga engine, one file a saga, the relay that alone publishes, and the participants that
//! carry commands out.
#![deny(clippy::wildcard_enum_match_arm)]

mod bus;
mod config;
pub mod dead_letters;
pub mod decide;
mod error;
pub mod fact;
mod health;
mod lease;
pub mod order_fulfilment;
pub mod participants;
pub mod providers;
mod recent;
pub mod relay;
pub mod runner;
pub mod saga;
pub mod state;

#[cfg(test)]
mod tests;

pub use config::{BrokerConfig, Config, ProviderConfig, RunnerConfig, SagaTimes};
pub use error::Error;
pub use health::{Health, Reading};
