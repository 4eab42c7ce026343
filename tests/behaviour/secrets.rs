//! Secrets and personal data in a vendor's response do not leave the parser or stay in memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use connections_simulator::{Fault, Kind, Sizes};
use memchr::memmem;

use crate::configurations::taken;
use crate::daemon::{configured_in_files, daemon_in, exporter, get, page_when};
use crate::harness::{Harness, ONCE, PATIENCE};
use crate::restarts::files;

/// Counts the occurrences of a text in the writable memory of a process.
fn in_memory(process: u32, text: &[u8]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|may| may.starts_with("rw"))
    }) {
        let (from, to) = line
            .split_whitespace()
            .next()
            .unwrap()
            .split_once('-')
            .unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let length = usize::try_from(u64::from_str_radix(to, 16).unwrap() - from).unwrap();
        let mut bytes = vec![0; length];
        // Some special mappings cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += memmem::find_iter(&bytes, text).count();
        }
    }
    found
}

/// Waits until the process no longer has the text in its memory.
///
/// A running task may still hold the text for a moment. Text that was kept would stay.
async fn forgotten(id: u32, text: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = in_memory(id, text);
        if left == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{left} times in the memory of the daemon"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the report of `check --report` and the output of the command.
async fn reported(config: &Path, folder: &Path) -> String {
    let report = folder.join("report.json");
    let mut check = exporter(&["check", "--log.level=trace", "--fail-on=unlisted"]);
    check.arg("--config.file").arg(config);
    check.arg("--report").arg(&report);
    let check = tokio::task::spawn_blocking(move || check.output().unwrap());
    let check = check.await.unwrap();
    let mut shown = std::fs::read_to_string(report).unwrap();
    for said in [check.stdout, check.stderr] {
        shown += &String::from_utf8(said).unwrap();
    }
    shown
}

#[tokio::test]
async fn what_a_vendor_sends_is_nowhere_after_a_poll() {
    let sizes = Sizes {
        integrations: 5,
        integration_connections: 250,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let planted = harness.simulator.change(|world| world.planted.clone());
    assert!(
        in_memory(std::process::id(), planted.as_bytes()) > 0,
        "the search finds what is there"
    );
    for fault in [
        None,
        Some(Kind::RevokedToken),
        Some(Kind::ExpiredToken),
        Some(Kind::Refuse),
    ] {
        harness.simulator.heal();
        if let Some(kind) = fault {
            for endpoint in ["connections_all", "entity_connections"] {
                harness.simulator.fail(Fault {
                    endpoint: Some(endpoint.to_owned()),
                    ..Fault::new(kind)
                });
            }
        }
        let state = tempfile::tempdir().unwrap();
        let flag = format!("--state.dir={}", state.path().display());
        // Without `--debug.core-dumps` only root can read the memory of the process.
        let arguments = ["--log.level=trace", &flag, "--debug.core-dumps"];
        let folder = configured_in_files(&harness, "1h");
        // A second account of the same subdomain, which requests its tokens with an admin client.
        let (id, secret) = harness.simulator.change(|world| world.admin.clone());
        std::fs::write(folder.path().join("ADMIN"), &secret).unwrap();
        let file = folder.path().join("config.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let admin = format!(
            "\n  - account: globex\n    base_url: http://{}\n    requests_per_minute: 60000\n    \
                admin_client: {{client_id: {id}, client_secret_file: ADMIN}}\n    integrations: \
                all\n",
            harness.vendor
        );
        std::fs::write(&file, text.trim_end().to_owned() + &admin).unwrap();
        let mut daemon = daemon_in(folder.path(), &arguments).await;
        let polled = if fault.is_some() {
            "polls_total{system=\"zis\",account=\"acme\",target=\"acme_slack\",outcome=\"failure\"} 1"
        } else {
            "outcome=\"success\"} 1"
        };
        page_when(daemon.address, |page| page.contains(polled)).await;
        page_when(daemon.address, |page| {
            page.matches("target_up{").count() == 14
        })
        .await;
        forgotten(daemon.id(), planted.as_bytes()).await;
        let mut shown = String::new();
        for path in ["/metrics", "/", "/-/ready", "/-/healthy", "/nowhere"] {
            shown += &get(daemon.address, path).await;
        }
        let url = format!("http://{}/metrics", daemon.address);
        let asked = reqwest::Client::new().get(url);
        let asked = asked.header("accept", "application/openmetrics-text");
        let page = asked.send().await.unwrap().text().await.unwrap();
        assert!(page.ends_with("# EOF\n"));
        shown += &page;
        daemon.signal("TERM");
        let (_, said, logged) = daemon.end();
        shown.extend([said, logged]);
        let written = files(state.path());
        assert!(written.len() > 10, "{written:?}");
        for file in written {
            shown += &std::fs::read_to_string(file).unwrap();
        }
        shown += &reported(&file, state.path()).await;
        let own = harness.simulator.change(|world| {
            let tokens = world
                .integrations
                .iter()
                .map(|integration| &integration.token);
            let own = tokens.chain([&world.tenant.client_secret, &world.admin.1]);
            own.cloned().collect::<Vec<_>>()
        });
        let made = harness.simulator.tokens();
        assert!(fault.is_some() || made.len() > 6, "{made:?}");
        for secret in [planted.clone()].iter().chain(&own).chain(&made) {
            assert!(
                !shown.contains(secret),
                "{fault:?}: {secret} was shown, logged or written"
            );
        }
    }
}

#[tokio::test]
async fn a_panic_that_prints_the_configuration_prints_no_secret() {
    const SECRET: &str = "planted-own-secret-7d1e";
    let text = "zuora:\n  - account: a\n    base_url: https://rest.zuora.com\n    client_id_env: \
        S\n    client_secret_env: S\nzis:\n  - account: b\n    subdomain: b\n    \
        integrations:\n      - name: n\n        token_env: S\n  - account: c\n    subdomain: \
        c\n    admin_client: {client_id_env: S, client_secret_env: S}\n    integrations: all\n";
    let env = |_: &str| Some(SECRET.to_owned());
    let config = taken(text, env).await;
    assert_eq!(config.accounts.len(), 3);
    let panic = std::panic::catch_unwind(AssertUnwindSafe(|| panic!("{config:?} {config:#?}")))
        .unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("requests_per_minute"));
    assert!(!message.contains(SECRET), "{message}");
}
