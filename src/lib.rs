//! Exporter of the connections that vendor APIs list.
//!
//! Each configured account has a source, which lists the connections of one target at a time. A
//! listing is rendered to fragments, and fragments are joined to the page that Prometheus scrapes.

pub mod blocking;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod exposition;
pub mod invalid;
pub mod inventory;
pub mod log;
pub mod metrics;
pub mod model;
pub mod polling;
pub(crate) mod sanitize;
pub mod settings;
pub mod shapes;
pub mod state_dir;
pub(crate) mod systemd;
pub mod vendors;
pub mod web;

#[cfg(test)]
#[path = "../tests/documents/mod.rs"]
mod documents;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
