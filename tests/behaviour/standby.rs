//! Two real processes with one state directory: one is active, the other one waits.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use connections_simulator::Sizes;

use crate::daemon::{
    Daemon, answer_when, configured_in_files, daemon_in_files, exporter, free_port, get, logged,
    page_when, ready,
};
use crate::harness::{Harness, ONCE};
use crate::restarts::{TARGETS, all_up, all_written, asked, listings};
use crate::supervised::{supervisor, told_next};

const STANDBY: &str = "connections_exporter_standby 1";
const ACTIVE: &str = "connections_exporter_standby 0";

/// Starts a second process on the configuration and the state directory of another one.
fn second(folder: &Path, flag: &str, more: impl FnOnce(&mut std::process::Command)) -> Daemon {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = folder.join("config.yaml").display().to_string();
    let mut command = exporter(&["--config.file", &config, flag, "--state.wait"]);
    command.arg(format!("--web.listen-address={address}"));
    more(&mut command);
    Daemon::start(&mut command, address)
}

async fn standby(daemon: &Daemon) {
    page_when(daemon.address, |page| page.contains(STANDBY)).await;
}

#[tokio::test]
async fn a_standby_process_takes_over_what_the_killed_one_knew_and_asks_nothing() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().join("state").display());
    let (folder, mut first) = daemon_in_files(&harness, "1h", &[&flag, "--state.wait"]).await;
    let before = all_up(first.address, TARGETS).await;
    assert!(before.contains(ACTIVE));
    all_written(state.path()).await;
    let asked_before = asked(&harness);
    for signal in ["KILL", "TERM", "KILL"] {
        let next = second(folder.path(), &flag, |_| {});
        standby(&next).await;
        let url = |path: &str| format!("http://{}{path}", next.address);
        let healthy = reqwest::get(url("/-/healthy")).await.unwrap();
        assert_eq!(healthy.status(), 200);
        let not_ready = reqwest::get(url("/-/ready")).await.unwrap();
        assert_eq!(not_ready.status(), 503);
        assert_eq!(
            not_ready.text().await.unwrap(),
            "Not ready: another process uses the state directory, and this one is standby.\n"
        );
        // A service discovery without targets would remove those of the active process.
        assert_eq!(reqwest::get(url("/sd")).await.unwrap().status(), 503);
        let page = get(next.address, "/metrics").await;
        assert_eq!(listings(&page), [""; 0]);
        let status_page = get(next.address, "/").await;
        assert!(status_page.contains("This process is standby"));
        assert!(status_page.contains("A standby process knows no tokens."));

        first.signal(signal);
        first.end();
        ready(next.address).await;
        let page = all_up(next.address, TARGETS).await;
        assert!(page.contains(ACTIVE));
        assert_eq!(listings(&page), listings(&before));
        first = next;
    }
    assert_eq!(asked(&harness), asked_before);
}

#[tokio::test]
async fn a_standby_process_reloads_and_begins_with_what_it_read_last() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, mut first) = daemon_in_files(&harness, "1h", &[&flag]).await;
    all_up(first.address, TARGETS).await;
    let mut next = second(folder.path(), &flag, |command| {
        command.arg("--web.enable-lifecycle");
    });
    let log = next.collect_log();
    standby(&next).await;
    let config = folder.path().join("config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    let reload = format!("http://{}/-/reload", next.address);
    let reload = async || {
        let sent = reqwest::Client::new().post(&reload).send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    };
    // Only the account of Zuora is left.
    let mut zuora: serde_yaml::Value = serde_yaml::from_str(&good).unwrap();
    zuora.as_mapping_mut().unwrap().remove("zis").unwrap();
    fs::write(&config, serde_yaml::to_string(&zuora).unwrap()).unwrap();
    let (status, said) = reload().await;
    assert_eq!(status, 200, "{said}");
    let counts = "accounts: 0 added, 0 replaced, 0 changed, 1 removed, 1 unchanged";
    assert!(said.contains(counts), "{said}");
    fs::write(&config, "no configuration").unwrap();
    let (status, said) = reload().await;
    assert_eq!(status, 500, "{said}");
    logged(&log, "the configuration was not loaded").await;
    let page = get(next.address, "/metrics").await;
    assert!(page.contains("connections_exporter_config_last_reload_successful 0"));

    first.signal("TERM");
    first.end();
    ready(next.address).await;
    logged(&log, "taking over").await;
    let page = get(next.address, "/metrics").await;
    assert!(page.contains("system=\"zuora\""), "{page}");
    assert!(!page.contains("system=\"zis\""), "{page}");
}

#[tokio::test]
async fn a_standby_process_ends_at_once_and_tells_the_supervisor_what_it_does() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, mut first) = daemon_in_files(&harness, "1h", &[&flag]).await;
    all_up(first.address, TARGETS).await;

    let mut stopped = second(folder.path(), &flag, |_| {});
    standby(&stopped).await;
    stopped.signal("TERM");
    let (status, _, log) = stopped.end();
    assert!(status.success(), "{log}");

    let notified = supervisor(folder.path());
    let next = second(folder.path(), &flag, |command| {
        command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    });
    let told = |expected: &[&str]| assert_eq!(told_next(&notified), expected);
    told(&["READY=1", "STATUS=standby"]);
    first.signal("TERM");
    first.end();
    told(&["STATUS=serving"]);
    ready(next.address).await;
    answer_when(next.address, "/-/ready", |answer| {
        answer.contains("every account had its first attempt")
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_locked_is_no_place_to_wait_for() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1h");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let config = folder.path().join("config.yaml").display().to_string();
    let refused = |flags: &[&str]| {
        let mut command = exporter(&["--config.file", &config, "--state.wait"]);
        command.arg("--web.listen-address=127.0.0.1:0").args(flags);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let flag = format!("--state.dir={}", file.display());
    assert_eq!(refused(&[&flag]), format!("{flag}: is not a directory\n"));
    // A directory below it cannot be created.
    let flag = format!("--state.dir={}", file.join("state").display());
    let said = refused(&[&flag]);
    let expected = format!("{flag}: cannot be locked, which --state.wait requires: ");
    assert!(said.starts_with(&expected), "{said}");
    let said = refused(&[]);
    assert!(said.contains("--state.dir <DIRECTORY>"), "{said}");
}
