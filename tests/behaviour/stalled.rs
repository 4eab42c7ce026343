//! Files that hang, pipes that are not read, and closed pipes affect only what needs them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use connections_simulator::{Fault, Kind, Sizes};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::daemon::{
    Daemon, answer_when, configured_in_files, daemon_in, exporter, free_port, get, logged,
    page_when,
};
use crate::harness::Harness;

/// Replaces a file by a FIFO without a writer, which blocks every open for reading.
fn hang(path: &Path) {
    let _ = fs::remove_file(path);
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

fn mend(path: &Path, text: &str) {
    fs::remove_file(path).unwrap();
    fs::write(path, text).unwrap();
}

async fn reload(address: SocketAddr) -> (u16, String) {
    let url = format!("http://{address}/-/reload");
    let answer = reqwest::Client::new().post(url).send().await.unwrap();
    (answer.status().into(), answer.text().await.unwrap())
}

/// Returns the file that holds the token of this integration.
fn token_file(folder: &Path, harness: &Harness, integration: &str) -> std::path::PathBuf {
    let token = harness.simulator.change(|world| {
        let mut all = world.integrations.iter();
        all.find(|one| one.name == integration)
            .unwrap()
            .token
            .clone()
    });
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| file.is_file())
        .find(|file| fs::read_to_string(file).unwrap().trim() == token)
        .unwrap()
}

const SLACK: &str = "account=\"acme\",target=\"acme_slack\"";

fn up(page: &str, is: bool) -> bool {
    let line = format!("target_up{{system=\"zis\",{SLACK}}} {}", u8::from(is));
    page.contains(&line)
}

#[tokio::test]
async fn a_log_that_nobody_reads_loses_lines_and_holds_up_nothing() {
    let harness = Harness::start(Sizes::default(), "  interval: 1h\n").await;
    harness
        .simulator
        .fail(Fault::new(Kind::InternalServerError));
    let folder = configured_in_files(&harness, "1s");
    let mut daemon = daemon_in(folder.path(), &["--web.enable-lifecycle"]).await;
    // Each reload logs one line per configuration error.
    let problems: Vec<_> = (0..90).map(|n| format!("no_key_{n}: 1\n")).collect();
    let problems = problems.concat();
    fs::write(folder.path().join("config.yaml"), problems).unwrap();
    let dropped = |page: &str| {
        let name = "connections_exporter_log_lines_dropped_total ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<f64>().unwrap() > 0.0
    };
    while !dropped(&get(daemon.address, "/metrics").await) {
        assert_eq!(reload(daemon.address).await.0, 500);
    }
    assert!(get(daemon.address, "/-/healthy").await.contains("healthy"));
    let asked = harness.simulator.requests("connections_all");
    while harness.simulator.requests("connections_all") == asked {
        tokio::task::yield_now().await;
    }
    daemon.signal("TERM");
    let (status, _, _) = daemon.end();
    assert!(status.success());
}

#[tokio::test]
async fn while_a_secret_hangs_the_value_read_last_serves_until_it_is_refused() {
    let harness = Harness::start(Sizes::default(), "  interval: 1h\n").await;
    let folder = configured_in_files(&harness, "1s");
    let mut daemon = daemon_in(folder.path(), &["--web.enable-lifecycle"]).await;
    let log = daemon.collect_log();
    page_when(daemon.address, |page| up(page, true)).await;
    let file = token_file(folder.path(), &harness, "acme_slack");
    let token = fs::read_to_string(&file).unwrap();
    hang(&file);
    let successes = |page: &str| {
        let start = format!("polls_total{{system=\"zis\",{SLACK},outcome=\"success\"}} ");
        let (_, rest) = page.split_once(&start).unwrap();
        rest.lines().next().unwrap().parse::<f64>().unwrap()
    };
    // More than the one poll that may have read the file before.
    let before = successes(&get(daemon.address, "/metrics").await);
    page_when(daemon.address, |page| successes(page) > before + 2.0).await;
    // A reload while the file hangs succeeds too.
    assert_eq!(reload(daemon.address).await.0, 200);
    harness.simulator.fail(Fault {
        target: Some("acme_slack".to_owned()),
        ..Fault::new(Kind::RevokedToken)
    });
    let credential = |page: &str| up(page, false) && page.contains("reason=\"credential\"");
    page_when(daemon.address, credential).await;
    let told = format!(
        "the file {} was not read within 5 s, and the value read last was refused",
        file.display()
    );
    answer_when(daemon.address, "/", |page| page.contains(&told)).await;
    harness.simulator.heal();
    mend(&file, &token);
    page_when(daemon.address, |page| up(page, true)).await;
    // The target can be listed before its file is read again: the token is the same.
    for part in [
        "was not read within 5 s: the value read last is used",
        "a secret cannot be read: what needs it fails until it can",
        "can be read again",
    ] {
        logged(&log, part).await;
    }
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
    assert!(!log.lock().unwrap().contains(token.trim()));
}

#[tokio::test]
async fn a_daemon_starts_while_a_secret_hangs_and_that_target_fails_until_it_can_be_read() {
    let harness = Harness::start(Sizes::default(), "  interval: 1h\n").await;
    let folder = configured_in_files(&harness, "1s");
    let file = token_file(folder.path(), &harness, "acme_slack");
    let token = fs::read_to_string(&file).unwrap();
    hang(&file);
    let daemon = daemon_in(folder.path(), &[]).await;
    page_when(daemon.address, |page| {
        up(page, false) && page.matches("target_up{").count() > 2 && page.contains("} 1")
    })
    .await;
    let told = format!("the file {} was not read within 5 s", file.display());
    answer_when(daemon.address, "/", |page| page.contains(&told)).await;
    mend(&file, &token);
    page_when(daemon.address, |page| up(page, true)).await;
}

#[tokio::test]
async fn a_reload_gives_up_a_file_that_hangs_and_the_next_one_does_not_wait_for_it() {
    let harness = Harness::start(Sizes::default(), "  interval: 1h\n").await;
    let folder = configured_in_files(&harness, "1h");
    let daemon = daemon_in(folder.path(), &["--web.enable-lifecycle"]).await;
    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    hang(&file);
    let (status, answer) = reload(daemon.address).await;
    let told = format!("{}: the file was not read within 5 s", file.display());
    assert!(status == 500 && answer.contains(&told), "{answer}");
    mend(&file, &text);
    let (status, answer) = reload(daemon.address).await;
    assert_eq!(status, 200, "{answer}");
}

/// Returns a `--config.check` command on these configurations; the text `FIFO` makes a file hang.
fn checked(folder: &Path, name: &str, config: &str, web: Option<&str>) -> Command {
    let write = |kind: &str, text: &str| {
        let file = folder.join(format!("{name}-{kind}.yaml"));
        match text {
            "FIFO" => hang(&file),
            text => fs::write(&file, text).unwrap(),
        }
        file
    };
    let mut command = exporter(&["--config.check", "--config.file"]);
    command.arg(write("config", config)).env("S", "s3cret");
    if let Some(web) = web {
        command.arg("--web.config.file").arg(write("web", web));
    }
    command
}

#[test]
fn a_check_names_each_file_that_it_gave_up() {
    const ZIS: &str = "zis:\n  - account: a\n    subdomain: a\n";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    hang(&folder.join("fifo"));
    let good = format!("{ZIS}    integrations: [{{name: n, token_env: S}}]\n");
    let secret = format!("{ZIS}    integrations: [{{name: n, token_file: fifo}}]\n");
    let ca = format!("{ZIS}    ca_file: fifo\n    integrations: [{{name: n, token_env: S}}]\n");
    let tls = |cert, key| format!("tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n");
    let many: Vec<_> = (0..300)
        .map(|n| {
            hang(&folder.join(format!("hangs{n}")));
            format!("{{name: n{n}, token_file: ./hangs{n}}}")
        })
        .collect();
    let many = format!("{ZIS}    integrations: [{}]\n", many.join(", "));
    let cases = [
        (
            "main",
            "FIFO",
            None,
            "main-config.yaml: the file was not read within 5 s",
        ),
        (
            "web",
            &good,
            Some("FIFO".to_owned()),
            "web-web.yaml: the file was not read within 5 s",
        ),
        (
            "secret",
            &secret,
            None,
            "zis[0].integrations[0].token_file: fifo was not read within 5 s",
        ),
        (
            "ca",
            &ca,
            None,
            "zis[0].ca_file: fifo was not read within 5 s",
        ),
        (
            "cert",
            &good,
            Some(tls("fifo", "none")),
            "tls_server_config.cert_file: fifo was not read within 5 s",
        ),
        (
            "key",
            &good,
            Some(tls("none", "fifo")),
            "tls_server_config.key_file: fifo was not read within 5 s",
        ),
        (
            "many",
            &many,
            None,
            "many-config.yaml: and 200 more problems",
        ),
    ];
    let running: Vec<_> = cases
        .into_iter()
        .map(|(name, config, web, told)| {
            let mut command = checked(folder, name, config, web.as_deref());
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            (command.spawn().unwrap(), told)
        })
        .collect();
    for (child, told) in running {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{told} not in {said}");
    }
}

#[test]
fn a_daemon_whose_configuration_hangs_ends_by_a_signal_or_after_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    hang(&file);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let start = || {
        let mut command = exporter(&["--config.file", file.to_str().unwrap()]);
        Daemon::spawn(&mut command, nowhere)
    };
    let (mut ended, mut given_up) = (start(), start());
    ended.signal("TERM");
    let (_, _, said) = ended.end();
    assert!(!said.contains("not read"), "{said}");
    let (status, _, said) = given_up.end();
    assert_eq!(status.code(), Some(1));
    let told = format!("{}: the file was not read within 5 s\n", file.display());
    assert_eq!(said, told);
}

/// Returns the write end of a pipe whose read end is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_has_gone_ends_no_process_by_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, "no_key: 1\n").unwrap();
    let broken = ["--config.check", "--config.file", file.to_str().unwrap()];
    for arguments in [&broken[..], &["--help"], &["healthcheck", "--help"]] {
        let mut command = exporter(arguments);
        let status = command.stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.signal(), None, "{arguments:?}");
        assert_ne!(status.code(), Some(134), "{arguments:?}");
    }
    for (name, flag) in [
        ("demo", "--web.listen-address"),
        ("simulate", "--simulator.listen-address"),
    ] {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = exporter(&[name, flag, &address.to_string()]);
        command.stdout(closed()).stderr(closed());
        let mut child = command.spawn().unwrap();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "{name} ended");
        }
        let id = child.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap();
        assert!(child.wait().unwrap().success(), "{name}");
    }
}

#[test]
fn a_simulator_whose_configuration_nobody_reads_serves_and_ends() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = exporter(&["simulate", "--simulator.integrations=5000"]);
    command.arg(format!("--simulator.listen-address={address}"));
    let mut simulator = Daemon::start(&mut command, address);
    simulator.signal("TERM");
    assert!(simulator.end().0.success());
}

#[test]
fn a_failed_start_ends_though_nobody_reads_why() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // Fill the pipe completely.
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while std::io::Write::write(&mut writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut command = exporter(&["demo", "--web.listen-address", &address.to_string()]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn an_abort_leaves_no_core_dump_unless_a_flag_asks_for_it() {
    for flag in [None, Some("--debug.core-dumps")] {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .current_dir(folder.path())
            .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
            .arg(exporter(&[]).get_program())
            .args(["demo", "--web.listen-address", &address.to_string()])
            .args(flag);
        let mut daemon = Daemon::start(&mut command, address);
        daemon.signal("ABRT");
        let (status, _, _) = daemon.end();
        // With the flag, the machine's settings decide whether a core is dumped.
        assert!(flag.is_some() || !status.core_dumped());
    }
}
