//! Reloads of the running daemon: responses, applied changes, and no effect on scrapes.

mod load;

use std::fs;
use std::path::PathBuf;

use connections_simulator::{Fault, Kind, Sizes};
use http::{Method, StatusCode};

use crate::daemon::{Daemon, daemon_in_files, get, page_when};
use crate::harness::{Harness, ONCE, Page};
use crate::restarts::{files, files_when};

const LIFECYCLE: &str = "--web.enable-lifecycle";

/// Running daemon, and its configuration file for edits.
struct Reloaded {
    harness: Harness,
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Reloaded {
    async fn start(interval: &str, arguments: &[&str]) -> Self {
        Self::start_with(Sizes::default(), interval, arguments).await
    }

    async fn start_with(sizes: Sizes, interval: &str, arguments: &[&str]) -> Self {
        let harness = Harness::start(sizes, ONCE).await;
        harness.ready().await;
        let (folder, daemon) = daemon_in_files(&harness, interval, arguments).await;
        let this = Self {
            harness,
            folder,
            daemon,
        };
        // The names of entities arrive in a separate response, after the first listings.
        this.page_when(|page| {
            let up = page.samples(&["target_up{"]);
            up.len() > sizes.integrations && up.iter().all(|(_, up)| *up == 1.0)
        })
        .await;
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Changes the configuration file, and returns its previous text.
    fn edit(&self, change: impl FnOnce(&str) -> String) -> String {
        let text = fs::read_to_string(self.file()).unwrap();
        let changed = change(&text);
        assert_ne!(changed, text, "an edit that changes something");
        fs::write(self.file(), changed).unwrap();
        text
    }

    async fn page_when(&self, what: impl Fn(&Page) -> bool) -> Page {
        Page(page_when(self.daemon.address, |text| what(&Page(text.to_owned()))).await)
    }

    async fn page(&self) -> Page {
        Page(get(self.daemon.address, "/metrics").await)
    }

    async fn ask(&self, method: Method, origin: Option<&str>) -> reqwest::Response {
        let url = format!("http://{}/-/reload", self.daemon.address);
        let mut request = reqwest::Client::new().request(method, url);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap()
    }

    async fn reload(&self) -> (StatusCode, String) {
        let answer = self.ask(Method::POST, None).await;
        (answer.status(), answer.text().await.unwrap())
    }
}

/// Returns the text of a configuration without this integration.
fn without(text: &str, integration: &str) -> String {
    let entries: Vec<_> = text.split("      - name: ").collect();
    let left = entries
        .iter()
        .filter(|entry| !entry.starts_with(integration));
    left.copied().collect::<Vec<_>>().join("      - name: ")
}

#[tokio::test]
async fn a_reload_takes_up_the_difference_and_says_which() {
    let this = Reloaded::start("1h", &[LIFECYCLE]).await;
    let before = this.page().await;
    let asked = this.harness.simulator.requests("connections_all");
    let date = before.value(&["config_last_reload_success_timestamp_seconds"]);
    this.edit(|text| without(text, "acme_shopify"));
    let (status, answer) = this.reload().await;
    assert_eq!(
        (status, answer.as_str()),
        (
            StatusCode::OK,
            "The configuration was loaded. accounts: 0 added, 0 replaced, 1 changed, 0 removed, \
                1 unchanged.\n"
        )
    );
    let page = this.page().await;
    assert!(page.samples(&["acme_shopify"]).is_empty());
    for still in ["acme_slack", "Global"] {
        for family in [
            "saas_connections{",
            "polls_total{",
            "last_success_timestamp_seconds{",
        ] {
            let target = format!("\"{still}\"");
            let (then, now) = (
                before.samples(&[family, &target]),
                page.samples(&[family, &target]),
            );
            assert!(!then.is_empty() && then == now, "{then:?} {now:?}");
        }
    }
    assert!(page.value(&["config_last_reload_success_timestamp_seconds"]) > date);
    assert_eq!(this.harness.simulator.requests("connections_all"), asked);
}

#[tokio::test]
async fn sighup_does_the_same_and_a_new_target_is_polled() {
    let mut this = Reloaded::start("1h", &[]).await;
    let whole = this.edit(|text| without(text, "acme_shopify"));
    this.daemon.signal("HUP");
    this.page_when(|page| page.samples(&["acme_shopify"]).is_empty())
        .await;
    this.edit(|_| whole);
    this.daemon.signal("HUP");
    this.page_when(|page| page.value(&["target_up{", "acme_shopify"]) == Some(1.0))
        .await;
    this.daemon.signal("TERM");
    let (status, _, logged) = this.daemon.end();
    assert!(status.success(), "{logged}");
    assert_eq!(
        logged.matches("configuration reloaded").count(),
        2,
        "{logged}"
    );
}

#[tokio::test]
async fn another_credential_and_another_budget_are_used_from_then_on() {
    let this = Reloaded::start("1s", &[LIFECYCLE]).await;
    let budget = ["budget_requests_per_second{", "acme", "configured"];
    assert_eq!(this.page().await.value(&budget), Some(1000.0));
    fs::write(this.folder.path().join("OTHER"), "of-nobody").unwrap();
    let whole = this.edit(|text| {
        let (zuora, zis) = text.split_once("zis:").unwrap();
        let zis = zis
            .replace("token_file: ZIS_TOKEN_0", "token_file: OTHER")
            .replace("60000", "30000");
        format!("{zuora}zis:{zis}")
    });
    assert_eq!(this.reload().await.0, StatusCode::OK);
    let page = this
        .page_when(|page| !page.samples(&["target_failing{", "acme_slack"]).is_empty())
        .await;
    assert_eq!(page.value(&budget), Some(500.0));
    assert_eq!(page.sum(&["target_up{", "acme_shopify"]), 1.0);
    fs::write(this.file(), whole).unwrap();
    assert_eq!(this.reload().await.0, StatusCode::OK);
    let page = this
        .page_when(|page| page.value(&["target_up{", "acme_slack"]) == Some(1.0))
        .await;
    assert_eq!(page.value(&budget), Some(1000.0));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_problem_is_told() {
    let this = Reloaded::start("1h", &[LIFECYCLE]).await;
    let (before, good) = (this.page().await, this.file());
    let whole = this.edit(|text| {
        without(text, "acme_shopify")
            .replace("requests_per_minute: 60000", "requests_per_minute: 0")
            .replace("token_file: ZIS_TOKEN_0", "token_file: ./gone")
            + "\nzuoro: []\n"
    });
    let (status, answer) = this.reload().await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let file = good.display();
    assert_eq!(
        answer,
        format!(
            "The configuration was not loaded: the previous one stays in use.\n\
             {file}:9:26: zuora[0].requests_per_minute: expected a whole number from 1 to 1000000\n\
             {file}:13:26: zis[0].requests_per_minute: expected a whole number from 1 to 1000000\n\
             {file}:16:21: zis[0].integrations[0].token_file: ./gone cannot be read: No such file or directory (os error 2)\n\
             {file}:21:1: zuoro: unknown key: did you mean zuora?\n"
        )
    );
    let page = this.page().await;
    assert_eq!(
        page.value(&["config_last_reload_successful", " 0"]),
        Some(0.0)
    );
    let date = "config_last_reload_success_timestamp_seconds";
    assert_eq!(page.value(&[date]), before.value(&[date]));
    assert_eq!(
        page.samples(&["saas_connections{"]),
        before.samples(&["saas_connections{"])
    );
    fs::write(this.file(), "poll: [").unwrap();
    assert_eq!(this.reload().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    fs::remove_file(this.file()).unwrap();
    let (status, answer) = this.reload().await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer.contains("the file cannot be read: No such file"),
        "{answer}"
    );
    fs::write(this.file(), whole).unwrap();
    let (status, answer) = this.reload().await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        answer.contains("0 changed, 0 removed, 2 unchanged"),
        "{answer}"
    );
    let page = this.page().await;
    assert_eq!(
        page.value(&["web_config_last_reload_successful"]),
        Some(1.0)
    );
    assert!(page.value(&[date]) > before.value(&[date]));
}

#[tokio::test]
async fn only_who_may_can_ask_for_it() {
    let this = Reloaded::start("1h", &[]).await;
    for method in [Method::POST, Method::PUT] {
        let answer = this.ask(method, None).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(
            answer
                .text()
                .await
                .unwrap()
                .contains("--web.enable-lifecycle")
        );
    }
    let this = Reloaded::start("1h", &[LIFECYCLE]).await;
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let answer = this.ask(method, None).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "POST, PUT");
    }
    let date = "config_last_reload_success_timestamp_seconds";
    let before = this.page().await.value(&[date]);
    let ours = format!("http://{}", this.daemon.address);
    let longer = format!("{ours}.example.test");
    for origin in [
        "http://example.test",
        "null",
        "http://127.0.0.1",
        "",
        &longer,
    ] {
        let answer = this.ask(Method::POST, Some(origin)).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(this.page().await.value(&[date]), before);
    for (method, origin) in [(Method::PUT, None), (Method::POST, Some(ours.as_str()))] {
        assert_eq!(this.ask(method, origin).await.status(), StatusCode::OK);
    }
    assert!(this.page().await.value(&[date]) > before);
}

#[tokio::test]
async fn accounts_come_and_go_with_what_was_kept_of_them() {
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    let this = Reloaded::start("1h", &[LIFECYCLE, &flag]).await;
    let of = |files: &[PathBuf], account: &str| {
        let folder = state.path().join(account);
        files
            .iter()
            .filter(|file| file.starts_with(&folder))
            .count()
    };
    let whole = this.edit(|text| text.split("zis:").next().unwrap().to_owned());
    assert_eq!(
        this.reload().await.1,
        "The configuration was loaded. accounts: 0 added, 0 replaced, 0 changed, 1 removed, 1 \
            unchanged.\n"
    );
    let page = this.page().await;
    assert!(page.samples(&["system=\"zis\"", "acme"]).is_empty());
    assert_eq!(page.value(&["target_up{", "Global"]), Some(1.0));
    let gone = |files: &[PathBuf]| of(files, "zis.acme") == 0;
    files_when(state.path(), gone).await;
    assert!(of(&files(state.path()), "zuora.production") > 3);

    // Another host is another tenant, so no data of the first one may be shown.
    let other = Harness::start(Sizes::default(), ONCE).await;
    other.simulator.fail(Fault {
        endpoint: Some("connections_all".to_owned()),
        ..Fault::new(Kind::InternalServerError)
    });
    this.edit(|_| whole.clone());
    let (_, answer) = this.reload().await;
    assert!(answer.contains("1 added"), "{answer}");
    this.page_when(|page| page.value(&["target_up{", "acme_slack"]) == Some(1.0))
        .await;
    this.edit(|text| {
        let (first, second) = text.split_once("zis:").unwrap();
        let moved = second.replace(&this.harness.vendor.to_string(), &other.vendor.to_string());
        format!("{first}zis:{moved}")
    });
    let (_, answer) = this.reload().await;
    let replaced = "0 added, 1 replaced, 0 changed, 0 removed, 1 unchanged";
    assert!(answer.contains(replaced), "{answer}");
    let page = this
        .page_when(|page| {
            page.value(&["target_failing{", "acme_slack", "server_error"]) == Some(1.0)
        })
        .await;
    assert!(
        page.samples(&["saas_connections{", "acme_slack"])
            .is_empty()
    );
}
