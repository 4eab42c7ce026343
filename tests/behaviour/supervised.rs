//! Notifications to a service manager such as systemd, over a real datagram socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::daemon::{Daemon, exporter, free_port};
use crate::harness::PATIENCE;

/// Binds the notification socket; each message must arrive within [`PATIENCE`].
pub(crate) fn supervisor(folder: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    let patience = Some(PATIENCE);
    socket.set_read_timeout(patience).unwrap();
    socket
}

fn told(supervisor: &UnixDatagram) -> Vec<String> {
    let mut message = [0; 4096];
    let length = supervisor.recv(&mut message).unwrap();
    let text = String::from_utf8(message[..length].to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Receives the next notification that is not a watchdog keep-alive.
pub(crate) fn told_next(supervisor: &UnixDatagram) -> Vec<String> {
    loop {
        let message = told(supervisor);
        if message != ["WATCHDOG=1"] {
            return message;
        }
    }
}

/// Starts the demo without waiting for it, because READY=1 reports when it serves.
fn demo(folder: &Path, watchdog: Option<&str>) -> Daemon {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = exporter(&["demo", "--web.listen-address", &address.to_string()]);
    command.env("NOTIFY_SOCKET", folder.join("notify"));
    if let Some(microseconds) = watchdog {
        command.env("WATCHDOG_USEC", microseconds);
    }
    Daemon::spawn(&mut command, address)
}

/// Checks the health once, because READY=1 means that the daemon already serves.
fn healthy(address: SocketAddr) -> bool {
    good(address, "/-/healthy")
}

fn good(address: SocketAddr, path: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn the_supervisor_is_told_when_it_serves_that_it_lives_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = supervisor(folder.path());
    let mut daemon = demo(folder.path(), Some("200000"));
    assert_eq!(told(&supervisor), ["READY=1", "STATUS=serving"]);
    assert!(healthy(daemon.address));
    for _ in 0..3 {
        assert_eq!(told(&supervisor), ["WATCHDOG=1"]);
    }
    daemon.signal("TERM");
    assert_eq!(
        told_next(&supervisor),
        ["STOPPING=1", "STATUS=finishing requests in progress"]
    );
    assert!(daemon.end().0.success());
}

#[test]
fn a_daemon_that_cannot_listen_is_never_ready() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = supervisor(folder.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = exporter(&["demo", "--web.listen-address", &address.to_string()]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let (status, _, _) = Daemon::spawn(&mut command, address).end();
    assert_eq!(status.code(), Some(1));
    supervisor.set_nonblocking(true).unwrap();
    let nothing = supervisor.recv(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn without_a_watchdog_nobody_is_told_that_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = supervisor(folder.path());
    for none in [None, Some("0"), Some("soon")] {
        let mut daemon = demo(folder.path(), none);
        assert_eq!(told(&supervisor)[0], "READY=1");
        assert!(healthy(daemon.address));
        daemon.signal("TERM");
        assert_eq!(told(&supervisor)[0], "STOPPING=1");
        assert!(daemon.end().0.success());
    }
}

#[test]
fn a_supervisor_that_is_gone_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = exporter(&["demo", "--web.listen-address"]);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    command
        .arg(address.to_string())
        .env("NOTIFY_SOCKET", folder.path().join("nobody"));
    let mut daemon = Daemon::start(&mut command, address);
    // The daemon sends no notification before its accounts are open.
    while !good(address, "/sd") {
        std::thread::yield_now();
    }
    daemon.signal("TERM");
    let (status, _, logged) = daemon.end();
    assert!(status.success());
    assert!(
        logged.contains("NOTIFY_SOCKET could not be told"),
        "{logged}"
    );
}
