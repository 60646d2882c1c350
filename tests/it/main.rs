//! The whole system from outside: the real binary against real servers, and the rules that the source tree keeps.

mod support;
mod tidy;
