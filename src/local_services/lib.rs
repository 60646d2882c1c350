//! Private Postgres, Redis and RabbitMQ for a checkout: no containers, nothing to set up.
//!
//! The first process starts them, later ones join, and they are gone soon after the last one, also after a kill -9:
//! a user is whoever holds a shared lock on `.waybill/users.lock`, and the kernel lets go of it for the dead.

mod account;
mod doctor;
mod error;
mod folders;
mod host;
mod http;
mod launch;
mod lock;
mod packages;
mod ports;
mod postgres;
mod private;
mod process;
mod rabbitmq;
mod redis;
mod reporter;
pub mod testing;
mod watchdog;

pub use doctor::{Finding, Inspection, inspect};
pub use error::Error;
pub use host::{LocalServices, Needs, Options, stop};
pub use packages::Service;
pub use postgres::Postgres;
pub use private::{PrivatePostgres, PrivateRabbitMq, PrivateRedis};
pub use rabbitmq::{RabbitMq, greets_as_rabbitmq};
pub use redis::Redis;
pub use reporter::{Reporter, Silent};

#[cfg(test)]
mod tests;
