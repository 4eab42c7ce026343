//! Destination and format of log lines.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::blocking::output::LogWriter;

/// Starts logging from this level on, as JSON or as logfmt.
///
/// Only events of this program are logged. Messages of its libraries could contain HTTP headers.
pub fn start(level: LevelFilter, json: bool) {
    let ours = ["connections_exporter", "connections_simulator"];
    let ours = Targets::new().with_targets(ours.map(|target| (target, level)));
    let registry = tracing_subscriber::registry().with(ours);
    if json {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false);
        registry.with(layer.with_writer(LogWriter)).init();
    } else {
        let layer = tracing_logfmt::builder()
            .with_target(false)
            .with_span_name(false)
            .with_span_path(false)
            .layer();
        registry.with(layer.with_writer(LogWriter)).init();
    }
}
