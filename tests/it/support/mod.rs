//! What the tests of this binary share.

pub(crate) mod source_tree;
