//! The configuration, read again on request: all of it is taken up, or nothing.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::accounts::{Accounts, Difference};
use crate::board::Board;
use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::plan::Plan;
use crate::web_config::WebConfig;

/// Requests that may wait; each is served by a reading of its own.
const WAITING: usize = 16;

/// What reads the configuration.
type Load = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// What becomes of a request: what changed, or why nothing did, a line for each problem.
type Outcome = Result<Difference, String>;

/// The configuration that a daemon begins with, and how to read it again.
pub struct Configuration {
    config: Config,
    load: Load,
    requests: mpsc::Receiver<oneshot::Sender<Outcome>>,
}

/// Asks for a reload.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::Sender<oneshot::Sender<Outcome>>);

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configuration")
    }
}

impl Configuration {
    /// Reads the configuration for the first time.
    pub fn load(
        load: impl Fn() -> Result<Config, Problems> + Send + Sync + 'static,
    ) -> Result<(Self, Reload), Problems> {
        let config = load()?;
        let (reload, requests) = mpsc::channel(WAITING);
        let configuration = Self {
            config,
            load: Arc::new(load),
            requests,
        };
        Ok((configuration, Reload(reload)))
    }

    /// Begins to poll. Fails if the platform's certificates cannot be loaded.
    pub(crate) async fn begin(
        self,
        mut accounts: Accounts,
        web_config: Arc<WebConfig>,
        board: Arc<Board>,
        clock: Clock,
    ) -> anyhow::Result<Reloading> {
        warn(&self.config);
        accounts.take_up(self.config).await?;
        Ok(Reloading {
            accounts,
            web_config,
            board,
            clock,
            load: self.load,
            requests: self.requests,
        })
    }
}

/// Takes up one reload after another.
pub(crate) struct Reloading {
    accounts: Accounts,
    web_config: Arc<WebConfig>,
    board: Arc<Board>,
    clock: Clock,
    load: Load,
    requests: mpsc::Receiver<oneshot::Sender<Outcome>>,
}

impl Reloading {
    /// Serves requests until nobody can make one any more; then the accounts go on. Ends only by being dropped.
    pub(crate) async fn run(mut self) {
        while let Some(answer) = self.requests.recv().await {
            let outcome = self.reload().await;
            match &outcome {
                Ok(difference) => tracing::info!(%difference, "configuration reloaded"),
                Err(problems) => {
                    for problem in problems.lines() {
                        tracing::error!(
                            problem,
                            "the configuration is not taken up: the earlier one stays"
                        );
                    }
                }
            }
            // Who asked may have gone away.
            let _ = answer.send(outcome);
        }
        std::future::pending::<()>().await;
    }

    /// Reads both files. Each of them is taken up as a whole, or not at all; neither waits for the other to be good.
    async fn reload(&mut self) -> Outcome {
        let (load, web_config, board) = (
            self.load.clone(),
            self.web_config.clone(),
            self.board.clone(),
        );
        // A disk may hang.
        let read = spawn_blocking(move || (load(), web_config.reload(board.own())));
        let (config, web) = read
            .await
            .map_err(|_| "reading the configuration ended early".to_owned())?;
        let difference = match config {
            Ok(config) => self.take_up(config).await,
            Err(problems) => Err(problems.to_string()),
        };
        let taken_up = difference.is_ok().then(|| self.clock.now());
        self.board.own().reloaded(taken_up);
        match (difference, web) {
            (difference, Ok(())) => difference,
            (Ok(_), Err(web)) => Err(web.to_string()),
            (Err(problems), Err(web)) => Err(format!("{problems}\n{web}")),
        }
    }

    async fn take_up(&mut self, config: Config) -> Outcome {
        warn(&config);
        let taken_up = self.accounts.take_up(config).await;
        taken_up.map_err(|error| format!("{error:#}"))
    }
}

/// Warns of a plan that breaks a quota.
fn warn(config: &Config) {
    for account in &config.accounts {
        for warning in Plan::of(account).warnings() {
            tracing::warn!(
                system = account.system.name,
                account = account.name,
                warning,
                "request plan"
            );
        }
    }
}

impl Reload {
    /// Asks for the configuration to be read again, and waits until it is taken up, or is not. Requests made at the
    /// same time are served one after another.
    pub async fn request(&self) -> Outcome {
        let ended = || "the process is ending".to_owned();
        let (answer, outcome) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}
