//! The real process serves and exits on disks that are slow or hang, and with few descriptors.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use connections_simulator::Sizes;

use crate::daemon::{
    Daemon, answer_when, configured_in_files, daemon_in_files, exporter, free_port, get, page_when,
    ready,
};
use crate::harness::{Harness, ONCE, Page};
use crate::restarts::{files, files_when};

/// Number of targets of the default simulator: three integrations, and four of five entities.
const TARGETS: f64 = 7.0;

/// Maximum duration of a shutdown.
///
/// Far above the 5 s that a shutdown takes, and far below a shutdown that waits for the disk.
const ENDS: Duration = Duration::from_secs(15);

/// Slow disk that can be made to hang.
struct Disk {
    folder: tempfile::TempDir,
    sync: Duration,
}

impl Disk {
    fn new(sync: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/behaviour/startup/disk.c"
        );
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("disk.so"))
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success());
        Self { folder, sync }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("disk/state")
    }

    fn hangs(&self) -> PathBuf {
        self.folder.path().join("hangs")
    }

    fn hang(&self) {
        fs::write(self.hangs(), "").unwrap();
    }

    fn heal(&self) {
        fs::remove_file(self.hangs()).unwrap();
    }

    /// Starts a daemon with its state on this disk, and waits until it listens.
    async fn daemon(&self, config: &Path) -> Daemon {
        let port = free_port();
        let mut command = exporter(&["--web.enable-lifecycle", "--config.file"]);
        command
            .arg(config)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--state.dir={}", self.state().display()))
            .env("T", "t")
            .env("LD_PRELOAD", self.folder.path().join("disk.so"))
            .env("DISK", self.folder.path().join("disk"))
            .env("DISK_SYNC_US", self.sync.as_micros().to_string())
            .env("DISK_HANGS", self.hangs());
        listening(command, port).await
    }
}

async fn listening(mut command: Command, port: u16) -> Daemon {
    let start = move || Daemon::start(&mut command, ([127, 0, 0, 1], port).into());
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Stops the daemon with SIGTERM, and returns its log.
async fn ends(mut daemon: Daemon) -> String {
    let begun = Instant::now();
    daemon.signal("TERM");
    let (status, _, logged) = tokio::task::spawn_blocking(move || daemon.end())
        .await
        .unwrap();
    assert!(begun.elapsed() < ENDS, "{:?}: {logged}", begun.elapsed());
    assert!(status.success(), "{logged}");
    logged
}

async fn healthy(address: SocketAddr) {
    let begun = Instant::now();
    let answer = get(address, "/-/healthy").await;
    assert!(answer.contains("is healthy"), "{answer}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

async fn all_up(address: SocketAddr, targets: f64) -> Page {
    let up = |page: &str| Page(page.to_owned()).sum(&["target_up{"]) == targets;
    Page(page_when(address, up).await)
}

/// Writes a configuration of this many accounts at a closed port, with first polls within an hour.
fn many(folder: &Path, accounts: usize) -> PathBuf {
    let mut text = "poll:\n  interval: 1h\n  first_poll_within: 1h\nzis:\n".to_owned();
    for n in 0..accounts {
        writeln!(
            text,
            "- {{account: a{n}, base_url: 'http://127.0.0.1:1', integrations: [{{name: \
            i, token_env: T}}]}}"
        )
        .unwrap();
    }
    let path = folder.join("many.yaml");
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn thousands_of_accounts_come_up_beside_what_is_served_however_slow_the_disk_is() {
    // A tenth of a second for each account would be four minutes on one thread.
    let disk = Disk::new(Duration::from_millis(33));
    let config = many(disk.folder.path(), 2500);
    let daemon = disk.daemon(&config).await;
    healthy(daemon.address).await;
    let answer = get(daemon.address, "/-/ready").await;
    assert!(answer.starts_with("Not ready: accounts"), "{answer}");
    let of_accounts = |answer: &str| answer.matches("__param_account").count();
    let listed = answer_when(daemon.address, "/sd", |answer| of_accounts(answer) > 0).await;
    assert_eq!(of_accounts(&listed), 2500, "all or none of them");
    // The daemon is still writing.
    files_when(&disk.state(), |files| files.len() > 20).await;
    healthy(daemon.address).await;
    ends(daemon).await;
    assert!(files(&disk.state()).len() < 2000, "it was not that slow");
}

#[tokio::test]
async fn without_a_state_folder_thousands_of_accounts_do_not_hold_up_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = many(folder.path(), 2500);
    for signal_at_once in [true, false] {
        let port = free_port();
        let mut command = exporter(&["--config.file"]);
        command
            .arg(&config)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("T", "t");
        let daemon = listening(command, port).await;
        if !signal_at_once {
            healthy(daemon.address).await;
        }
        ends(daemon).await;
    }
}

#[tokio::test]
async fn a_disk_that_hangs_at_the_start_is_done_without_and_used_once_it_is_back() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1s");
    let disk = Disk::new(Duration::ZERO);
    disk.hang();
    let config = folder.path().join("config.yaml");
    let daemon = disk.daemon(&config).await;
    healthy(daemon.address).await;
    let page = all_up(daemon.address, TARGETS).await;
    assert!(page.value(&["state_write_failures_total"]).unwrap() > 0.0);
    assert!(
        !files(&disk.state())
            .iter()
            .any(|file| file.ends_with("pace.json")),
        "nothing is on the disk"
    );
    disk.heal();
    let has_all = |files: &[PathBuf]| {
        let of_targets = |file: &&PathBuf| file.display().to_string().contains("/target.");
        files.iter().filter(of_targets).count() as f64 == TARGETS
    };
    files_when(&disk.state(), has_all).await;
    let logged = ends(daemon).await;
    assert_eq!(logged.matches("does not respond").count(), 1, "{logged}");
    assert!(logged.contains("responds again"), "{logged}");
}

#[tokio::test]
async fn sigterm_ends_it_whatever_the_disk_hangs_in() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1s");
    let disk = Disk::new(Duration::ZERO);
    let config = folder.path().join("config.yaml");
    // The disk hangs in the last writes.
    let daemon = disk.daemon(&config).await;
    all_up(daemon.address, TARGETS).await;
    disk.hang();
    ends(daemon).await;
    // The disk hangs while the state directory is opened.
    let daemon = disk.daemon(&config).await;
    healthy(daemon.address).await;
    ends(daemon).await;
}

#[tokio::test]
async fn a_reload_that_begins_accounts_does_not_wait_for_a_disk_that_hangs() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1s");
    let config = folder.path().join("config.yaml");
    let whole = fs::read_to_string(&config).unwrap();
    let (without, _) = whole.split_once("zis:").unwrap();
    fs::write(&config, without).unwrap();
    let disk = Disk::new(Duration::ZERO);
    let daemon = disk.daemon(&config).await;
    all_up(daemon.address, TARGETS - 3.0).await;
    disk.hang();
    fs::write(&config, whole).unwrap();
    let client = reqwest::Client::new();
    let reload = client.post(format!("http://{}/-/reload", daemon.address));
    let answer = tokio::time::timeout(Duration::from_mins(1), reload.send());
    let answer = answer.await.unwrap().unwrap().text().await.unwrap();
    assert!(answer.contains("1 added"), "{answer}");
    all_up(daemon.address, TARGETS).await;
    disk.heal();
    ends(daemon).await;
}

#[tokio::test]
async fn what_is_no_file_in_the_place_of_one_holds_up_nobody() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (folder, daemon) = daemon_in_files(&harness, "1h", &[&flag]).await;
    all_up(daemon.address, TARGETS).await;
    ends(daemon).await;
    let kept = files(state.path());
    let fifos = ["pace.json", "discovery.json", "target."].map(|name| {
        let named = |file: &&PathBuf| file.display().to_string().contains(&format!("/{name}"));
        let file = kept.iter().find(named).unwrap();
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        file.display().to_string()
    });
    let daemon = crate::daemon::daemon_in(folder.path(), &[&flag]).await;
    all_up(daemon.address, TARGETS).await;
    let logged = ends(daemon).await;
    for fifo in fifos {
        let ignored = |line: &&str| line.contains(&fifo) && line.contains("no regular file");
        assert_eq!(
            logged.lines().filter(ignored).count(),
            1,
            "{fifo}: {logged}"
        );
    }
}

#[tokio::test]
async fn a_state_folder_that_was_removed_is_not_used_by_two_processes() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("state");
    let flag = format!("--state.dir={}", path.display());
    let (folder, first) = daemon_in_files(&harness, "1s", &[&flag]).await;
    all_up(first.address, TARGETS).await;
    let failures = |page: &str| {
        let page = Page(page.to_owned());
        page.value(&["state_write_failures_total"]).unwrap()
    };
    files_when(&path, |files| files.len() > 2).await;
    fs::remove_dir_all(&path).ok();
    // The daemon creates the directory again, and locks it.
    page_when(first.address, |page| failures(page) > 0.0).await;
    files_when(&path, |files| {
        files.len() > 2 && files.contains(&path.join("lock"))
    })
    .await;
    let config = folder.path().join("config.yaml");
    let mut second = exporter(&["--web.listen-address=127.0.0.1:0", &flag, "--config.file"]);
    let refused = second.arg(&config).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("another process uses this directory"),
        "{said}"
    );

    // Another process creates and locks the directory first.
    first.stop();
    fs::remove_dir_all(&path).unwrap();
    let second = crate::daemon::daemon_in(folder.path(), &[&flag]).await;
    ready(second.address).await;
    first.signal("CONT");
    let before = failures(&get(first.address, "/metrics").await);
    page_when(first.address, |page| failures(page) > before + 2.0).await;
    assert_eq!(failures(&get(second.address, "/metrics").await), 0.0);
    let logged = ends(first).await;
    // A write that was in progress may be the first to fail, with another reason.
    let warned = |line: &&str| line.contains("another process uses it now");
    assert_eq!(logged.lines().filter(warned).count(), 1, "{logged}");
    ends(second).await;
}

#[tokio::test]
async fn a_link_in_the_state_folder_leads_nowhere() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), state.path().join("zis.acme")).unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let (_folder, daemon) = daemon_in_files(&harness, "1h", &[&flag]).await;
    let page = all_up(daemon.address, TARGETS).await;
    assert!(page.value(&["state_write_failures_total"]).unwrap() > 0.0);
    let logged = ends(daemon).await;
    assert!(logged.contains("zis.acme is a symbolic link"), "{logged}");
    assert!(
        logged.contains("others may write to the state directory"),
        "{logged}"
    );
    assert_eq!(files(elsewhere.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn idle_clients_leave_descriptors_for_polls_and_for_the_state_folder() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = configured_in_files(&harness, "1s");
    for descriptors in [24, 64] {
        let state = tempfile::tempdir().unwrap();
        let port = free_port();
        let binary = env!("CARGO_BIN_EXE_connections-exporter");
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("ulimit -n {descriptors}; exec \"$@\""),
                "sh",
                binary,
            ])
            .arg("--config.file")
            .arg(folder.path().join("config.yaml"))
            .arg(format!("--state.dir={}", state.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let daemon = listening(command, port).await;
        let idle = (0..80).map(|_| TcpStream::connect(daemon.address).unwrap());
        let idle: Vec<_> = idle.collect();
        let asked = harness.simulator.requests("connections_all");
        let deadline = Instant::now() + Duration::from_secs(30);
        while harness.simulator.requests("connections_all") < asked + 6 {
            assert!(Instant::now() < deadline, "it does not poll");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        files_when(state.path(), |files| {
            let of_targets = |file: &&PathBuf| file.display().to_string().contains("/target.");
            files.iter().filter(of_targets).count() as f64 == TARGETS
        })
        .await;
        drop(idle);
        let logged = ends(daemon).await;
        let failed = logged.matches("could not be accepted").count();
        assert!(failed <= 1, "{failed} equal warnings");
        assert!(!logged.contains("cannot be written"), "{logged}");
        assert_eq!(
            logged.matches("few files may be open").count(),
            1,
            "{logged}"
        );
    }
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1h");
    let port = free_port();
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_connections-exporter");
    command
        .args([
            "-c",
            "ulimit -S -n 64; ulimit -H -n 1500; exec \"$@\"",
            "sh",
            binary,
        ])
        .arg("--config.file")
        .arg(folder.path().join("config.yaml"))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let daemon = listening(command, port).await;
    healthy(daemon.address).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let open = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = open.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["1500", "1500"]);
    ends(daemon).await;
}
