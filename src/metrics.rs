//! Name, help text and labels of every metric, and the counters and gauges behind them.

mod account;
#[cfg(test)]
pub(crate) mod described;
mod exporter;
mod families;
mod usage;

pub use account::AccountMetrics;
pub use exporter::{ExporterMetrics, LastReload};
pub use families::{ALL, FamilyDescription, listing};
pub(crate) use families::{COUNTDOWN, Sink, freshness, history, token_expires_in};
pub use usage::{Usage, WindowUsage};
