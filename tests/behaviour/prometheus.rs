//! A real Prometheus scrapes the demo, and its query results match the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::configurations::blocks;
use crate::daemon::{Daemon, exporter, free_port};
use crate::harness::PATIENCE;

/// Requests a URL; returns null if the response is not JSON, as while Prometheus is not ready.
pub(crate) async fn json(url: &str) -> Value {
    let body = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&body).unwrap_or_default()
}

/// Repeats a request until its response satisfies `what`, for example after the next scrape.
pub(crate) async fn until(url: &str, what: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = json(url).await;
        if what(&answer) {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{url} did not come to what it should: {answer}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// Programs of the oldest and of the newest supported version, as `tests/tools.sh` installs them.
pub(crate) const VERSIONS: [&str; 2] = ["prometheus", "prometheus-newer"];

/// Starts a Prometheus that scrapes these jobs every second, with its data in this directory.
pub(crate) fn scraping(folder: &Path, jobs: &str) -> Daemon {
    scraping_with(VERSIONS[0], folder, jobs)
}

/// Does the same with this program.
pub(crate) fn scraping_with(program: &str, folder: &Path, jobs: &str) -> Daemon {
    let scrape = folder.join("prometheus.yaml");
    let text = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
    fs::write(&scrape, text).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", scrape.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"));
    Daemon::start(&mut command, address.parse().unwrap())
}

/// Returns labels and value of each sample of an instant query.
pub(crate) async fn query(prometheus: &str, query: &str) -> Vec<(Value, f64)> {
    let url =
        reqwest::Url::parse_with_params(&format!("{prometheus}/api/v1/query"), [("query", query)])
            .unwrap();
    let answer = json(url.as_str()).await;
    let results = answer["data"]["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    results
        .iter()
        .map(|r| {
            (
                r["metric"].clone(),
                r["value"][1].as_str().unwrap().parse().unwrap(),
            )
        })
        .collect()
}

/// Repeats an instant query until its samples satisfy `what`.
///
/// On a busy machine a scrape may miss its second. The next one closes the gap.
pub(crate) async fn samples_when(
    prometheus: &str,
    text: &str,
    what: impl Fn(&[(Value, f64)]) -> bool,
) -> Vec<(Value, f64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = query(prometheus, text).await;
        if what(&samples) {
            return samples;
        }
        assert!(Instant::now() < deadline, "{text}: {samples:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Repeats until both results are equal.
pub(crate) async fn agree<T: PartialEq + Debug>(mut both: impl AsyncFnMut() -> (T, T)) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (one, other) = both().await;
        if one == other {
            return;
        }
        assert!(Instant::now() < deadline, "{one:#?}\nis not\n{other:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for exactly one sample, and returns its value.
pub(crate) async fn value(prometheus: &str, text: &str) -> f64 {
    samples_when(prometheus, text, |samples| samples.len() == 1).await[0].1
}

/// Waits for exactly one sample that has this value.
pub(crate) async fn becomes(prometheus: &str, text: &str, expected: f64) {
    let is = |samples: &[(Value, f64)]| matches!(samples, [(_, value)] if *value == expected);
    samples_when(prometheus, text, is).await;
}

#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn its_answers_are_those_of_the_simulator() {
    for program in VERSIONS {
        println!("{program}");
        Box::pin(answers_of(program)).await;
    }
}

async fn answers_of(program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let own = format!("127.0.0.1:{}", free_port());
    let mut daemon = Daemon::start(
        &mut exporter(&[
            "demo",
            "--demo.still",
            "--web.listen-address",
            &own,
            "--simulator.integration-connections=33",
        ]),
        own.parse().unwrap(),
    );
    let vendor = daemon.first_line().rsplit(' ').next().unwrap().to_owned();

    // Prometheus prefers OpenMetrics and accepts gzip. The second job uses a proxy that removes the
    // headers that say so.
    let text = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = text.local_addr().unwrap();
    let _proxy = AbortOnDropHandle::new(tokio::spawn(without_accept(text, own.clone())));
    let job = |name: &str, target: &str| {
        format!("  - job_name: {name}\n    static_configs: [{{targets: ['{target}']}}]\n")
    };
    let jobs = [job("openmetrics", &own), job("text", &proxy.to_string())].concat();
    let scraper = scraping_with(program, folder.path(), &jobs);
    let prometheus = format!("http://{}", scraper.address);
    let ready =
        format!("{prometheus}/api/v1/query?query=count(count by (job) (saas_connections) == 36)");
    until(&ready, |answer| {
        answer["data"]["result"][0]["value"][1] == "2"
    })
    .await;
    becomes(&prometheus, "sum(up)", 2.0).await;
    // A page shows the size of the last page in each of the two encodings.
    let url = format!(
        "{prometheus}/api/v1/query?query=count(connections_exporter_page_bytes{{job=\"openmetrics\"}})"
    );
    until(&url, |answer| {
        answer["data"]["result"][0]["value"][1] == "2"
    })
    .await;

    let holds = json(&vendor).await["holds"].clone();
    for job in ["openmetrics", "text"] {
        compare(&prometheus, job, &holds).await;
    }
    both_formats_give(&prometheus).await;

    // A connection that the vendor deletes disappears with the next poll, and Prometheus marks its
    // series as stale.
    let delete = format!("{vendor}/connections?target=acme_slack&connection=slack");
    assert!(
        reqwest::Client::new()
            .delete(delete)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let url = format!(
        "{prometheus}/api/v1/query?query=max(saas_connection_expected_present{{expected=\"slack\"}})"
    );
    until(&url, |answer| {
        answer["data"]["result"][0]["value"][1] == "0"
    })
    .await;
    let gone = "saas_connection_info{target=\"acme_slack\",connection=\"slack\"}";
    samples_when(&prometheus, gone, <[_]>::is_empty).await;
}

/// Waits until both jobs have the same series, apart from the dates of creation that only
/// OpenMetrics has.
async fn both_formats_give(prometheus: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (mut open, text) = (
            series_of(prometheus, "openmetrics").await,
            series_of(prometheus, "text").await,
        );
        let all = open.len();
        open.retain(|labels| !labels["__name__"].ends_with("_created"));
        if open == text {
            assert!(all > open.len() && open.len() > 200, "{all}");
            let bounds = open.iter().filter_map(|labels| labels.get("le"));
            assert!(bounds.into_iter().any(|bound| bound == "1.0"));
            return;
        }
        let differ: Vec<_> = open.symmetric_difference(&text).collect();
        assert!(Instant::now() < deadline, "{differ:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the labels of the series of a job, without those that say where they come from.
async fn series_of(prometheus: &str, job: &str) -> BTreeSet<BTreeMap<String, String>> {
    let url = reqwest::Url::parse_with_params(
        &format!("{prometheus}/api/v1/series"),
        [("match[]", format!("{{job=\"{job}\"}}"))],
    );
    let answer = json(url.unwrap().as_str()).await;
    let series = answer["data"].as_array().unwrap().iter().map(|labels| {
        let labels = labels.clone();
        let mut labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
        labels.retain(|name, _| name != "job" && name != "instance");
        labels
    });
    // Prometheus adds `up` and others.
    let ours = ["saas_", "connections_exporter_", "process_"];
    let ours = |labels: &BTreeMap<String, String>| {
        let name = &labels["__name__"];
        ours.iter().any(|prefix| name.starts_with(prefix))
    };
    series.filter(ours).collect()
}

#[tokio::test]
#[ignore = "needs victoria-metrics and prometheus: make test"]
async fn victoria_metrics_stores_the_same_series() {
    let folder = tempfile::tempdir().unwrap();
    let own = format!("127.0.0.1:{}", free_port());
    let _daemon = Daemon::start(
        &mut exporter(&["demo", "--demo.still", "--web.listen-address", &own]),
        own.parse().unwrap(),
    );
    let job = format!("  - job_name: all\n    static_configs: [{{targets: ['{own}']}}]\n");
    let prometheus = scraping(folder.path(), &job);
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!(
            "-promscrape.config={}",
            folder.path().join("prometheus.yaml").display()
        ))
        .arg(format!(
            "-storageDataPath={}",
            folder.path().join("victoria").display()
        ))
        .arg(format!("-httpListenAddr={address}"));
    let victoria = Daemon::start(&mut command, address.parse().unwrap());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let of = async |scraper: &Daemon| {
            let url = format!("http://{}", scraper.address);
            let mut series = series_of(&url, "all").await;
            series.retain(|labels| !labels["__name__"].ends_with("_created"));
            series
        };
        let (one, other) = (of(&prometheus).await, of(&victoria).await);
        if one == other && one.len() > 200 {
            return;
        }
        let differ: Vec<_> = one.symmetric_difference(&other).collect();
        assert!(Instant::now() < deadline, "{differ:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Forwards each request without the header fields that say what is accepted.
async fn without_accept(listener: TcpListener, to: String) {
    loop {
        let (mut scraper, _) = listener.accept().await.unwrap();
        let to = to.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(scraper.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let kept = head
                .trim_end()
                .lines()
                .filter(|line| !line.starts_with("Accept"));
            let request: String = kept.flat_map(|line| [line, "\r\n"]).collect();
            let request = request + "Connection: close\r\n\r\n";
            let mut exporter = TcpStream::connect(to).await?;
            exporter.write_all(request.as_bytes()).await?;
            tokio::io::copy(&mut exporter, &mut scraper).await
        });
    }
}

/// Asserts that the samples of this job match the state of the simulator.
async fn compare(prometheus: &str, job: &str, holds: &Value) {
    for integration in holds["integrations"].as_array().unwrap() {
        let name = integration["name"].as_str().unwrap();
        let connections = integration["connections"].as_array().unwrap();
        for kind in ["oauth", "api_key", "basic_auth", "bearer_token"] {
            let count = connections.iter().filter(|c| c["type"] == kind).count();
            let labels = format!("job=\"{job}\",target=\"{name}\",connection_type=\"{kind}\"");
            let seen = format!("saas_connections{{{labels}}}");
            becomes(prometheus, &seen, count as f64).await;
        }
        let expiring = connections.iter().filter_map(|c| {
            Some((
                c["name"].as_str()?,
                c["token_expiry"].as_str()?,
                c["refresh_token"].as_bool()?,
            ))
        });
        let mut compared = 0;
        for (connection, expiry, renewable) in expiring {
            let Ok(date) = expiry.parse::<jiff::Timestamp>() else {
                continue;
            };
            let labels = format!("{{job=\"{job}\",target=\"{name}\",connection=\"{connection}\"}}");
            let renewable_seen = format!("saas_connection_refresh_token_stored{labels}");
            becomes(prometheus, &renewable_seen, f64::from(u8::from(renewable))).await;
            let seen = format!("saas_connection_token_expiry_timestamp_seconds{labels}");
            if date.as_second() < 31_536_000 {
                samples_when(prometheus, &seen, <[_]>::is_empty).await;
                continue;
            }
            // A token that is renewed may have changed since the simulator's state was read.
            if renewable || connection.starts_with("warehouse") {
                continue;
            }
            becomes(prometheus, &seen, date.as_second() as f64).await;
            // The time of the scrape plus the seconds left must be the same date.
            let metric = format!("saas_connection_token_expires_in_seconds{labels}");
            let date_by_seconds_left =
                value(prometheus, &format!("{metric} + timestamp({metric})")).await;
            let off = date_by_seconds_left - date.as_second() as f64;
            assert!(off.abs() <= 2.0, "{labels}: {off} s off");
            compared += 1;
        }
        assert!(compared >= 3, "{compared} expiries compared");
    }
    let edges = holds["entity_connections"].as_array().unwrap();
    for entity in holds["entities"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entity| entity["provisioned"] == true)
    {
        for (kind, side) in [("inbound", "target"), ("outbound", "source")] {
            for status in ["Connected", "Pending", "Disconnected"] {
                let count = edges
                    .iter()
                    .filter(|edge| edge[side] == entity["id"] && edge["status"] == status)
                    .count();
                let labels = format!(
                    "job=\"{job}\",target={},connection_type=\"{kind}\",status=\"{}\"",
                    entity["name"],
                    status.to_lowercase()
                );
                becomes(
                    prometheus,
                    &format!("saas_connections{{{labels}}}"),
                    count as f64,
                )
                .await;
            }
        }
    }
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_documented_files_for_prometheus_are_well() {
    let folder = tempfile::tempdir().unwrap();
    for block in ["README.md", "docs/operations.md"]
        .into_iter()
        .flat_map(blocks)
    {
        let name = match block.split(':').next() {
            Some("rule_files") => "prometheus.yml",
            Some("scrape_configs") => "discovery.yml",
            _ => continue,
        };
        fs::write(folder.path().join(name), block).unwrap();
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    fs::copy(rules, folder.path().join("alerts.yaml")).unwrap();
    let output = Command::new("promtool")
        .args(["check", "config", "prometheus.yml", "discovery.yml"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.contains("rules found"),
        "{said}"
    );
}
