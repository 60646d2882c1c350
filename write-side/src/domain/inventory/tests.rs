//! The rules of a inventory.
