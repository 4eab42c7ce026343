//! The binary from the command line: exit codes, messages, signals, and no secret in any output.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Instant;

use connections_simulator::{Fault, Kind, Sizes};

use crate::daemon::{Daemon, daemon_in_files, exporter, free_port, get, page_when};
use crate::harness::{Harness, ONCE, PATIENCE};

const SECRET: &str = "planted-own-secret-9f2c";

fn output(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

fn demo(arguments: &[&str]) -> Daemon {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    Daemon::start(
        exporter(&["demo", "--web.listen-address", &address]).args(arguments),
        address.parse().unwrap(),
    )
}

#[test]
fn a_wrong_configuration_ends_with_1_and_a_line_for_each_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(
        &file,
        format!("zuora:\n  - account: a\n    client_secret: {SECRET}\nzis:\n  - account: b\n"),
    )
    .unwrap();
    let flag = format!("--config.file={}", file.display());
    for arguments in [&[flag.as_str()][..], &[&flag, "--config.check"]] {
        let (code, _, said) = output(&mut exporter(arguments));
        assert_eq!(code, 1);
        assert_eq!(said.lines().count(), 5, "{said}");
        assert!(
            said.lines()
                .all(|line| line.starts_with(&format!("{}:", file.display()))),
            "{said}"
        );
        assert!(!said.contains(SECRET));
    }
    let (code, _, said) = output(&mut exporter(&["--config.file=/nowhere.yaml"]));
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "/nowhere.yaml: the file cannot be read: No such file or directory (os error 2)\n"
        )
    );
}

#[test]
fn bad_usage_ends_with_2() {
    for arguments in [
        &["--no.such.flag"][..],
        &["nonsense"],
        &["--log.level=loud"],
        &["--web.telemetry-path=/-/x"],
        &["--web.max-requests=0"],
    ] {
        let (code, _, said) = output(&mut exporter(arguments));
        assert_eq!(code, 2, "{said}");
    }
    let (code, said, _) = output(&mut exporter(&["--version"]));
    assert_eq!(code, 0);
    assert!(
        said.starts_with(&format!(
            "connections-exporter {} (revision ",
            env!("CARGO_PKG_VERSION")
        )),
        "{said}"
    );
}

#[test]
fn flags_come_from_the_environment_too_and_strangers_are_ignored() {
    let (code, _, said) = output(
        exporter(&[])
            .env("CONNECTIONS_EXPORTER_CONFIG_FILE", "/from/environment.yaml")
            .env("CONNECTIONS_EXPORTER_PORT", "tcp://10.0.0.1:9932"),
    );
    assert_eq!(code, 1);
    assert!(said.starts_with("/from/environment.yaml: "), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let mut check = exporter(&["--config.check"]);
    check
        .current_dir(folder.path())
        .env("CONNECTIONS_EXPORTER_CONFIG_CHECK", "nonsense");
    let (code, _, said) = output(&mut check);
    assert_eq!(code, 1, "the flag wins over the variable");
    assert!(said.starts_with("config.yaml: "), "{said}");
    let (code, _, _) = output(exporter(&[]).env("CONNECTIONS_EXPORTER_CONFIG_CHECK", "nonsense"));
    assert_eq!(code, 2);
}

#[test]
fn the_example_configuration_loads_and_its_plan_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    let example =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml")).unwrap();
    fs::write(
        folder.path().join("config.yaml"),
        example
            .replace("/run/secrets", &here)
            .replace("/etc/ssl", &here),
    )
    .unwrap();
    for secret in ["zuora", "acme_slack", "globex_admin"] {
        fs::write(folder.path().join(secret), SECRET).unwrap();
    }
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ca.pem"),
        folder.path().join("corporate.pem"),
    )
    .unwrap();
    let mut command = exporter(&[
        "--config.check",
        "--log.level=error",
        "--config.file",
        &format!("{here}/config.yaml"),
    ]);
    for name in [
        "ZUORA_SANDBOX_CLIENT_ID",
        "ZUORA_SANDBOX_CLIENT_SECRET",
        "ACME_SHOPIFY_TOKEN",
    ] {
        command.env(name, SECRET);
    }
    let (code, said, problems) = output(&mut command);
    assert_eq!((code, problems.as_str()), (0, ""));
    assert!(
        said.contains(
            "zuora production: 2 targets, one page each every 10m, budget 60 requests a minute"
        ),
        "{said}"
    );
    assert!(
        said.contains("API Sandbox") && said.contains("10000"),
        "{said}"
    );
    assert!(
        !said.contains("warning") && !said.contains(SECRET),
        "{said}"
    );
}

#[test]
fn a_plan_that_breaks_the_quota_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let entities: Vec<_> = (0..7).map(|n| format!("{{id: '{n:032x}'}}")).collect();
    let entities = entities.join(", ");
    let text = format!(
        "poll: {{interval: 1m, stale_after: 90s}}\nzuora:\n  - account: a\n    base_url: \
            https://rest.apisandbox.zuora.com\n    client_id: i\n    client_secret_env: S\n    \
            requests_per_minute: 6\n    entities: [{entities}]\n"
    );
    fs::write(&file, text).unwrap();
    let (code, said, _) = output(
        exporter(&["--config.check", "--config.file", file.to_str().unwrap()]).env("S", SECRET),
    );
    assert_eq!(code, 0);
    let warnings: Vec<_> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("warning: "))
        .collect();
    assert_eq!(
        warnings,
        [
            "needs 7.1 requests a minute, and the budget is 6: intervals will be stretched; raise \
                interval or requests_per_minute",
            "needs 10131 requests a day, and the vendor allows 10000 (API Sandbox), shared with \
                everybody else: raise interval",
            "stale_after is less than two intervals: one failed poll will drop the listing",
        ]
    );
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, said) = output(&mut exporter(&["demo", "--web.listen-address", &address]));
    let expected = format!(
        "{address} is in use by another process: end that one, or choose another \
            --web.listen-address\n"
    );
    assert_eq!((code, said), (1, expected));
}

#[test]
fn the_healthcheck_succeeds_only_for_a_200() {
    let daemon = demo(&[]);
    let address = daemon.address.to_string();
    assert_eq!(
        output(&mut exporter(&[
            "healthcheck",
            "--web.listen-address",
            &address
        ]))
        .0,
        0
    );
    drop(daemon);
    let (code, _, said) = output(&mut exporter(&[
        "healthcheck",
        "--web.listen-address",
        &address,
    ]));
    assert_eq!(code, 1);
    assert!(said.contains(&address), "{said}");
    // Another HTTP server on the port, which responds with 404.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = other.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(
            request.any(|line| line.unwrap().is_empty()),
            "the end of the headers"
        );
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let (code, _, said) = output(&mut exporter(&[
        "healthcheck",
        "--web.listen-address",
        &address,
    ]));
    assert_eq!(
        (code, said),
        (1, format!("{address} answered 404 at /-/healthy\n"))
    );
    answer.join().unwrap();
}

#[test]
fn sigterm_and_sigint_end_it_well() {
    for signal in ["TERM", "INT"] {
        let mut daemon = demo(&[]);
        daemon.signal(signal);
        let (status, said, logged) = daemon.end();
        assert_eq!(status.code(), Some(0), "{logged}");
        assert!(
            said.contains("/metrics") && said.contains("/simulator"),
            "it says where to look: {said}"
        );
    }
}

#[test]
fn a_fault_that_would_never_happen_is_refused_at_the_start() {
    for (fault, problem) in [
        (
            "kind=500&target=nobody",
            "--simulator.fault: there is no target nobody",
        ),
        (
            "kind=500&endpoint=connection_all",
            "endpoint is one of oauth_token, ",
        ),
    ] {
        let (code, _, said) = output(&mut exporter(&["demo", "--simulator.fault", fault]));
        assert!(code != 0 && said.contains(problem), "{code}: {said}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    use std::io::Write as _;
    let mut daemon = demo(&["--simulator.integration-connections=15000"]);
    let page = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n", daemon.address);
    // A graceful shutdown would give this slow client five seconds.
    let deadline = Instant::now() + PATIENCE;
    let slow = loop {
        assert!(Instant::now() < deadline, "no large page");
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.write_all(page.as_bytes()).unwrap();
        let mut head = [0; 200];
        stream.read_exact(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head).into_owned();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        if length > 20_000_000 {
            break stream;
        }
    };
    daemon.signal("TERM");
    let mut lines = BufReader::new(daemon.child.stderr.take().unwrap()).lines();
    // Signals of one kind that arrive together are one, so the second follows this line.
    assert!(lines.any(|line| line.unwrap().contains("shutting down")));
    daemon.signal("TERM");
    // A graceful shutdown would exit with 0.
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
    drop(slow);
}

#[tokio::test]
async fn no_secret_is_on_a_page_or_in_the_log_and_a_failure_is_one_line() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    for format in ["logfmt", "json"] {
        let (_folder, mut daemon) = daemon_in_files(
            &harness,
            "1s",
            &["--log.level=trace", "--log.format", format],
        )
        .await;
        page_when(daemon.address, |page| {
            page.contains("saas_connections{system=\"zuora\"")
        })
        .await;
        harness.simulator.fail(Fault {
            times: Some(1),
            target: Some("acme_slack".to_owned()),
            ..Fault::new(Kind::RevokedToken)
        });
        let failed = |page: &str| page.contains("reason=\"unauthorized\"} 1");
        let page = page_when(daemon.address, failed).await;
        let pages = [
            page,
            get(daemon.address, "/").await,
            get(daemon.address, "/-/ready").await,
        ]
        .concat();
        daemon.signal("TERM");
        let (_, _, said) = daemon.end();
        let failures: Vec<_> = said
            .lines()
            .filter(|line| line.contains("poll failed"))
            .collect();
        assert_eq!(failures.len(), 1, "{said}");
        for part in [
            "acme_slack",
            "unauthorized",
            "401",
            "invalid_token",
            "00000000-0000-4000-8000-",
        ] {
            assert!(failures[0].contains(part), "{part} not in {}", failures[0]);
        }
        assert!(!said.contains('\u{1b}'), "colours into a pipe");
        let secrets = harness.simulator.change(|world| {
            let own = world
                .integrations
                .iter()
                .map(|integration| integration.token.clone());
            own.chain([world.tenant.client_secret.clone(), world.planted.clone()])
                .collect::<Vec<_>>()
        });
        for secret in secrets {
            assert!(
                !pages.contains(&secret) && !said.contains(&secret),
                "{secret} was shown"
            );
        }
    }
}

#[test]
fn the_simulator_alone_prints_a_configuration_that_loads() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut simulator = Daemon::start(
        &mut exporter(&["simulate", "--simulator.listen-address", &address]),
        address.parse().unwrap(),
    );
    simulator.signal("TERM");
    let (status, said, _) = simulator.end();
    assert!(status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, &said).unwrap();
    let mut check = exporter(&["--config.check", "--config.file", file.to_str().unwrap()]);
    for line in said
        .lines()
        .filter_map(|line| line.strip_prefix("#   export "))
    {
        let (name, value) = line.split_once('=').unwrap();
        check.env(name, value);
    }
    assert_eq!(output(&mut check).0, 0);
}
