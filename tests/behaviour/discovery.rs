//! Parts of the metrics page that a query selects, and `/sd`, which lists them for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;

use connections_simulator::Sizes;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::daemon::{answer_when, configured_in_files, daemon_in, page_when, ready};
use crate::harness::{Harness, ONCE};
use crate::prometheus::{agree, becomes, query, samples_when, scraping, until};
use crate::shards::accounts;

/// Returns the scraped samples of a job, without `job` and `instance`.
pub(crate) async fn stored(prometheus: &str, job: &str) -> Vec<(BTreeMap<String, String>, f64)> {
    let samples = query(prometheus, &format!("{{{}}}", ours(job))).await;
    let bare = |(labels, value): (Value, f64)| {
        let mut labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
        labels.retain(|name, _| name != "job" && name != "instance");
        (labels, value)
    };
    samples.into_iter().map(bare).collect()
}

/// Returns a matcher for the scraped series of a job, without those that Prometheus adds itself.
pub(crate) fn ours(job: &str) -> String {
    format!("job=\"{job}\",__name__!~\"up|scrape_.*\"")
}

/// Returns the series of the samples, and asserts that each series occurs once.
pub(crate) fn once(
    samples: &[(BTreeMap<String, String>, f64)],
) -> BTreeSet<BTreeMap<String, String>> {
    let series: BTreeSet<_> = samples.iter().map(|(labels, _)| labels.clone()).collect();
    assert_eq!(series.len(), samples.len(), "a series is stored twice");
    series
}

/// Returns whether the samples of a metric are the same in every process that lists the same.
pub(crate) fn is_timeless(metric: &str) -> bool {
    let of_listings = [
        "saas_connection_token_expires_in_seconds",
        "saas_connection_first_seen_timestamp_seconds",
        "saas_connection_last_connected_timestamp_seconds",
        "saas_connection_token_seen_lifetime_seconds",
    ];
    metric.starts_with("saas_") && !of_listings.contains(&metric)
}

/// Returns the `saas_` samples, without those of the metric that changes every second.
pub(crate) fn held(
    samples: &[(BTreeMap<String, String>, f64)],
) -> BTreeMap<BTreeMap<String, String>, String> {
    let held = samples
        .iter()
        .filter(|(labels, _)| is_timeless(&labels["__name__"]));
    held.map(|(labels, value)| (labels.clone(), value.to_string()))
        .collect()
}

/// Waits until a query returns a sample.
pub(crate) async fn until_some(prometheus: &str, query: &str) {
    let url = format!("{prometheus}/api/v1/query");
    let url = reqwest::Url::parse_with_params(&url, [("query", query)]).unwrap();
    let some = |answer: &Value| answer["data"]["result"][0].is_object();
    until(url.as_str(), some).await;
}

#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn prometheus_discovers_fifty_accounts_and_stores_the_whole_page_once() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = accounts(&harness, 50);
    let daemon = daemon_in(folder.path(), &["--web.telemetry-path=/all"]).await;
    ready(daemon.address).await;
    let address = daemon.address;
    let jobs = format!(
        "  - job_name: parts\n    http_sd_configs: [{{url: 'http://{address}/sd', \
            refresh_interval: 1s}}]\n  - job_name: whole\n    metrics_path: /all\n    \
            static_configs: [{{targets: ['{address}']}}]\n"
    );
    let scraper = scraping(folder.path(), &jobs);
    let prometheus = format!("http://{}", scraper.address);
    let all_up = |accounts: usize| {
        let targets = accounts + 1;
        format!(
            "count(up{{job=\"parts\"}} == 1) == {targets} and count(up{{job=\"parts\"}}) == \
                {targets}"
        )
    };
    until_some(&prometheus, &all_up(50)).await;
    // The size of a page is shown on the next one, so it is missing on the first.
    for job in ["parts", "whole"] {
        let sized = format!("connections_exporter_page_series{{job=\"{job}\"}}");
        until_some(&prometheus, &sized).await;
    }
    let same = format!(
        "count({{{}}}) == count({{{}}})",
        ours("parts"),
        ours("whole")
    );
    until_some(&prometheus, &same).await;

    agree(async || {
        let (parts, whole) = (
            stored(&prometheus, "parts").await,
            stored(&prometheus, "whole").await,
        );
        // Both must be complete. Without this check two incomplete results would be equal.
        let of = |samples: &[_]| (held(samples).len() > 50 * 20, once(samples), held(samples));
        let (mut expected, whole) = (of(&parts), of(&whole));
        expected.0 = true;
        (expected, whole)
    })
    .await;
    let started = "process_start_time_seconds{job=\"parts\"}";
    let started = samples_when(&prometheus, started, |samples| samples.len() == 1).await;
    assert_eq!(started[0].0["instance"], address.to_string());
    let acme7 = format!("up{{instance=\"{address}/zis/acme7\"}}");
    becomes(&prometheus, &acme7, 1.0).await;

    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("  - account: acme7\n").unwrap();
    let (_, after) = after.split_once("  - account:").unwrap();
    fs::write(&file, format!("{before}  - account:{after}")).unwrap();
    daemon.signal("HUP");
    until_some(&prometheus, &all_up(49)).await;
    samples_when(&prometheus, &acme7, <[_]>::is_empty).await;
    until_some(
        &prometheus,
        "absent({job=~\"parts|whole\",account=\"acme7\"})",
    )
    .await;
    fs::write(&file, text).unwrap();
    daemon.signal("HUP");
    until_some(&prometheus, &all_up(50)).await;
    becomes(&prometheus, &acme7, 1.0).await;
}

#[tokio::test]
async fn a_reload_changes_what_there_is_to_scrape() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = configured_in_files(&harness, "1h");
    let daemon = daemon_in(folder.path(), &["--web.telemetry-path=/a/b"]).await;
    let address = daemon.address;
    let target = |labels: &str| {
        format!(
            "{{\"targets\":[\"{address}\"],\"labels\":{{\"__scheme__\":\"http\",\"__metrics_path__\":\"/a/b\",{labels}}}}}"
        )
    };
    let own = target("\"__param_own\":\"1\"");
    let account = |system: &str, account: &str| {
        target(&format!(
            "\"__param_system\":\"{system}\",\"__param_account\":\"{account}\",\"instance\":\"{address}/{system}/{account}\""
        ))
    };
    let (acme, production) = (account("zis", "acme"), account("zuora", "production"));
    let all = format!("[{own},{acme},{production}]");
    answer_when(address, "/sd", |answer| answer == all).await;
    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.split("zis:\n").next().unwrap()).unwrap();
    daemon.signal("HUP");
    let without = format!("[{own},{production}]");
    answer_when(address, "/sd", |answer| answer == without).await;
    let added = text.replace("account: acme\n", "account: \"a&b=c/d +%é\\\"\"\n");
    fs::write(&file, added).unwrap();
    daemon.signal("HUP");
    let named = account("zis", "a&b=c/d +%é\\\"");
    let with = format!("[{own},{named},{production}]");
    answer_when(address, "/sd", |answer| answer == with).await;
    let part = "/a/b?system=zis&account=a%26b%3Dc%2Fd+%2B%25%C3%A9%22";
    answer_when(address, part, |page| page.contains("saas_connections{")).await;
}

/// Sends the bytes of a request, and returns the response.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn only_a_request_that_names_a_host_is_told_what_to_scrape() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let ask = async |version: &str, headers: &str| {
        let request = format!("GET /sd HTTP/{version}\r\nconnection: close\r\n{headers}\r\n");
        raw(harness.address, request.as_bytes()).await
    };
    for host in [
        "exporter",
        "exporter.monitoring.svc:9932",
        "[::1]:9932",
        "10.0.0.1:1",
    ] {
        let answer = ask("1.1", &format!("host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(&format!("{{\"targets\":[\"{host}\"]")),
            "{answer}"
        );
    }
    for (version, headers) in [
        ("1.0", ""),
        ("1.1", ""),
        ("1.1", "host:\r\n"),
        ("1.1", "host: a\r\nhost: b\r\n"),
        ("1.1", "host: a/../b\r\n"),
        ("1.1", "host: user:password@a\r\n"),
        ("1.1", "host: a:99999\r\n"),
        ("1.1", "host: \"},{\"targets\":[\"b\"]}\r\n"),
        ("1.1", "host: ${1}\r\n"),
        ("1.1", &format!("host: {}\r\n", "a".repeat(10_000))),
    ] {
        let answer = ask(version, headers).await;
        assert!(
            answer.contains(" 400 Bad Request\r\n"),
            "{headers}: {answer}"
        );
        assert!(answer.to_lowercase().contains("host"), "{answer}");
    }
    let answer = harness.get("/sd?account=acme").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("no parameters here"));
}

/// Requests a part of the page; returns status, `Content-Length` and body.
async fn part(harness: &Harness, method: Method, path: &str, gzip: bool) -> (u16, String, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().no_gzip();
    let mut request = client
        .build()
        .unwrap()
        .request(method, format!("http://{}{path}", harness.address));
    if gzip {
        request = request.header("accept-encoding", "gzip");
    }
    let answer = request.send().await.unwrap();
    let length = answer.headers()["content-length"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = answer.status().as_u16();
    (status, length, answer.bytes().await.unwrap().into())
}

#[tokio::test]
async fn a_part_comes_as_the_page_does_and_one_of_nothing_is_empty() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    for path in [
        "/metrics?system=zis&account=acme&target=acme_slack&target=acme_shopify",
        "/metrics?account=production&target=Global",
        "/metrics?target=there_is_none",
        "/metrics?system=zis&account=production",
        "/metrics?account=%00%c3%bf",
    ] {
        let (status, length, plain) = part(&harness, Method::GET, path, false).await;
        assert_eq!((status, length), (200, plain.len().to_string()), "{path}");
        let (status, length, packed) = part(&harness, Method::GET, path, true).await;
        assert_eq!(
            (status, length.clone()),
            (200, packed.len().to_string()),
            "{path}"
        );
        let head = part(&harness, Method::HEAD, path, true).await;
        assert_eq!(head, (200, length, Vec::new()), "{path}");
        let mut text = String::new();
        let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
        decoder.read_to_string(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member");
        let plain = String::from_utf8(plain).unwrap();
        let still = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.contains("expires_in"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(still(&text), still(&plain), "{path}");
        assert_eq!(
            plain.is_empty(),
            !path.contains("acme_slack") && !path.contains("Global"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn no_query_is_too_strange_or_too_long_to_be_answered() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let whole = harness
        .get("/metrics?system=zis")
        .await
        .text()
        .await
        .unwrap();
    let often = "system=zis&".repeat(2_000);
    let same = harness.get(&format!("/metrics?{often}")).await;
    let lines = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("saas_"))
            .count()
    };
    assert_eq!(lines(&same.text().await.unwrap()), lines(&whole));
    for (query, status) in [
        ("&&&", 200),
        ("account=acme&account=acme", 200),
        ("=", 400),
        ("%", 400),
        ("system", 400),
        ("system=zis&own=1", 400),
        ("own=1&own=1", 200),
        ("target=%0d%0aset-cookie:%20a", 200),
        ("%0d%0aset-cookie:%20a", 400),
    ] {
        let request =
            format!("GET /metrics?{query} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = raw(harness.address, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{query}: {answer}"
        );
        assert!(!answer.contains("\r\nset-cookie"), "{answer}");
        let told = answer.contains(
            "Expected system, account and target, each as often as needed, or own=1 alone.\n",
        );
        let percent = query == "%";
        assert_eq!(told, status == 400 && !percent, "{answer}");
    }
    // Exceeds the maximum size of a request's headers.
    let huge = format!(
        "GET /metrics?target={} HTTP/1.1\r\nhost: a\r\n\r\n",
        "a".repeat(70_000)
    );
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(
        [&b"HTTP/1.1 414"[..], b"HTTP/1.1 431"].contains(&&answer[..]),
        "{answer:?}"
    );
    page_when(harness.address, |page| page.contains("saas_connections{")).await;
}
