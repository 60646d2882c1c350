//! What the tests of this binary share.

pub(crate) mod client;
pub(crate) mod eventually;
pub(crate) mod flow;
pub(crate) mod program;
pub(crate) mod servers;
pub(crate) mod shop;
pub(crate) mod source_tree;
