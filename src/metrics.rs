//! Name, help text and labels of every metric, and the counters and gauges behind them.

mod account;
#[cfg(test)]
pub(crate) mod described;
mod exporter;
mod families;
mod usage;

pub use account::AccountMetrics;
pub use exporter::{ExporterMetrics, LastReload};
pub use families::{ALL, FamilyDescription, SampleSink, listing};
pub(crate) use families::{COUNTDOWN, FIRST_VOLATILE, countdown, freshness, history};
pub use usage::{Usage, WindowUsage};
