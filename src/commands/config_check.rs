//! `--config.check`: reports every configuration error, and the request plan.

use super::load::{load, load_web, some_configuration};
use super::say;
use crate::cli::DaemonFlags;
use crate::polling::request_estimate::RequestEstimate;
use crate::polling::shard::Shard;
use crate::polling::supervisor::Supervisor;

/// Loads both configurations, and prints the request plan. Fails with the errors of both.
pub(super) async fn config_check(flags: &DaemonFlags, shard: Shard) -> anyhow::Result<()> {
    some_configuration(flags).await?;
    let config = load(flags.config_file.clone(), shard);
    let (config, web) = tokio::join!(config, load_web(flags));
    // The daemon starts without a secret that cannot be read yet. For a check, that is an error.
    let config = config.and_then(|config| {
        if config.hanging.is_empty() {
            Ok(config)
        } else {
            Err(config.hanging)
        }
    });
    let (config, _) = match (config, web) {
        (Err(one), Err(other)) => return Err(one.and(other).into()),
        (config, web) => (config?, web?),
    };
    Supervisor::check(&config).await?;
    let plans = config
        .accounts
        .iter()
        .map(|account| RequestEstimate::of(account).to_string());
    let files = std::iter::once(&flags.config_file).chain(&flags.web_config_file);
    let files = files.map(|file| format!("{}: no problems\n", file.display()));
    say(&plans.chain(files).collect::<String>())
}
