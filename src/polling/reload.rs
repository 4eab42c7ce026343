//! The configuration, read again on request: all of it is taken up, or nothing.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::Inventory;
use crate::polling::request_estimate::RequestEstimate;
use crate::polling::supervisor::{ReloadSummary, Supervisor};
use crate::settings::ConfigErrors;

/// Requests that may wait for the next reading.
const WAITING: usize = 16;

/// What reads the configuration.
type LoadConfig = Box<dyn Fn() -> BoxFuture<'static, Result<Config, ConfigErrors>> + Send + Sync>;

/// What became of a reload. Each of the two files is taken up as a whole, or not at all, and neither waits for the
/// other to be good.
#[derive(Debug, Clone)]
pub struct ReloadOutcome {
    /// What changed, or why nothing did: a line for each problem.
    pub configuration: Result<ReloadSummary, String>,
    /// Why the web configuration was not taken up.
    pub web: Result<(), String>,
}

impl ReloadOutcome {
    /// Whether all that was read was taken up.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.configuration.is_ok() && self.web.is_ok()
    }

    fn log(&self) {
        match &self.configuration {
            Ok(difference) => tracing::info!(%difference, "configuration reloaded"),
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(
                        problem,
                        "the configuration was not taken up: the earlier one stays"
                    );
                }
            }
        }
        for problem in self.web.as_ref().err().iter().flat_map(|text| text.lines()) {
            tracing::error!(
                problem,
                "the web configuration was not taken up: the earlier one stays"
            );
        }
    }
}

impl fmt::Display for ReloadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.configuration {
            Ok(difference) => writeln!(f, "The configuration was taken up. {difference}.")?,
            Err(problems) => writeln!(
                f,
                "The configuration was not taken up: the earlier one stays.\n{problems}"
            )?,
        }
        match &self.web {
            Ok(()) => Ok(()),
            Err(problems) => writeln!(
                f,
                "The web configuration was not taken up: the earlier one stays.\n{problems}"
            ),
        }
    }
}

/// The configuration that a daemon begins with, and how to read it again.
pub struct Configuration {
    config: Config,
    load: LoadConfig,
    requests: mpsc::Receiver<oneshot::Sender<ReloadOutcome>>,
}

/// Reads the web configuration again; what is wrong with it changes nothing.
pub type ReloadWebConfig =
    Box<dyn Fn() -> BoxFuture<'static, Result<(), ConfigErrors>> + Send + Sync>;

/// Asks for a reload.
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

    /// How many accounts there are.
    pub(crate) fn accounts(&self) -> usize {
        self.config.accounts.len()
    }

    /// Begins to poll; accounts come up as their state is read. Fails if the platform's certificates cannot be loaded.
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

/// Takes up one reload after another.
pub(crate) struct ReloadLoop {
    accounts: Supervisor,
    web_config: ReloadWebConfig,
    inventory: Arc<Inventory>,
    clock: Clock,
    load: LoadConfig,
    requests: mpsc::Receiver<oneshot::Sender<ReloadOutcome>>,
}

impl ReloadLoop {
    /// Serves requests until nobody can make one any more; then the accounts go on. Ends only by being dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        while let Some(first) = self.requests.recv().await {
            // Those who wait already are served by the same reading, which is later than each of them asked.
            let mut asked = vec![first];
            while let Ok(answer) = self.requests.try_recv() {
                asked.push(answer);
            }
            let outcome = self.reload().await;
            outcome.log();
            for answer in asked {
                // Who asked may have gone away.
                let _ = answer.send(outcome.clone());
            }
        }
        std::future::pending().await
    }

    async fn reload(&mut self) -> ReloadOutcome {
        let web = (self.web_config)();
        let (config, web) = tokio::join!((self.load)(), web);
        let configuration = match config {
            Ok(config) => self.apply(config).await,
            Err(problems) => Err(problems.to_string()),
        };
        let taken_up = configuration.is_ok().then(|| self.clock.now());
        self.inventory.exporter_metrics().reloaded(taken_up);
        ReloadOutcome {
            configuration,
            web: web.map_err(|problems| problems.to_string()),
        }
    }

    async fn apply(&mut self, config: Config) -> Result<ReloadSummary, String> {
        warn(&config);
        let taken_up = self.accounts.apply(config).await;
        let (difference, shown) = taken_up.map_err(|error| format!("{error:#}"))?;
        shown.wait().await;
        Ok(difference)
    }
}

/// Warns of secrets that cannot be read yet, and of a plan that breaks a quota.
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
    /// Asks for the configuration to be read again, and waits until it is taken up, or is not. `None` if too many wait
    /// already, or the process is ending.
    pub async fn request(&self) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        outcome.await.ok()
    }
}
