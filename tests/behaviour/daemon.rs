//! The real binary as a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::rig::{LOOK_AGAIN, PATIENCE, Rig, begun};

pub(crate) fn exporter(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connections-exporter"));
    command.args(arguments);
    command
}

/// A port for a process that is to listen on it. It is bound here as long as the tests run, and not
/// listened on: so the kernel gives it to nobody who asks for any port, and whoever names it may still
/// listen, as everybody here sets `SO_REUSEADDR`.
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

/// A running daemon, ended with its test.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts a command that serves at the address, and waits until it does.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let mut daemon = Self::spawn(command, address);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(Instant::now() < deadline, "nobody listens at {address}");
            std::thread::sleep(LOOK_AGAIN);
        }
        daemon
    }

    /// Starts a command that is to serve at the address, and does not wait.
    pub(crate) fn spawn(command: &mut Command, address: SocketAddr) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// The first line of its standard output.
    pub(crate) fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end, and gives what was written to standard output and error.
    pub(crate) fn end(&mut self) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(LOOK_AGAIN);
        };
        let (mut said, mut logged) = (String::new(), String::new());
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut logged)
            .unwrap();
        (status, said, logged)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon of its own process against a simulator in this one, with its secrets in files.
pub(crate) async fn daemon_in_files(
    rig: &Rig,
    interval: &str,
    arguments: &[&str],
) -> (tempfile::TempDir, Daemon) {
    let folder = configured_in_files(rig, interval);
    let daemon = daemon_in(folder.path(), arguments).await;
    (folder, daemon)
}

/// A folder with the simulator's configuration, and its secrets in files beside that.
pub(crate) fn configured_in_files(rig: &Rig, interval: &str) -> tempfile::TempDir {
    // Others may not read the secrets in it, or there would be a warning of each.
    let owner = fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(owner).tempdir();
    let folder = folder.unwrap();
    let poll = format!("  interval: {interval}\n  first_poll_within: 0s\n");
    let (mut text, env) = rig.simulator.configuration(rig.vendor, &poll);
    for (name, value) in &env {
        fs::write(folder.path().join(name), format!("{value}\n")).unwrap();
        text = text.replace(&format!("_env: {name}"), &format!("_file: {name}"));
    }
    fs::write(folder.path().join("config.yaml"), text).unwrap();
    folder
}

/// A daemon on the configuration in this folder, once its accounts have their places.
pub(crate) async fn daemon_in(folder: &Path, arguments: &[&str]) -> Daemon {
    let port = free_port();
    let mut command = exporter(&[
        "--config.file",
        folder.join("config.yaml").to_str().unwrap(),
        "--web.listen-address",
    ]);
    command.arg(format!("127.0.0.1:{port}")).args(arguments);
    let start = move || Daemon::start(&mut command, ([127, 0, 0, 1], port).into());
    let daemon = tokio::task::spawn_blocking(start).await.unwrap();
    begun(daemon.address).await;
    daemon
}

/// The first page of metrics of which this is true.
pub(crate) async fn page_when(address: SocketAddr, what: impl Fn(&str) -> bool) -> String {
    answer_when(address, "/metrics", what).await
}

/// Waits until a daemon says that it is ready.
pub(crate) async fn ready(address: SocketAddr) {
    answer_when(address, "/-/ready", |answer| answer.contains("is ready")).await;
}

/// The first answer at a path of which this is true.
pub(crate) async fn answer_when(
    address: SocketAddr,
    path: &str,
    what: impl Fn(&str) -> bool,
) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path).await;
        if what(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come:\n{answer}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    reqwest::get(format!("http://{address}{path}"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}
