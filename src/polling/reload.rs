//! Reload of the configuration on request: it is applied whole or not at all.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::polling::request_estimate::RequestEstimate;
use crate::polling::supervisor::{ReloadSummary, Supervisor};
use crate::settings::ConfigErrors;

/// Number of requests that may wait for the next reload.
const WAITING: usize = 16;

/// Function that reads the configuration.
type LoadConfig = Box<dyn Fn() -> BoxFuture<'static, Result<Config, ConfigErrors>> + Send + Sync>;

/// Result of a reload.
///
/// Each of the two files is applied whole or not at all, and an error in one does not affect the
/// other.
#[derive(Debug, Clone)]
pub struct ReloadOutcome {
    /// What changed, or why nothing changed.
    pub configuration: Result<ReloadSummary, ReloadError>,
    /// Why the web configuration was not applied.
    pub web: Result<(), ConfigErrors>,
}

/// Why a configuration was not applied. Its text has one line for each problem.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReloadError {
    /// The files that it names, or the file itself, cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The HTTP clients of the accounts cannot be made.
    #[error("{0:#}")]
    Clients(Arc<anyhow::Error>),
}

impl ReloadOutcome {
    /// Returns whether both files were applied.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        self.configuration.is_ok() && self.web.is_ok()
    }

    fn log(&self) {
        match &self.configuration {
            Ok(difference) => tracing::info!(%difference, "configuration reloaded"),
            Err(problems) => {
                for problem in problems.to_string().lines() {
                    tracing::error!(
                        problem,
                        "the configuration was not loaded: the previous one stays in use"
                    );
                }
            }
        }
        let web = self.web.as_ref().err().map(ToString::to_string);
        for problem in web.iter().flat_map(|text| text.lines()) {
            tracing::error!(
                problem,
                "the web configuration was not loaded: the previous one stays in use"
            );
        }
    }
}

impl fmt::Display for ReloadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.configuration {
            Ok(difference) => writeln!(f, "The configuration was loaded. {difference}.")?,
            Err(problems) => writeln!(
                f,
                "The configuration was not loaded: the previous one stays in use.\n{problems}"
            )?,
        }
        match &self.web {
            Ok(()) => Ok(()),
            Err(problems) => writeln!(
                f,
                "The web configuration was not loaded: the previous one stays in use.\n{problems}"
            ),
        }
    }
}

/// Initial configuration of a daemon, and the function that reads it again.
pub struct Configuration {
    config: Config,
    load: LoadConfig,
    requests: ReloadRequests,
}

/// Requests for a reload, which wait for its result.
type ReloadRequests = mpsc::Receiver<oneshot::Sender<ReloadOutcome>>;

/// Function that reads the web configuration again. An invalid one changes nothing.
pub(crate) type ReloadWebConfig =
    Box<dyn Fn() -> BoxFuture<'static, Result<(), ConfigErrors>> + Send + Sync>;

/// Handle that requests a reload.
#[derive(Debug, Clone)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<ReloadOutcome>>);

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configuration")
    }
}

impl Configuration {
    /// Reads the configuration for the first time.
    pub async fn load<F>(
        load: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result<(Self, ReloadHandle), ConfigErrors>
    where
        F: Future<Output = Result<Config, ConfigErrors>> + Send + 'static,
    {
        let config = load().await?;
        let (reload, requests) = mpsc::channel(WAITING);
        let configuration = Self {
            config,
            load: Box::new(move || Box::pin(load())),
            requests,
        };
        Ok((configuration, ReloadHandle(reload)))
    }

    /// Returns the number of accounts.
    pub(crate) fn accounts(&self) -> usize {
        self.config.accounts.len()
    }

    /// Serves reload requests until `opened` is done. The configuration that was read last begins.
    pub(crate) async fn until<T>(
        &mut self,
        opened: impl Future<Output = T>,
        web_config: &ReloadWebConfig,
        inventory: &Inventory,
        clock: &Clock,
    ) -> T {
        let mut opened = pin!(opened);
        loop {
            let asked = tokio::select! {
                biased;
                opened = &mut opened => return opened,
                Some(asked) = next(&mut self.requests) => asked,
            };
            let (config, web) = tokio::join!((self.load)(), web_config());
            let configuration = config.map_err(ReloadError::from).map(|config| {
                let before = std::mem::replace(&mut self.config, config);
                inventory.opening(self.accounts());
                ReloadSummary::between(&before, &self.config)
            });
            let applied = configuration.is_ok().then(|| clock.now());
            inventory.exporter_metrics().reloaded(applied);
            answer(asked, &ReloadOutcome { configuration, web });
        }
    }

    /// Starts to poll. Each account appears once its state was read.
    ///
    /// Fails if the platform's certificates cannot be loaded.
    pub(crate) async fn begin(
        self,
        mut accounts: Supervisor,
        web_config: ReloadWebConfig,
        inventory: Arc<Inventory>,
        clock: Clock,
    ) -> anyhow::Result<ReloadLoop> {
        warn(&self.config);
        accounts.apply(self.config).await?;
        inventory.opening(0);
        Ok(ReloadLoop {
            accounts,
            web_config,
            inventory,
            clock,
            load: self.load,
            requests: self.requests,
        })
    }
}

/// Runs reloads.
pub(crate) struct ReloadLoop {
    accounts: Supervisor,
    web_config: ReloadWebConfig,
    inventory: Arc<Inventory>,
    clock: Clock,
    load: LoadConfig,
    requests: ReloadRequests,
}

/// Waits for a request, and returns it with all that are queued: they share a reload, because it
/// starts after all of them.
async fn next(requests: &mut ReloadRequests) -> Option<Vec<oneshot::Sender<ReloadOutcome>>> {
    let mut asked = vec![requests.recv().await?];
    while let Ok(answer) = requests.try_recv() {
        asked.push(answer);
    }
    Some(asked)
}

/// Logs the outcome, and sends it to those who asked. They may have gone away.
fn answer(asked: Vec<oneshot::Sender<ReloadOutcome>>, outcome: &ReloadOutcome) {
    outcome.log();
    for answer in asked {
        let _ = answer.send(outcome.clone());
    }
}

impl ReloadLoop {
    /// Serves requests until no handle is left; after that, the accounts continue.
    ///
    /// Ends only by being dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        while let Some(asked) = next(&mut self.requests).await {
            answer(asked, &self.reload().await);
        }
        std::future::pending().await
    }

    async fn reload(&mut self) -> ReloadOutcome {
        let web = (self.web_config)();
        let (config, web) = tokio::join!((self.load)(), web);
        let configuration = match config {
            Ok(config) => self.apply(config).await,
            Err(problems) => Err(problems.into()),
        };
        let applied = configuration.is_ok().then(|| self.clock.now());
        self.inventory.exporter_metrics().reloaded(applied);
        ReloadOutcome { configuration, web }
    }

    async fn apply(&mut self, config: Config) -> Result<ReloadSummary, ReloadError> {
        warn(&config);
        let applied = self.accounts.apply(config).await;
        let (difference, shown) = applied.map_err(|error| ReloadError::Clients(error.into()))?;
        shown.wait().await;
        Ok(difference)
    }
}

/// Logs secrets that cannot be read yet, and warnings of the request estimates.
fn warn(config: &Config) {
    for problem in config.hanging.to_string().lines() {
        tracing::warn!(
            problem,
            "a secret cannot be read: what needs it fails until it can"
        );
    }
    for account in &config.accounts {
        for warning in RequestEstimate::of(account).warnings() {
            tracing::warn!(
                system = account.system.name,
                account = account.name,
                warning,
                "request plan"
            );
        }
    }
}

impl ReloadHandle {
    /// Requests a reload, and waits for its result.
    ///
    /// `None` if too many requests are waiting, or if the process is stopping.
    pub async fn request(&self) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        outcome.await.ok()
    }
}
