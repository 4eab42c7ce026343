//! Every metric's name, help and labels.

mod account;
#[cfg(test)]
pub(crate) mod described;
mod exporter;
mod families;
mod usage;

pub use account::AccountMetrics;
pub use exporter::{ExporterMetrics, LastReload};
pub use families::{ALL, COUNTDOWN, FamilyDescription, Sink, freshness, listing, token_expires_in};
pub use usage::{Usage, WindowUsage};
