//! Programs as processes of their own, with what they say in a file.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take that does not wait for an alert.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running program, ended with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts the command; what it says is added to the file, which a pipe that nobody reads would hold up.
    pub(crate) fn start(command: &mut Command, said: &Path) -> Self {
        let file = File::options().create(true).append(true).open(said);
        let file = file.unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file);
        Self(child.spawn().unwrap())
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        let what = "a process does not end";
        until(what, async || self.0.try_wait().unwrap().is_some()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until this is true; panics with `otherwise` if that takes too long.
pub(crate) async fn until(otherwise: &str, mut what: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what().await {
        assert!(Instant::now() < deadline, "{otherwise}");
        sleep(Duration::from_millis(20)).await;
    }
}
