//! The rules of the table, and the whole saga against real servers.

mod faults;
mod play;
mod properties;
mod provider;
mod table;
mod whole;
mod world;
