//! `--web.config.file`: TLS, users and headers of this server, reloaded when the files change.

mod client_auth;
mod files;
mod go_tls_names;
mod headers;
mod password;
mod settings;
mod signatures;
mod tls;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::Gauge;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::settings::ConfigErrors;
use files::Seen;
pub(crate) use password::{Checks, Verdict};
pub use settings::WebSettings;
pub(crate) use signatures::verify_signatures;
pub use tls::Tls;

/// Time between two comparisons of the files with what was read.
///
/// Shorter than the timeout of a health probe. A probe that arrives after a certificate was
/// replaced therefore waits until the new one is loaded.
const LOOK: Duration = Duration::from_secs(3);

/// Current web configuration. Without a file: no TLS, no users.
#[derive(Default)]
pub struct WebConfig {
    file: Option<PathBuf>,
    current: RwLock<Arc<WebSettings>>,
    /// Locked while files are read, so that concurrent reloads run one after another.
    last: Mutex<LastWebConfig>,
}

/// Result of the last read.
#[derive(Default)]
struct LastWebConfig {
    seen: Seen,
    problems: Option<ConfigErrors>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebConfig")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl WebConfig {
    /// Reads the file and the files that it names.
    pub async fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let (settings, seen) = WebSettings::read(file).await;
        Ok(Self {
            file: Some(file.to_owned()),
            current: RwLock::new(Arc::new(settings?)),
            last: Mutex::new(LastWebConfig {
                seen,
                problems: None,
            }),
        })
    }

    /// Returns the settings in force.
    #[must_use]
    pub fn current(&self) -> Arc<WebSettings> {
        self.current.read().clone()
    }

    /// Reads the file and the files that it names again.
    ///
    /// Sets `gauge` to 1, or to 0 on configuration errors. The earlier settings then stay in force.
    pub async fn reload(&self, gauge: &Gauge) -> Result<(), ConfigErrors> {
        let mut last = self.last.lock().await;
        self.apply(&mut last, gauge).await
    }

    async fn apply(&self, last: &mut LastWebConfig, gauge: &Gauge) -> Result<(), ConfigErrors> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let (settings, seen) = WebSettings::read(file).await;
        let changed = last.seen != seen;
        last.seen = seen;
        last.problems = settings.as_ref().err().cloned();
        gauge.set(f64::from(settings.is_ok()));
        let settings = settings?;
        if changed {
            let mut current = self.current.write();
            settings.users.remember(&current.users);
            current.retired.cancel();
            *current = Arc::new(settings);
            tracing::info!(file = %file.display(), "the web configuration was loaded");
        }
        Ok(())
    }

    /// Compares the files with the last read, and applies changes.
    ///
    /// Configuration errors are logged once, until the errors change or the files are corrected.
    async fn look(&self, gauge: &Gauge) {
        let mut last = self.last.lock().await;
        if last.seen.are_unchanged().await {
            return;
        }
        let known = last.problems.take();
        if let Err(problems) = self.apply(&mut last, gauge).await
            && known.as_ref() != Some(&problems)
        {
            for problem in problems.to_string().lines() {
                tracing::error!(
                    problem,
                    "the web configuration was not loaded: the previous one stays in use"
                );
            }
        }
    }

    /// Applies changes of the files, for as long as the future is polled.
    pub async fn watch(self: Arc<Self>, gauge: Gauge) {
        while self.file.is_some() {
            sleep(LOOK).await;
            self.look(&gauge).await;
        }
    }
}
