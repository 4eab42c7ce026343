//! Loads what several commands need: the configuration, the web configuration, the listeners.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;

use super::daemon::Web;
use crate::blocking::files;
use crate::cli::{DEFAULT_CONFIG_FILE, DaemonFlags};
use crate::config::Config;
use crate::polling::reload::ReloadHandle;
use crate::polling::shard::Shard;
use crate::settings::ConfigErrors;
use crate::web::config::WebConfig;
use crate::web::{self, ServerLimits};

/// Loads the configuration, with this shard's accounts only.
pub(super) async fn load(file: PathBuf, shard: Shard) -> Result<Config, ConfigErrors> {
    let mut config = Config::load(&file, |name| std::env::var(name).ok()).await?;
    config.accounts.retain(|account| shard.owns(account));
    Ok(config)
}

/// Fails if the default configuration file is missing, as in a first try of the program.
pub(super) async fn some_configuration(flags: &DaemonFlags) -> anyhow::Result<()> {
    let file = &flags.config_file;
    if file.as_os_str() == DEFAULT_CONFIG_FILE && files::is_missing(file).await {
        bail!(
            "{DEFAULT_CONFIG_FILE}: there is no such file in this folder: name yours with \
                --config.file, or try `connections-exporter demo`, which needs none"
        );
    }
    Ok(())
}

pub(super) async fn load_web(flags: &DaemonFlags) -> Result<WebConfig, ConfigErrors> {
    match &flags.web_config_file {
        Some(file) => WebConfig::load(file).await,
        None => Ok(WebConfig::default()),
    }
}

/// Binds the listeners, and loads the web configuration.
pub(super) async fn web(flags: &DaemonFlags, reload: &ReloadHandle) -> anyhow::Result<Web> {
    let config = load_web(flags).await?;
    let listeners = if flags.web_systemd_socket {
        web::from_systemd()?
    } else {
        let mut listeners = Vec::new();
        for address in &flags.web_listen_address {
            listeners.push(web::bind(address).await?);
        }
        listeners
    };
    let limits = ServerLimits {
        requests: flags.web_max_requests.into(),
        ..ServerLimits::default()
    };
    Ok(Web {
        listeners,
        telemetry_path: flags.web_telemetry_path.clone(),
        reload: flags.web_enable_lifecycle.then(|| reload.clone()),
        config_file: None,
        shard: Shard::default(),
        limits,
        config: Arc::new(config),
    })
}
