//! The binary with a web configuration: start, log, `healthcheck`, addresses and sockets.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::served::{TLS, prepared, user};
use crate::daemon::{Daemon, exporter, free_port};
use crate::harness::PATIENCE;
use crate::pki::Authority;

fn output(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Starts a demo on loopback with the web configuration in this directory.
pub(super) fn demo(folder: &Path) -> Daemon {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = exporter(&["demo", "--web.listen-address", &address]);
    command.arg(flag(folder));
    Daemon::start(&mut command, address.parse().unwrap())
}

fn flag(folder: &Path) -> String {
    format!("--web.config.file={}", folder.join("web.yaml").display())
}

/// Runs `healthcheck` with the web configuration in this directory; returns exit code and standard
/// error.
fn healthcheck(daemon: &Daemon, folder: &Path) -> (i32, String) {
    let address = daemon.address.to_string();
    let (code, _, said) =
        output(exporter(&["healthcheck", "--web.listen-address", &address]).arg(flag(folder)));
    (code, said)
}

#[test]
fn a_bad_web_configuration_is_refused_at_the_start_and_by_the_check_with_the_other_problems() {
    let folder = prepared(
        &Authority::new(),
        "tls_server_config:\n  min_version: x\nbasic_auth_users:\n  alice: x\n",
    );
    let here = folder.path().display();
    let (code, _, said) = output(exporter(&["demo"]).arg(flag(folder.path())));
    assert_eq!((code, said.lines().count()), (1, 4), "{said}");
    assert!(
        said.lines()
            .all(|line| line.starts_with(&format!("{here}/web.yaml:"))),
        "{said}"
    );
    let both = ["--config.check", "--config.file=/nowhere.yaml"];
    let (code, _, said) = output(exporter(&both).env(
        "CONNECTIONS_EXPORTER_WEB_CONFIG_FILE",
        folder.path().join("web.yaml"),
    ));
    assert_eq!((code, said.lines().count()), (1, 5), "{said}");
    assert!(said.starts_with("/nowhere.yaml: "), "{said}");
}

#[tokio::test]
async fn a_broken_edit_is_logged_once_and_its_end_too() {
    let folder = prepared(&Authority::new(), &user("alice", "s3cret", 4));
    let file = folder.path().join("web.yaml");
    let mut daemon = demo(folder.path());
    let deadline = Instant::now() + PATIENCE;
    let url = format!("http://{}/metrics", daemon.address);
    let until = async |metric: &str| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let metric = format!("web_config_last_reload_successful {metric}\n");
        loop {
            let page = client.get(&url).basic_auth("alice", Some("s3cret"));
            let page = page.send().await.unwrap().text().await.unwrap();
            if page.contains(&metric) {
                break;
            }
            assert!(Instant::now() < deadline, "{page}");
        }
    };
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "tls_server_config: []\n").unwrap();
    until("0").await;
    // The same error in a file with other contents.
    fs::write(&file, "# broken\ntls_server_config: []\n").unwrap();
    fs::write(&file, good).unwrap();
    until("1").await;
    daemon.signal("TERM");
    let (_, _, logged) = daemon.end();
    let count = |what: &str| logged.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("was not loaded"), 1, "{logged}");
    assert_eq!(count("web configuration was loaded"), 1, "{logged}");
    assert!(!logged.contains("$2"), "{logged}");
}

#[test]
fn the_health_check_speaks_tls_and_knows_its_own_server() {
    let authority = Authority::new();
    let folder = prepared(&authority, &format!("{TLS}{}", user("alice", "s3cret", 4)));
    let mut daemon = demo(folder.path());
    assert!(daemon.first_line().starts_with("The simulator"));
    assert_eq!(healthcheck(&daemon, folder.path()), (0, String::new()));

    let (code, _, said) = output(&mut exporter(&[
        "healthcheck",
        "--web.listen-address",
        &daemon.address.to_string(),
    ]));
    assert_eq!(code, 1, "plain HTTP is answered with 400: {said}");
    let other = prepared(&authority, TLS);
    let (code, said) = healthcheck(&daemon, other.path());
    assert_eq!(code, 1);
    assert!(said.contains("shows another certificate than"), "{said}");

    // An invalid edit affects neither the daemon nor the health check.
    fs::write(folder.path().join("web.yaml"), "tls_server_config: [").unwrap();
    let (code, said) = healthcheck(&daemon, folder.path());
    assert_eq!(code, 0, "{said}");
    daemon.signal("TERM");
    daemon.end();
    assert_eq!(healthcheck(&daemon, folder.path()).0, 1, "nobody is there");
    assert_eq!(healthcheck(&daemon, other.path()).0, 1, "nobody is there");
}

#[test]
fn where_clients_are_verified_the_health_check_shows_the_servers_certificate() {
    let authority = Authority::new();
    for (kind, ca, healthy) in [
        ("RequireAnyClientCert", "", 0),
        (
            "RequireAndVerifyClientCert",
            "  client_ca_file: ca.crt\n",
            1,
        ),
    ] {
        let folder = prepared(
            &authority,
            &format!("{TLS}  client_auth_type: {kind}\n{ca}"),
        );
        let daemon = demo(folder.path());
        let (code, said) = healthcheck(&daemon, folder.path());
        assert_eq!(code, healthy, "{said}");
        assert_eq!(
            said.contains("have it issued for client authentication too"),
            healthy == 1,
            "{said}"
        );
    }
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let folder = prepared(&authority, &format!("{TLS}{lines}"));
    authority.server_and_client().write(folder.path(), "server");
    assert_eq!(
        healthcheck(&demo(folder.path()), folder.path()),
        (0, String::new())
    );
}

#[test]
fn a_new_certificate_does_not_make_the_health_check_fail_before_it_is_taken_up() {
    let authority = Authority::new();
    let folder = prepared(&authority, TLS);
    let daemon = demo(folder.path());
    authority.server().write(folder.path(), "server");
    assert_eq!(healthcheck(&daemon, folder.path()), (0, String::new()));
}

/// Asserts that the health check of this listen address succeeds.
fn is_healthy(address: &str) {
    let check = ["healthcheck", "--web.listen-address", address];
    let (code, _, said) = output(&mut exporter(&check));
    assert_eq!(code, 0, "{address}: {said}");
}

#[test]
fn it_listens_at_every_address_that_is_given() {
    let (one, two) = (free_port(), free_port());
    let v6 = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
    let addresses = [
        format!("127.0.0.1:{one}"),
        format!("[::1]:{}", v6.port()),
        format!("localhost:{two}"),
    ];
    let mut command = exporter(&["demo"]);
    for address in &addresses {
        command.args(["--web.listen-address", address]);
    }
    let _daemon = Daemon::start(&mut command, addresses[0].parse().unwrap());
    for address in addresses {
        is_healthy(&address);
    }
}

#[test]
fn every_address_of_the_machine_is_checked_at_loopback() {
    for host in ["", "0.0.0.0", "[::]"] {
        let port = free_port();
        let address = format!("{host}:{port}");
        let mut command = exporter(&["demo", "--web.listen-address", &address]);
        let _daemon = Daemon::start(&mut command, ([127, 0, 0, 1], port).into());
        is_healthy(&address);
    }
}

#[test]
fn it_listens_on_the_socket_that_systemd_passes() {
    let (code, _, said) =
        output(exporter(&["demo", "--web.systemd-socket"]).env_remove("LISTEN_FDS"));
    assert_eq!(code, 1);
    assert_eq!(
        said,
        "--web.systemd-socket: systemd passed no socket; start the service by its .socket unit, or \
            leave the flag out\n"
    );

    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // systemd passes the socket as descriptor 3, and names the receiving process in `LISTEN_PID`.
    let passed = |arguments: &str| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_connections-exporter");
        command.args([
            "-c",
            &format!(
                "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec {program} {arguments}"
            ),
        ]);
        command
    };
    let (code, _, said) = output(passed("demo --web.systemd-socket").stdin(Stdio::null()));
    assert_eq!(code, 1);
    assert!(
        said.starts_with(
            "--web.systemd-socket: socket 1 of systemd's is not one that listens for TCP: "
        ),
        "{said}"
    );
    let mut command = passed("demo --web.systemd-socket --web.listen-address=127.0.0.1:1");
    command.stdin(OwnedFd::from(socket));
    let mut daemon = Daemon::start(&mut command, address);
    assert!(daemon.first_line().starts_with("The simulator"));
    let (code, _, said) = output(&mut exporter(&[
        "healthcheck",
        "--web.listen-address",
        &address.to_string(),
    ]));
    assert_eq!(code, 0, "{said}");
}
