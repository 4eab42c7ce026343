//! What is known of connections: listings, the differences between them, the state of a target, and why a poll failed.
//! Knows no vendor, no file and no metric.

pub mod error;
pub mod listing;
pub mod state;
