//! Data types that depend on no vendor, file or metric.
//!
//! Connections, listings and their differences, the state of a target, and poll errors belong here.

pub mod error;
pub mod listing;
pub mod state;
