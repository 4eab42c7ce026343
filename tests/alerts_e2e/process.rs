//! Programs in separate processes, with their output in a file.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::{Instant, sleep};

/// Maximum time for everything that does not wait for an alert.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Running program, killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts the command. Its output is appended to a file, because a pipe that is not read would
    /// block it.
    pub(crate) fn start(command: &mut Command, said: &Path) -> Self {
        let file = File::options().create(true).append(true).open(said);
        let file = file.unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file);
        Self(child.spawn().unwrap())
    }

    /// Sends the signal with this name.
    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until the process has ended.
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

/// Returns a port for another process to listen on.
///
/// The port is bound here, so that no other program gets it. It is not listened on, so that the
/// process that needs it can bind it, too.
pub(crate) fn free_port() -> u16 {
    static KEPT: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    KEPT.lock().unwrap().push(socket);
    address.port()
}

/// Waits until this is true. Panics with `otherwise` after [`PATIENCE`].
pub(crate) async fn until(otherwise: &str, mut what: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what().await {
        assert!(Instant::now() < deadline, "{otherwise}");
        sleep(Duration::from_millis(20)).await;
    }
}
