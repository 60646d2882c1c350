//! The rules of a product.
