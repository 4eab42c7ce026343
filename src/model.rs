//! Data types that depend on no vendor, file or metric.
//!
//! Connections, listings and their differences, what was observed over many listings, the state of
//! a target, and poll errors belong here.

pub mod entity;
pub mod error;
pub mod history;
pub mod listing;
pub mod recent;
pub mod state;
