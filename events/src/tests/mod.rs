//! Tests of the vocabulary as a whole.

mod catalogue;
mod page;
mod samples;
