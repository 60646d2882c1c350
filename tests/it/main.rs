//! The whole system from outside: the real binary against real servers, and the rules that the source tree keeps.

mod compensation;
mod crash;
mod place_order;
mod support;
mod tidy;
