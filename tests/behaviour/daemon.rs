//! Helpers that run the real binary as a separate process.

use std::fs::{self, DirEntry};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::harness::{Harness, LOOK_AGAIN, PATIENCE, begun};

pub(crate) fn exporter(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connections-exporter"));
    command.args(arguments);
    command
}

/// Returns a free port for a process to listen on.
///
/// The port stays bound here without a listener until the tests end. The kernel therefore does not
/// assign it to a socket that binds port 0. A process that names the port can still listen on it,
/// because all sockets here set `SO_REUSEADDR`.
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

/// Running daemon, killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts a command, and waits until it listens at the address.
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

    /// Starts a command that will listen at the address, without waiting.
    pub(crate) fn spawn(command: &mut Command, address: SocketAddr) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// Reads the first line of standard output.
    pub(crate) fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim_end().to_owned()
    }

    /// Collects standard error from now on, so that a test can wait for a line of it.
    pub(crate) fn collect_log(&mut self) -> Arc<Mutex<String>> {
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let collected = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *collected.lock().unwrap() += &(line + "\n");
            }
        });
        log
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

    /// Stops the process, and waits until each of its threads has stopped.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        let deadline = Instant::now() + PATIENCE;
        let tasks = format!("/proc/{}/task", self.child.id());
        let stopped = |task: io::Result<DirEntry>| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            // The state follows the name, which is in parentheses and may contain any character.
            stat.rsplit_once(')')
                .unwrap()
                .1
                .trim_start()
                .starts_with('T')
        };
        while !fs::read_dir(&tasks).unwrap().all(stopped) {
            assert!(Instant::now() < deadline, "the process does not stop");
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits for the process to exit; returns its status, standard output and standard error.
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
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut logged).unwrap();
        }
        (status, said, logged)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this text is in a log that is being collected.
pub(crate) async fn logged(log: &Mutex<String>, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !log.lock().unwrap().contains(text) {
        assert!(Instant::now() < deadline, "{text} not in {log:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Starts a daemon process that polls the simulator in this process, with its secrets in files.
pub(crate) async fn daemon_in_files(
    harness: &Harness,
    interval: &str,
    arguments: &[&str],
) -> (tempfile::TempDir, Daemon) {
    let folder = configured_in_files(harness, interval);
    let daemon = daemon_in(folder.path(), arguments).await;
    (folder, daemon)
}

/// Writes the simulator's configuration to a directory, with the secrets in files next to it.
pub(crate) fn configured_in_files(harness: &Harness, interval: &str) -> tempfile::TempDir {
    // The daemon warns about each secret file that other users can read.
    let owner = fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(owner).tempdir();
    let folder = folder.unwrap();
    let poll = format!("  interval: {interval}\n  first_poll_within: 0s\n");
    let (mut text, env) = harness.simulator.configuration(harness.vendor, &poll);
    for (name, value) in &env {
        fs::write(folder.path().join(name), format!("{value}\n")).unwrap();
        text = text.replace(&format!("_env: {name}"), &format!("_file: {name}"));
    }
    fs::write(folder.path().join("config.yaml"), text).unwrap();
    folder
}

/// Starts a daemon on the configuration in this directory, and waits until its accounts are open.
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

/// Waits for a metrics page that satisfies `what`.
pub(crate) async fn page_when(address: SocketAddr, what: impl Fn(&str) -> bool) -> String {
    answer_when(address, "/metrics", what).await
}

/// Waits until the daemon is ready.
pub(crate) async fn ready(address: SocketAddr) {
    answer_when(address, "/-/ready", |answer| answer.contains("is ready")).await;
}

/// Waits for a response at `path` that satisfies `what`.
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
