//! The whole system from outside: the real binary against real servers, and the rules that the source tree keeps.

mod bad_input;
mod broker;
mod compensation;
mod crash;
mod demo;
mod import;
mod log_commands;
mod openapi;
mod outside_writer;
mod place_order;
mod read_models;
mod services_missing;
mod support;
mod tidy;
mod two_logs;
