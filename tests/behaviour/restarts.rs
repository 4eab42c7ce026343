//! The real process, killed and restarted on its state directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connections_simulator::{Fault, Kind, RetryAfter, Sizes};

use crate::daemon::{daemon_in, daemon_in_files, get, page_when, ready};
use crate::harness::{Harness, ONCE, PATIENCE, Page};

const ENDPOINTS: [&str; 4] = [
    "oauth_token",
    "entities",
    "entity_connections",
    "connections_all",
];

/// Number of targets of the default simulator: three integrations, and four of five entities.
pub(crate) const TARGETS: f64 = 7.0;

pub(crate) fn asked(harness: &Harness) -> [u64; 4] {
    ENDPOINTS.map(|endpoint| harness.simulator.requests(endpoint))
}

/// Lists all files below a directory; those that a daemon removes meanwhile may be missing.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Vec::new(),
        entries => entries.unwrap(),
    };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Waits until the files below a directory satisfy `what`.
pub(crate) async fn files_when(folder: &Path, what: impl Fn(&[PathBuf]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let files = files(folder);
        if what(&files) {
            return;
        }
        assert!(Instant::now() < deadline, "it did not come: {files:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a state file whose path ends in `name` has a content that satisfies `what`.
async fn written(folder: &Path, name: &str, what: impl Fn(&str) -> bool) {
    files_when(folder, |files| {
        let files = files
            .iter()
            .filter(|file| file.display().to_string().ends_with(name));
        // A temporary file may be renamed before it is read.
        let mut texts = files.filter_map(|file| fs::read_to_string(file).ok());
        texts.any(|text| what(&text))
    })
    .await;
}

/// Waits until the daemon has saved its whole state.
pub(crate) async fn all_written(folder: &Path) {
    files_when(folder, |files| {
        let names = files.iter().map(|file| file.display().to_string());
        // The rate limiter of each of the two accounts, Zuora's target list, two files for each
        // target, and the lock. Temporary files are left out.
        names
            .filter(|name| !name.contains(".connections-exporter-"))
            .count() as f64
            == 2.0 * TARGETS + 4.0
    })
    .await;
}

/// Returns the samples of listings, without those that depend on the time or the process.
pub(crate) fn listings(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| {
        line.starts_with("saas_connection")
            && !line.contains("_expires_in_")
            && !line.starts_with("saas_connection_changes_total")
    });
    lines.map(str::to_owned).collect()
}

pub(crate) async fn all_up(address: std::net::SocketAddr, targets: f64) -> String {
    page_when(address, |page| {
        Page(page.to_owned()).sum(&["target_up{"]) == targets
    })
    .await
}

#[tokio::test]
async fn a_killed_daemon_comes_back_with_all_it_knew_and_asks_nothing() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().join("state").display());
    let (folder, daemon) = daemon_in_files(&harness, "1h", &[&flag]).await;
    let before = all_up(daemon.address, TARGETS).await;
    all_written(state.path()).await;
    // The drop kills the process.
    drop(daemon);
    let asked_before = asked(&harness);
    for _ in 0..3 {
        let mut daemon = daemon_in(folder.path(), &[&flag]).await;
        ready(daemon.address).await;
        let page = get(daemon.address, "/metrics").await;
        assert_eq!(listings(&page), listings(&before));
        assert_eq!(Page(page).sum(&["target_restored{"]), TARGETS);
        daemon.signal("KILL");
        let (_, _, logged) = daemon.end();
        assert!(!logged.contains("level=warn"), "{logged}");
    }
    assert_eq!(asked(&harness), asked_before);
}

#[tokio::test]
async fn a_pause_outlives_the_process() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    harness.simulator.fail(Fault {
        endpoint: Some("connections_all".to_owned()),
        retry_after: Some(RetryAfter::Seconds(600)),
        ..Fault::new(Kind::TooManyRequests)
    });
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1s", &[&flag]).await;
    let paused = |page: &str| {
        let page = Page(page.to_owned());
        page.value(&["paused_until", "zis"]).filter(|at| *at > 0.0)
    };
    page_when(daemon.address, |page| paused(page).is_some()).await;
    written(state.path(), "zis.acme/pace.json", |text| {
        !text.contains("\"paused_until\":null")
    })
    .await;
    let until = paused(&get(daemon.address, "/metrics").await);
    drop(daemon);
    let asked = harness.simulator.requests("connections_all");
    harness.simulator.heal();
    let daemon = daemon_in(folder.path(), &[&flag]).await;
    // The other account is still polled.
    let page = page_when(daemon.address, |page| {
        Page(page.to_owned()).sum(&["polls_total{", "zuora", "success"]) > 5.0
    })
    .await;
    let now = paused(&page).unwrap();
    assert!((now - until.unwrap()).abs() < 1.0, "{now} and {until:?}");
    assert_eq!(harness.simulator.requests("connections_all"), asked);
    let budget = |kind| Page(page.clone()).value(&["budget_requests_per_second", "zis", kind]);
    let (effective, configured) = (budget("effective"), budget("configured"));
    assert!(
        effective.unwrap() < configured.unwrap() * 0.6,
        "{effective:?}"
    );
}

#[tokio::test]
async fn files_that_are_no_good_are_reported_and_cost_only_themselves() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1h", &[&flag]).await;
    let page = all_up(daemon.address, TARGETS).await;
    all_written(state.path()).await;
    drop(daemon);
    let targets: Vec<_> = files(state.path())
        .into_iter()
        .filter(|file| file.display().to_string().contains("/target."))
        .collect();
    let text = |n: usize| fs::read_to_string(&targets[n]).unwrap();
    let half = text(0);
    fs::write(&targets[0], &half[..half.len() / 2]).unwrap();
    fs::write(&targets[1], text(2)).unwrap();
    let future = text(3).replacen("_state\":1", "_state\":2", 1);
    fs::write(&targets[3], future).unwrap();
    fs::write(&targets[4], [0_u8, 159, 146, 150]).unwrap();
    let listing = targets[5].display().to_string();
    let listing = listing.replace("/target.", "/listing.");
    fs::write(&listing, text(5)).unwrap();
    let connections = |page: &str| page.matches("saas_connection_info{").count();
    let before = connections(&page);
    let mut daemon = daemon_in(folder.path(), &[&flag]).await;
    // A target without its listing is polled as after a first start, although it was up.
    let page = page_when(daemon.address, |page| connections(page) == before).await;
    assert_eq!(Page(page).sum(&["target_restored{"]), TARGETS - 5.0);
    daemon.signal("TERM");
    let (_, _, logged) = daemon.end();
    let ignored: Vec<_> = logged
        .lines()
        .filter(|line| line.contains("is ignored"))
        .collect();
    assert_eq!(ignored.len(), 5, "{logged}");
    assert!(ignored.iter().any(|line| line.contains(&listing)));
    for (n, problem) in [
        (0, "only half written"),
        (1, "belongs to another"),
        (3, "of format 2"),
        (4, "not of this program"),
    ] {
        let file = targets[n].display().to_string();
        assert!(
            ignored
                .iter()
                .any(|line| line.contains(&file) && line.contains(problem)),
            "{problem}: {ignored:?}"
        );
    }
}

#[tokio::test]
async fn a_listing_is_written_again_only_if_it_changed() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1s", &[&flag]).await;
    let polls = |page: &str| {
        let page = Page(page.to_owned());
        page.value(&["polls_total{", "acme_slack", "success"])
    };
    // Which grants the tokens have is known from the second poll on.
    page_when(daemon.address, |page| polls(page) > Some(2.0)).await;
    all_written(state.path()).await;
    let file = |kind: &str| {
        state
            .path()
            .join(format!("zis.acme/{kind}.acme_slack.json"))
    };
    let written_at = |kind| fs::metadata(file(kind)).unwrap().modified().unwrap();
    let (target, listing) = (written_at("target"), written_at("listing"));
    let polled = polls(&get(daemon.address, "/metrics").await).unwrap_or_default();
    page_when(daemon.address, |page| polls(page) > Some(polled + 2.0)).await;
    assert!(written_at("target") > target);
    assert_eq!(written_at("listing"), listing);
    harness.simulator.change(|world| {
        let connections = &mut world.integrations[0].connections;
        connections[0].name = "another".to_owned();
    });
    files_when(state.path(), |_| written_at("listing") > listing).await;
    let shown = page_when(daemon.address, |page| page.contains("\"another\"")).await;
    assert!(polls(&shown) > Some(polled));
    // What was listed last is restored with the time of the last poll that gave it.
    drop(daemon);
    let last = fs::read_to_string(file("target")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().nth(1).unwrap()).unwrap();
    let last: jiff::Timestamp = last["last_success"].as_str().unwrap().parse().unwrap();
    let text = fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    fs::write(folder.path().join("config.yaml"), text.replace("1s", "1h")).unwrap();
    let daemon = daemon_in(folder.path(), &[&flag]).await;
    ready(daemon.address).await;
    let page = get(daemon.address, "/metrics").await;
    assert!(page.contains("\"another\""));
    let page = Page(page);
    let shown = page.value(&["target_last_success_timestamp_seconds{", "acme_slack"]);
    let difference = shown.unwrap() - last.as_millisecond() as f64 / 1000.0;
    assert!(difference.abs() < 0.01, "{difference}");
}

#[tokio::test]
async fn however_often_it_is_killed_while_it_writes_no_file_is_half_of_one() {
    let sizes = Sizes {
        integrations: 4,
        integration_connections: 300,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1s", &[&flag]).await;
    drop(daemon);
    for round in 0..12_u64 {
        let mut daemon = daemon_in(folder.path(), &[&flag]).await;
        let polled = |page: &str| Page(page.to_owned()).sum(&["polls_total{", "success"]) > 2.0;
        page_when(daemon.address, polled).await;
        // Each round kills the process at another moment of its writes.
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        daemon.signal("KILL");
        let (_, _, logged) = daemon.end();
        assert!(!logged.contains("is ignored"), "{logged}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_a_warning_and_a_metric() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let (_folder, mut daemon) =
        daemon_in_files(&harness, "1h", &["--state.dir=/proc/nowhere"]).await;
    let page = Page(all_up(daemon.address, TARGETS).await);
    assert!(page.value(&["state_write_failures_total"]).unwrap() > 2.0);
    daemon.signal("TERM");
    let (status, _, logged) = daemon.end();
    assert!(status.success());
    for warning in ["cannot be locked", "cannot be written"] {
        assert_eq!(logged.matches(warning).count(), 1, "{logged}");
    }
}

#[tokio::test]
async fn a_folder_in_use_is_one_sentence() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1h", &[&flag]).await;
    // The port is open before the daemon has locked the directory.
    get(daemon.address, "/-/healthy").await;
    let config = folder.path().join("config.yaml").display().to_string();
    let second = crate::daemon::exporter(&[
        "--config.file",
        &config,
        &flag,
        "--web.listen-address=127.0.0.1:0",
    ])
    .output()
    .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(
        (second.status.code(), said.as_str()),
        (
            Some(1),
            format!("{flag}: another process uses this directory: stop that process, choose another directory, or set --state.wait to take over when that process ends\n")
                .as_str()
        )
    );
}
