//! A daemon with its own directory, configured by files as an operator writes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::sync::Mutex;

use crate::process::{Process, free_port, until};

/// Poll settings of all daemons. One second here stands for twelve minutes.
const POLL: &str = "poll:\n  interval: 1s\n  first_poll_within: 0s\n  request_timeout: 30s\n";

/// Daemon that serves, or has served.
pub(crate) struct Exporter {
    pub(crate) job: &'static str,
    pub(crate) address: String,
    folder: PathBuf,
    said: PathBuf,
    arguments: Vec<String>,
    process: Mutex<Process>,
}

impl Exporter {
    /// Starts a daemon with `config.yaml` of this directory, and waits until it serves.
    pub(crate) async fn start(job: &'static str, folder: &Path, arguments: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let file = folder.join("config.yaml");
        let mut all = vec![
            format!("--config.file={}", file.display()),
            format!("--web.listen-address={address}"),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let said = folder.join(format!("said.{}.log", free_port()));
        let process = Mutex::new(spawn(&all, &said));
        let exporter = Self {
            job,
            address,
            folder: folder.to_owned(),
            said,
            arguments: all,
            process,
        };
        exporter.serves().await;
        exporter
    }

    async fn serves(&self) {
        let url = format!("http://{}/-/healthy", self.address);
        until(&format!("{} does not serve", self.job), async || {
            let answer = reqwest::get(&url).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Returns the path of a file in its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// Replaces its configuration, and sends SIGHUP.
    pub(crate) async fn reconfigure(&self, text: &str) {
        self.write("config.yaml", text);
        self.process.lock().await.signal("HUP");
    }

    /// Sends a signal, and waits until the process has ended.
    pub(crate) async fn end(&self, signal: &str) {
        let mut process = self.process.lock().await;
        process.signal(signal);
        process.ended().await;
    }

    /// Starts it again with the same address.
    pub(crate) async fn start_again(&self) {
        *self.process.lock().await = spawn(&self.arguments, &self.said);
        self.serves().await;
    }
}

fn spawn(arguments: &[String], said: &Path) -> Process {
    let program = env!("CARGO_BIN_EXE_connections-exporter");
    Process::start(Command::new(program).args(arguments), said)
}

/// Returns a configuration with these accounts.
pub(crate) fn configuration(zuora: &str, zis: &str) -> String {
    let key = |key: &str, accounts: &str| match accounts {
        "" => String::new(),
        accounts => format!("{key}:\n{accounts}"),
    };
    [POLL.to_owned(), key("zuora", zuora), key("zis", zis)].concat()
}
