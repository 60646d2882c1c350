//! The rules of a shipment.
