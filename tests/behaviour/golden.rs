//! The vendors' documented sample responses, and the page that they must produce.

use std::io::Write as _;
use std::process::{Command, Stdio};

use connections_exporter::clock::Clock;
use wiremock::matchers::{
    header, header_exists, method, path, query_param, query_param_is_missing,
};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::configurations::taken;
use crate::harness::{PATIENCE, serve};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/page.prom");

fn json(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(text, "application/json")
}

/// Starts both vendors, which accept only requests that match their documentation.
async fn vendors() -> MockServer {
    let server = MockServer::start().await;
    let token = json(include_str!("../fixtures/zuora/oauth_token.json"));
    Mock::given(method("POST"))
        .and(path("/oauth/token"))
        .respond_with(token)
        .expect(1)
        .mount(&server)
        .await;
    let entities = json(include_str!("../fixtures/zuora/entities.json"));
    Mock::given(path("/v1/entities"))
        .respond_with(entities)
        .expect(1)
        .mount(&server)
        .await;
    let rows = json(include_str!("../fixtures/zuora/entity_connections.json"));
    Mock::given(path("/v1/entity-connections"))
        .and(query_param("page", "1"))
        .and(query_param("pageSize", "300"))
        .and(query_param_is_missing("type"))
        .and(header(
            "zuora-entity-ids",
            "8a808255-557b-aba1-0155-80e12fa5083a",
        ))
        .and(header(
            "authorization",
            "Bearer aaaabbbbccccddddeeeeffff00001111",
        ))
        .and(header("accept-encoding", "gzip"))
        .and(header_exists("zuora-track-id"))
        .respond_with(rows)
        .expect(1)
        .mount(&server)
        .await;
    let listing = || {
        Mock::given(path(
            "/api/services/zis/integrations/acme_slack/connections/all",
        ))
        .and(query_param("page[size]", "100"))
        .and(header("authorization", "Bearer zis-token"))
        .and(header("accept", "application/json"))
    };
    let first = listing()
        .and(query_param_is_missing("page[after]"))
        .respond_with(json(include_str!("../fixtures/zis/connections_all_1.json")));
    first.expect(1).mount(&server).await;
    let second = listing()
        .and(query_param("page[after]", "my_first_connection"))
        .respond_with(json(include_str!("../fixtures/zis/connections_all_2.json")));
    second.expect(1).mount(&server).await;
    server
}

async fn page() -> String {
    let vendors = vendors().await;
    let text = format!(
        "poll:
  interval: 1h
  first_poll_within: 0s
zuora:
  - account: production
    base_url: {uri}
    client_id: id
    client_secret_env: SECRET
    requests_per_minute: 60000
    entities:
      - id: 8a808255557baba1015580e12fa5083a
        expect: [8a808255-55a3-c7a1-0155-b46120d058e7, 00000000000000000000000000000000]
zis:
  - account: acme
    base_url: {uri}
    requests_per_minute: 60000
    integrations:
      - name: acme_slack
        token_env: TOKEN
        expect: [my_oauth_connection, missing]
",
        uri = vendors.uri()
    );
    let env = |name: &str| {
        Some(
            if name == "TOKEN" {
                "zis-token"
            } else {
                "planted-own-secret"
            }
            .to_owned(),
        )
    };
    let config = taken(&text, env).await;
    let clock = Clock::new(|| "2021-10-01T12:00:00Z".parse().unwrap());
    let (address, _daemon, shutdown) = serve(config, <_>::default(), clock).await;
    let _end = shutdown.drop_guard();
    let get = async |path: &str| {
        reqwest::get(format!("http://{address}{path}"))
            .await
            .unwrap()
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while get("/-/ready").await.status() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "not ready");
    }
    get("/metrics").await.text().await.unwrap()
}

/// Returns the `saas_` families; the exporter's own families differ from run to run.
fn held(page: &str) -> String {
    let of_family = |line: &&str| {
        line.trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ")
            .starts_with("saas_")
    };
    page.lines()
        .filter(of_family)
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[tokio::test]
async fn the_documented_samples_give_the_golden_page() {
    let page = page().await;
    assert!(!page.contains("planted"), "a secret is on the page");
    assert!(
        !page.contains("example.test") && !page.contains("test_user"),
        "a person is on the page"
    );
    let held = held(&page);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &held).unwrap();
    }
    assert_eq!(
        held,
        std::fs::read_to_string(GOLDEN).unwrap(),
        "to take the new page over: UPDATE_GOLDEN=1 cargo test"
    );
    for field in ["connection_type", "token_expiry"] {
        let line = format!(
            "connections_exporter_unknown_values_total{{system=\"zis\",account=\"acme\",field=\"{field}\"}} 1\n"
        );
        assert!(page.contains(&line), "{line} not in\n{page}");
    }
}

/// Asserts that promtool reports nothing about a page.
pub(crate) fn promtool(page: &str) {
    let (good, said) = piped(Command::new("promtool").args(["check", "metrics"]), page);
    assert!(good && said.is_empty(), "{said}");
}

/// Reads a page with the strict parser of the Python client; returns the number of samples.
pub(crate) fn openmetrics(page: &str) -> usize {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openmetrics.py");
    let (good, said) = piped(
        Command::new("python-with-prometheus-client").arg(script),
        page,
    );
    assert!(good, "{said}");
    said.trim().parse().unwrap()
}

/// Runs a program with this text as its input; returns whether it succeeded, and its output.
fn piped(command: &mut Command, text: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is installed: make test");
    let mut stdin = child.stdin.take().unwrap();
    let written = stdin.write_all(text.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    // A program that refuses its input may end before it has read all of it.
    assert!(written.is_ok() || !output.status.success(), "{said}");
    (output.status.success(), said)
}

#[tokio::test]
#[ignore = "needs promtool: make test"]
async fn promtool_has_nothing_to_say_about_the_golden_page() {
    promtool(&std::fs::read_to_string(GOLDEN).unwrap());
    promtool(&page().await);
}
