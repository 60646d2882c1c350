//! Tests of the vocabulary as a whole.

mod catalogue;
mod samples;
mod page;
