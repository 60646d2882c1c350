//! The rules of a payment.
