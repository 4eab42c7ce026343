//! Listings are complete and exact, with no more requests than their pages need.

use connections_simulator::{Fault, Kind, Sizes};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::daemon::{daemon_in_files, logged, page_when as daemon_page_when};
use crate::harness::{Harness, OFTEN, ONCE, Page, page_when, serve_text};

#[tokio::test]
async fn many_pages_are_merged_and_cost_exactly_their_number_of_requests() {
    let sizes = Sizes {
        entities: 2,
        entity_connections: 1900,
        integrations: 1,
        integration_connections: 2500,
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let page = harness.page().await;
    // 1,900 entity connections are 7 pages of up to 300, listed by both entities. 2,500 stored
    // connections are 25 pages of 100.
    assert_eq!(page.sum(&["saas_connections{", "zuora"]), 3800.0);
    for entity in ["Global", "Germany"] {
        let target = format!("target=\"{entity}\"");
        assert_eq!(page.sum(&["saas_connections{", &target, "inbound"]), 950.0);
        assert_eq!(page.sum(&["saas_connections{", &target, "outbound"]), 950.0);
        // Of each 7 connections, the simulator makes one pending and one disconnected.
        assert_eq!(
            page.sum(&["saas_connections{", &target, "status=\"pending\""]),
            271.0
        );
        assert_eq!(
            page.sum(&["saas_connections{", &target, "status=\"disconnected\""]),
            271.0
        );
    }
    assert_eq!(page.sum(&["saas_connections{", "zis"]), 2500.0);
    for (kind, count) in [
        ("oauth", 1000.0),
        ("api_key", 500.0),
        ("basic_auth", 500.0),
        ("bearer_token", 500.0),
    ] {
        assert_eq!(
            page.value(&["saas_connections{", &format!("connection_type=\"{kind}\"")]),
            Some(count)
        );
    }
    assert_eq!(harness.simulator.requests("oauth_token"), 1);
    assert_eq!(harness.simulator.requests("entities"), 1);
    assert_eq!(harness.simulator.requests("entity_connections"), 2 * 7);
    assert_eq!(harness.simulator.requests("connections_all"), 25);
    for (endpoint, count) in [
        ("entity_connections", 14.0),
        ("connections_all", 25.0),
        ("oauth_token", 1.0),
    ] {
        assert_eq!(
            page.value(&["api_requests_total{", endpoint, "code=\"200\""]),
            Some(count)
        );
    }
    assert_eq!(
        page.value(&["api_planned_requests_per_second{", "zis"]),
        // One more requests the OAuth clients of the integration.
        Some(26.0 / 3600.0)
    );
}

#[tokio::test]
async fn a_full_last_page_without_next_page_is_worth_one_more_request() {
    let harness = Harness::start(
        Sizes {
            entities: 1,
            entity_connections: 0,
            integrations: 0,
            integration_connections: 0,
        },
        ONCE,
    )
    .await;
    harness.ready().await;
    assert_eq!(harness.simulator.requests("entity_connections"), 1);

    let harness = Harness::start(
        Sizes {
            entities: 2,
            entity_connections: 600,
            integrations: 0,
            integration_connections: 0,
        },
        ONCE,
    )
    .await;
    harness.ready().await;
    assert_eq!(
        harness.simulator.requests("entity_connections"),
        2 * 3,
        "600 rows are two full pages, and nothing says that there is no third"
    );
    assert_eq!(harness.page().await.sum(&["saas_connections{"]), 1200.0);
}

#[tokio::test]
async fn a_failed_second_page_keeps_the_earlier_listing_whole() {
    let harness = Harness::start(
        Sizes {
            entities: 2,
            entity_connections: 500,
            integrations: 1,
            integration_connections: 250,
        },
        OFTEN,
    )
    .await;
    harness.ready().await;
    let whole = harness.page().await;
    for endpoint in ["connections_all", "entity_connections"] {
        let fault = Fault {
            endpoint: Some(endpoint.to_owned()),
            page: Some(2),
            ..Fault::new(Kind::InternalServerError)
        };
        harness.simulator.fail(fault);
    }
    // A poll that published the pages before the error would show these numbers.
    harness.simulator.change(|world| {
        world.tenant.connections.truncate(301);
        world.integrations[0].connections.truncate(101);
    });
    let failed = |page: &Page| {
        page.samples(&["target_consecutive_failures{"])
            .iter()
            .all(|(_, n)| *n >= 2.0)
    };
    let page = harness.page_when(failed).await;
    for (system, connections) in [("zuora", 1000.0), ("zis", 250.0)] {
        assert_eq!(whole.sum(&["saas_connections{", system]), connections);
        assert_eq!(page.sum(&["saas_connections{", system]), connections);
        assert_eq!(page.sum(&["target_up{", system]), 0.0);
    }
    assert_eq!(
        page.value(&["target_failing{", "zis", "reason=\"server_error\""]),
        Some(1.0)
    );
    assert!(page.value(&["api_errors_total{", "zis", "server_error"]) >= Some(2.0));
}

#[tokio::test]
async fn no_scrape_shows_anything_but_the_old_or_the_new_listing() {
    let harness = Harness::start(
        Sizes {
            entities: 0,
            entity_connections: 0,
            integrations: 1,
            integration_connections: 40,
        },
        OFTEN,
    )
    .await;
    harness.ready().await;
    let gone = harness.simulator.change(|world| {
        let gone = world.integrations[0].connections.split_off(30);
        world.integrations[0]
            .connections
            .iter_mut()
            .for_each(|stored| stored.name.push_str("_new"));
        gone
    });
    let gone = format!("connection=\"{}\"", gone[0].name);
    let mut new = 0;
    while new < 20 {
        let page = harness.page().await;
        let names: Vec<_> = page
            .samples(&["saas_connection_info{"])
            .into_iter()
            .map(|(line, _)| line.contains("_new\""))
            .collect();
        let is_new = page.sum(&["saas_connections{"]) == 30.0;
        new += u32::from(is_new);
        assert_eq!(
            page.sum(&["saas_connections{"]),
            if is_new { 30.0 } else { 40.0 }
        );
        assert_eq!(
            names,
            vec![is_new; if is_new { 30 } else { 40 }],
            "a mix of two listings"
        );
        assert_eq!(page.0.contains(&gone), !is_new);
        let expiries = page.samples(&["saas_connection_token_expiry"]).len();
        assert_eq!(
            expiries,
            page.samples(&["saas_connection_token_expires_in"]).len()
        );
    }
    assert_eq!(
        harness
            .page()
            .await
            .value(&["changes_total{", "change=\"removed\""]),
        Some(40.0)
    );
}

#[tokio::test]
async fn expected_connections_that_are_missing_are_0() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let page = harness.page().await;
    assert_eq!(
        page.value(&["saas_connection_expected_present{", "expected=\"slack\""]),
        Some(1.0)
    );
    assert_eq!(
        page.value(&["saas_connection_expected_present{", "expected=\"zendesk\""]),
        Some(0.0)
    );
}

#[tokio::test]
async fn a_token_that_moves_forward_is_counted_as_renewed() {
    use connections_simulator::Expiry;
    let harness = Harness::start(
        Sizes {
            entities: 0,
            entity_connections: 0,
            integrations: 1,
            integration_connections: 3,
        },
        OFTEN,
    )
    .await;
    harness.ready().await;
    let at = |second: i64| Expiry::At(jiff::Timestamp::from_second(second).unwrap());
    harness
        .simulator
        .change(|world| world.integrations[0].connections[0].expiry = at(4_000_000_000));
    let page = harness
        .page_when(|page| {
            page.value(&["token_expiry_timestamp_seconds{", "connection=\"slack\""]) == Some(4e9)
        })
        .await;
    assert_eq!(
        page.value(&["token_renewals_total{", "connection=\"slack\""]),
        Some(1.0)
    );
    assert_eq!(
        page.value(&["token_renewals_total{", "connection=\"shopify\""]),
        Some(0.0)
    );
    assert_eq!(
        page.value(&["refresh_token_stored{", "connection=\"slack\""]),
        Some(1.0)
    );
    assert_eq!(
        page.value(&["refresh_token_stored{", "connection=\"search\""]),
        None,
        "a question for oauth only"
    );
}

#[tokio::test]
async fn an_answer_of_200_that_is_no_listing_keeps_the_earlier_one() {
    let server = MockServer::start().await;
    let body = |text: &str| ResponseTemplate::new(200).set_body_raw(text, "application/json");
    let good = r#"{"oauth": [{"name": "a", "token_expiry": ""}], "jwt": [{"name": 7, "x": [1]}, {}], "scopes": ["read"], "meta": {}}"#;
    let bad = [
        r#"{"errors": [{"code": "InvalidCredentials", "title": "no"}]}"#,
        r#"{"error": "invalid_token", "oauth": []}"#,
        r#"{"message": "down for maintenance"}"#,
        r#"{"oauth": [{"name": "a"}], "meta": {"after": "x"}}"#,
        r#"{"oauth": [{"name": "a"}, {"uuid": "1"}], "meta": {"has_more": false}}"#,
        r#"{"oauth": [{"name": 3}]}"#,
        "[]",
        "null",
        "",
    ];
    let listing = || path("/api/services/zis/integrations/n/connections/all");
    Mock::given(listing())
        .respond_with(body(good))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    for text in bad {
        Mock::given(listing())
            .respond_with(body(text))
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let text = format!(
        "poll:\n{OFTEN}zis:\n  - account: a\n    base_url: {}\n    requests_per_minute: 60000\n    \
            integrations:\n      - name: n\n        token_env: T\n",
        server.uri()
    );
    let (address, _end) = serve_text(&text).await;
    // After the last body the mock server has no route, and responds with 404.
    let last = |page: &Page| {
        page.value(&["target_failing{", "reason=\"not_found\""])
            .is_some()
    };
    let page = page_when(address, last).await;
    assert_eq!(
        page.value(&["api_errors_total{", "reason=\"decode\""]),
        Some(bad.len() as f64)
    );
    assert_eq!(page.value(&["saas_connections{", "oauth"]), Some(1.0));
    assert_eq!(
        page.value(&["saas_connections{", "connection_type=\"other\""]),
        Some(2.0),
        "an unknown array is counted whatever it holds"
    );
    assert_eq!(
        page.value(&["unknown_values_total{", "connection_type"]),
        Some(1.0)
    );
}

#[tokio::test]
async fn of_very_many_changes_twenty_are_named_and_the_rest_counted() {
    let sizes = Sizes {
        entities: 0,
        integrations: 1,
        integration_connections: 100,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let (_folder, mut daemon) = daemon_in_files(&harness, "1s", &[]).await;
    let added = |page: &str| Page(page.to_owned()).sum(&["changes_total{", "\"added\""]);
    daemon_page_when(daemon.address, |page| page.contains("saas_connections{")).await;
    harness.simulator.change(|world| {
        for connection in &mut world.integrations[0].connections {
            connection.name.insert_str(0, "new_");
        }
    });
    daemon_page_when(daemon.address, |page| added(page) >= 100.0).await;
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    assert_eq!(log.matches("\"connection changed\"").count(), 20, "{log}");
    let rest: Vec<_> = log
        .lines()
        .filter(|line| line.contains("more connections changed"))
        .collect();
    assert_eq!(rest.len(), 1, "{log}");
    for part in ["more=180", "added=100", "removed=100", "status=0"] {
        assert!(rest[0].contains(part), "{}", rest[0]);
    }
}

#[tokio::test]
async fn a_listing_that_leaves_the_page_is_one_line_in_the_log() {
    const LINE: &str = "the listing is too old and is no longer exported";
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let interval = "1s\n  stale_after: 4s";
    let (_folder, mut daemon) = daemon_in_files(&harness, interval, &[]).await;
    let log = daemon.collect_log();
    let has = |page: &str| {
        page.contains("saas_connections{system=\"zis\",account=\"acme\",target=\"acme_slack\"")
    };
    daemon_page_when(daemon.address, has).await;
    harness.simulator.fail(Fault {
        target: Some("acme_slack".to_owned()),
        ..Fault::new(Kind::ServiceUnavailable)
    });
    daemon_page_when(daemon.address, |page| !has(page)).await;
    logged(&log, LINE).await;
    // More polls of it fail.
    logged(&log, "failures=6").await;
    let lines = log.lock().unwrap();
    let lines: Vec<_> = lines.lines().filter(|line| line.contains(LINE)).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("target=acme_slack last_success=20"),
        "{lines:?}"
    );
}
