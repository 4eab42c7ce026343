//! Faults of a vendor or the network: each has a reason, and the last listing stays.

use connections_simulator::{Fault, Kind, RetryAfter, Sizes, World};

use crate::daemon::{configured_in_files, daemon_in, page_when};
use crate::harness::{Harness, OFTEN, ONCE, Page};

const SIZES: Sizes = Sizes {
    entities: 2,
    entity_connections: 10,
    integrations: 1,
    integration_connections: 10,
};

fn at(endpoint: &str, kind: Kind) -> Fault {
    Fault {
        endpoint: Some(endpoint.to_owned()),
        ..Fault::new(kind)
    }
}

/// Whether every target of the system fails on this page.
pub(crate) fn all_fail(page: &Page, system: &str) -> bool {
    let system = format!("system=\"{system}\"");
    let ups = page.samples(&["target_up{", &system]);
    !ups.is_empty() && ups.iter().all(|(_, up)| *up == 0.0)
}

#[tokio::test]
async fn each_fault_has_its_reason_and_the_listing_stays() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    let refuse = |code| Fault {
        code: Some(code),
        ..at("entity_connections", Kind::Refuse)
    };
    let (zuora, zis) = ("entity_connections", "connections_all");
    for (system, fault, reason) in [
        (
            "zuora",
            at(zuora, Kind::InternalServerError),
            "server_error",
        ),
        ("zuora", at(zuora, Kind::ServiceUnavailable), "server_error"),
        ("zuora", at(zuora, Kind::Reset), "unreachable"),
        ("zuora", at(zuora, Kind::Truncate), "unreachable"),
        ("zuora", at(zuora, Kind::Html), "decode"),
        ("zuora", at(zuora, Kind::WrongTypes), "decode"),
        ("zuora", at(zuora, Kind::RepeatCursor), "pagination"),
        ("zuora", at(zuora, Kind::ForeignNextPage), "pagination"),
        ("zuora", refuse(50_000_010), "forbidden"),
        ("zuora", refuse(50_000_030), "refused"),
        ("zuora", refuse(50_000_040), "not_found"),
        ("zuora", refuse(50_000_061), "server_error"),
        ("zuora", refuse(50_000_070), "rate_limited"),
        ("zuora", refuse(90_000_011), "unauthorized"),
        ("zis", at(zis, Kind::InternalServerError), "server_error"),
        ("zis", at(zis, Kind::Reset), "unreachable"),
        ("zis", at(zis, Kind::Truncate), "unreachable"),
        ("zis", at(zis, Kind::Html), "decode"),
        ("zis", at(zis, Kind::WrongTypes), "decode"),
        ("zis", at(zis, Kind::RepeatCursor), "pagination"),
        ("zis", at(zis, Kind::Refuse), "forbidden"),
        ("zis", at(zis, Kind::ExpiredToken), "unauthorized"),
        ("zis", at(zis, Kind::RevokedToken), "unauthorized"),
    ] {
        let label = format!("reason=\"{reason}\"");
        let name = format!("system=\"{system}\"");
        harness.simulator.fail(fault.clone());
        let page = harness
            .page_when(|page| {
                all_fail(page, system)
                    && !page.samples(&["target_failing{", &name, &label]).is_empty()
            })
            .await;
        assert_eq!(
            page.sum(&["saas_connections{", &name]),
            if system == "zuora" { 20.0 } else { 10.0 },
            "{fault:?}"
        );
        assert!(
            page.sum(&["api_errors_total{", &name, &label]) >= 1.0,
            "{fault:?}"
        );
        harness.simulator.heal();
        harness
            .page_when(|page| page.samples(&["target_failing{", &name]).is_empty())
            .await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_a_timeout_and_the_listing_stays() {
    // Each case waits for this timeout. It cannot be shorter, because a healthy poll on a busy
    // machine may take almost as long.
    let brief = OFTEN.replace("request_timeout: 30s", "request_timeout: 2s");
    let harness = Harness::start(SIZES, &brief).await;
    for kind in [Kind::Hang, Kind::Drip] {
        harness
            .page_when(|page| page.sum(&["target_up{", "zis"]) == 1.0)
            .await;
        harness.simulator.fail(at("connections_all", kind));
        let page = harness
            .page_when(|page| {
                all_fail(page, "zis") && !page.samples(&["target_failing{", "timeout"]).is_empty()
            })
            .await;
        assert_eq!(page.sum(&["saas_connections{", "zis"]), 10.0, "{kind:?}");
        harness.simulator.heal();
    }
}

#[tokio::test]
async fn an_endless_listing_ends_at_the_cap() {
    let poll = format!("{OFTEN}  max_connections: 450\n");
    let harness = Harness::start(SIZES, &poll).await;
    harness.ready().await;
    for endpoint in ["entity_connections", "connections_all"] {
        harness.simulator.fail(at(endpoint, Kind::Endless));
    }
    let page = harness
        .page_when(|page| all_fail(page, "zuora") && all_fail(page, "zis"))
        .await;
    assert_eq!(page.samples(&["target_failing{", "too_large"]).len(), 3);
    assert_eq!(page.sum(&["saas_connections{"]), 30.0);
}

/// Returns a fault: ZIS responds to one listing request with 429 and this `Retry-After`.
fn too_many(wait: RetryAfter) -> Fault {
    Fault {
        times: Some(1),
        retry_after: Some(wait),
        ..at("connections_all", Kind::TooManyRequests)
    }
}

#[tokio::test]
async fn a_429_pauses_the_whole_account_and_no_other() {
    let sizes = Sizes {
        integrations: 3,
        ..SIZES
    };
    for wait in [
        RetryAfter::Seconds(600),
        RetryAfter::Date(600),
        RetryAfter::Epoch(600),
        RetryAfter::Reset(600),
    ] {
        let harness = Harness::start(sizes, OFTEN).await;
        harness.ready().await;
        let before = jiff::Timestamp::now().as_second() as f64;
        harness.simulator.fail(too_many(wait));
        let page = harness
            .page_when(|page| {
                page.value(&["api_paused_until_timestamp_seconds{", "zis"]) > Some(0.0)
            })
            .await;
        let after = jiff::Timestamp::now().as_second() as f64;
        let asked = harness.simulator.requests("connections_all");
        let until = page
            .value(&["api_paused_until_timestamp_seconds{", "zis"])
            .unwrap();
        // An HTTP date has whole seconds.
        assert!(
            (before + 598.0..=after + 602.0).contains(&until),
            "{wait:?}: from {before} to {after}, and until {until}"
        );
        assert_eq!(
            page.value(&["api_paused_until_timestamp_seconds{", "zuora"]),
            None
        );
        // The other account is still polled.
        let polls = page.sum(&["polls_total{", "zuora", "success"]);
        let page = harness
            .page_when(|page| page.sum(&["polls_total{", "zuora", "success"]) >= polls + 6.0)
            .await;
        // Requests of the account's other two targets may have been in flight when the pause began.
        assert!(
            harness.simulator.requests("connections_all") <= asked + 2,
            "{wait:?}: somebody asks during the pause"
        );
        assert_eq!(page.sum(&["saas_connections{", "zis"]), 30.0);
    }
}

#[tokio::test]
async fn after_a_pause_polls_go_on_and_not_before() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    let begun = tokio::time::Instant::now();
    harness.simulator.fail(too_many(RetryAfter::Seconds(3)));
    harness
        .page_when(|page| page.sum(&["polls_total{", "zis", "failure"]) == 1.0)
        .await;
    harness
        .page_when(|page| page.samples(&["target_failing{"]).is_empty())
        .await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(3));
    assert!(
        harness
            .page()
            .await
            .value(&["api_wait_seconds_total{", "zis"])
            > Some(0.0)
    );
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_for_and_never_overrun() {
    let sizes = Sizes {
        entities: 2,
        integrations: 2,
        ..SIZES
    };
    let harness = Harness::start_limited(sizes, 9, OFTEN).await;
    let used_up = |page: &Page, system| {
        page.value(&["api_quota_remaining{", system, "window=\"60\""]) == Some(0.0)
    };
    let page = harness
        .page_when(|page| used_up(page, "zuora") && used_up(page, "zis"))
        .await;
    for system in ["zuora", "zis"] {
        assert_eq!(
            page.value(&["api_quota_limit{", system, "window=\"60\""]),
            Some(9.0)
        );
        let now = jiff::Timestamp::now().as_second() as f64;
        for metric in [
            "api_quota_reset_timestamp_seconds{",
            "api_paused_until_timestamp_seconds{",
        ] {
            let at = page
                .value(&[metric, system])
                .or_else(|| page.value(&[metric, system, "60"]))
                .unwrap();
            assert!((now - 1.0..now + 61.0).contains(&at), "{metric} {system}");
        }
        assert_eq!(page.value(&["api_rate_limited_total{", system]), Some(0.0));
    }
    assert_eq!(
        page.value(&["api_quota_limit{", "zuora", "concurrency"]),
        Some(40.0)
    );
    assert_eq!(
        page.value(&["api_quota_remaining{", "zuora", "concurrency"]),
        Some(39.0)
    );
    let asked = harness.simulator.requests("connections_all");
    let whole = page
        .value(&["api_quota_reset_timestamp_seconds{", "zis", "60"])
        .unwrap();
    // Observe three intervals, which are three seconds, but not longer than until the reset.
    let end = whole.min(jiff::Timestamp::now().as_second() as f64 + 3.0);
    while (jiff::Timestamp::now().as_second() as f64) < end - 1.0 {
        assert!(
            harness.simulator.requests("connections_all") <= asked + 3,
            "asked during the pause"
        );
        harness.page().await;
    }
    assert_eq!(harness.page().await.sum(&["api_rate_limited_total{"]), 0.0);
}

#[tokio::test]
async fn a_429_halves_the_budget_and_the_page_shows_it() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    let kind = |page: &Page, kind: &str| {
        page.value(&["budget_requests_per_second{", "zis", kind])
            .unwrap()
    };
    assert_eq!(kind(&harness.page().await, "effective"), 1000.0);
    harness.simulator.fail(Fault {
        times: Some(1),
        retry_after: Some(RetryAfter::Seconds(1)),
        ..at("connections_all", Kind::TooManyRequests)
    });
    let page = harness
        .page_when(|page| page.value(&["api_rate_limited_total{", "zis"]) == Some(1.0))
        .await;
    assert_eq!(
        (kind(&page, "configured"), kind(&page, "effective")),
        (1000.0, 500.0)
    );
}

#[tokio::test]
async fn a_503_that_says_when_to_come_back_pauses_too() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    harness.simulator.fail(Fault {
        times: Some(1),
        retry_after: Some(RetryAfter::Seconds(600)),
        ..at("connections_all", Kind::ServiceUnavailable)
    });
    let page = harness
        .page_when(|page| page.value(&["api_paused_until_timestamp_seconds{", "zis"]) > Some(0.0))
        .await;
    assert_eq!(page.value(&["api_rate_limited_total{", "zis"]), Some(0.0));
}

#[tokio::test]
async fn a_zuora_token_that_ends_early_is_replaced_once_and_nobody_notices() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    harness.simulator.fail(Fault {
        times: Some(1),
        ..at("entity_connections", Kind::RevokedToken)
    });
    let page = harness
        .page_when(|page| {
            page.value(&["api_requests_total{", "entity_connections", "code=\"401\""]) >= Some(1.0)
        })
        .await;
    let polls = page.sum(&["polls_total{", "zuora", "success"]);
    let page = harness
        .page_when(|page| page.sum(&["polls_total{", "zuora", "success"]) >= polls + 4.0)
        .await;
    assert_eq!(page.sum(&["polls_total{", "zuora", "failure"]), 0.0);
    assert_eq!(harness.simulator.requests("oauth_token"), 2);
    assert!(
        page.value(&[
            "credential_expiry_timestamp_seconds{",
            "credential=\"oauth_token\""
        ]) > Some(jiff::Timestamp::now().as_second() as f64 + 3500.0)
    );
}

#[tokio::test]
async fn a_wrong_zuora_secret_is_unauthorized_and_costs_at_most_one_token_request_a_poll() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    harness
        .simulator
        .change(|world| world.tenant.client_secret = "another".to_owned());
    harness.simulator.fail(Fault {
        times: Some(1),
        ..at("entity_connections", Kind::RevokedToken)
    });
    let page = harness
        .page_when(|page| page.sum(&["polls_total{", "zuora", "failure"]) >= 6.0)
        .await;
    assert_eq!(
        page.samples(&["target_failing{", "zuora", "unauthorized"])
            .len(),
        2
    );
    // The first of these polls still had a token. After the last one, another request may be in
    // flight.
    let failures = page.sum(&["polls_total{", "zuora", "failure"]);
    let requests = page
        .value(&["api_requests_total{", "oauth_token", "code=\"401\""])
        .unwrap();
    assert!(
        (1.0..=failures + 1.0).contains(&requests),
        "{requests} for {failures} polls"
    );
}

#[tokio::test]
async fn the_only_entity_of_a_tenant_that_does_not_list_them_is_asked_for_without_the_header() {
    for reach in [1, 2] {
        let mut world = World::new(SIZES, 1, jiff::Timestamp::now());
        world.tenant.reach = reach;
        let refused = at("entities", Kind::Refuse);
        let harness = Harness::start_failing(world, vec![refused], OFTEN).await;
        if reach == 1 {
            harness.ready().await;
            let page = harness.page().await;
            assert_eq!(page.sum(&["saas_connections{", "zuora"]), 10.0);
            assert_eq!(page.value(&["discovery_up{"]), Some(1.0));
            assert_eq!(
                harness.simulator.without_header(),
                1,
                "the one listing, and not the list of entities"
            );
        } else {
            let page = harness
                .page_when(|page| page.value(&["discovery_up{"]) == Some(0.0))
                .await;
            assert!(
                page.samples(&["target_up{", "zuora"]).is_empty(),
                "there is nothing to choose by"
            );
            // Ready, because the account had its first attempt.
            harness.ready().await;
        }
    }
}

/// Starts a tenant and a daemon that polls it often; `token` is the body of its token endpoint.
///
/// Its entities are discovered, not configured.
async fn tenant(token: &str) -> (wiremock::MockServer, std::net::SocketAddr, impl Drop) {
    let vendor = wiremock::MockServer::start().await;
    let answer =
        |body: &str| wiremock::ResponseTemplate::new(200).set_body_raw(body, "application/json");
    for (path, body) in [
        ("/oauth/token", token),
        (
            "/v1/entities",
            r#"{"success": true, "entities": [{"id": "8a808255557baba1015580e12fa5083a", "name": "n"}]}"#,
        ),
        (
            "/v1/entity-connections",
            r#"{"success": true, "entityConnections": []}"#,
        ),
    ] {
        wiremock::Mock::given(wiremock::matchers::path(path))
            .respond_with(answer(body))
            .mount(&vendor)
            .await;
    }
    let text = format!(
        "poll:\n{OFTEN}zuora:\n  - account: a\n    base_url: {}\n    client_id: i\n    \
            client_secret_env: S\n    requests_per_minute: 60000\n",
        vendor.uri()
    );
    let (address, end) = crate::harness::serve_text(&text).await;
    (vendor, address, end)
}

#[tokio::test]
async fn a_client_that_is_refused_with_a_200_is_unauthorized_and_not_tried_again_and_again() {
    for refusal in [
        r#"{"success":false,"reasons":[{"code":90000011}]}"#,
        r#"{"error":"invalid_client"}"#,
        r#"{"access_token":""}"#,
    ] {
        let (vendor, address, _end) = tenant(refusal).await;
        let refused = ["api_errors_total{", "reason=\"unauthorized\""];
        let again = |page: &Page| page.value(&refused) >= Some(3.0);
        crate::harness::page_when(address, again).await;
        let asked = vendor.received_requests().await.unwrap();
        assert_eq!(asked.len(), 1, "{refusal}");
    }
}

#[tokio::test]
async fn a_token_whose_life_and_scopes_are_of_other_types_is_used() {
    let token = r#"{"access_token":"t","expires_in":"3599","scope":["entity.8a808255-557b-aba1-0155-80e12fa5083a"]}"#;
    let (_vendor, address, _end) = tenant(token).await;
    let up = |page: &Page| page.value(&["target_up{", "target=\"n\""]) == Some(1.0);
    let page = crate::harness::page_when(address, up).await;
    for field in ["expires_in", "scope"] {
        let field = format!("field=\"{field}\"");
        assert_eq!(page.value(&["unknown_values_total{", &field]), Some(1.0));
    }
    let expiry = page.value(&["credential_expiry_timestamp_seconds{"]);
    assert!(expiry > Some(jiff::Timestamp::now().as_second() as f64 + 3500.0));
}

#[tokio::test]
async fn a_token_that_reaches_none_of_the_entities_says_so_and_is_counted() {
    let sizes = Sizes {
        entities: 6,
        ..SIZES
    };
    let mut world = World::new(sizes, 1, jiff::Timestamp::now());
    // The token has access to the first entity only, which is not provisioned.
    world.tenant.reach = 1;
    for (place, entity) in world.tenant.entities.iter_mut().enumerate() {
        entity.provisioned = place > 0;
    }
    let harness = Harness::start_failing(world, Vec::new(), OFTEN).await;
    harness
        .page_when(|page| page.value(&["discovery_up{"]) == Some(0.0))
        .await;
    harness.ready().await;
    let page = harness.page().await;
    let reason = ["api_errors_total{", "zuora", "reason=\"forbidden\""];
    assert!(page.value(&reason) >= Some(1.0));
    let status = harness.get("/").await.text().await.unwrap();
    for part in [
        "(6), 5 are provisioned, and the token reaches 0 of these",
        "give the user of the OAuth client access to them",
    ] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
}

#[tokio::test]
async fn every_entity_is_shown_and_those_that_the_token_does_not_reach_are_counted() {
    let sizes = Sizes {
        entities: 3,
        ..SIZES
    };
    let mut world = World::new(sizes, 1, jiff::Timestamp::now());
    world.tenant.entities[0].name = "Global".to_owned();
    world.tenant.entities[1].provisioned = false;
    world.tenant.reach = 1;
    let ids: Vec<_> = world.tenant.entities.iter().map(|e| e.id.clone()).collect();
    let harness = Harness::start_failing(world, Vec::new(), ONCE).await;
    let folder = configured_in_files(&harness, "1h");
    let state = tempfile::tempdir().unwrap();
    let state = format!("--state.dir={}", state.path().join("s").display());
    harness.ready().await;
    let before = harness.simulator.requests("entities");
    for start in ["first", "second"] {
        let mut daemon = daemon_in(folder.path(), &[&state]).await;
        let unreached =
            "connections_exporter_targets_unreached{system=\"zuora\",account=\"production\"} 1\n";
        let page = Page(page_when(daemon.address, |page| page.contains(unreached)).await);
        let info = ["saas_entity_info{", "zuora", "production"];
        assert_eq!(page.samples(&info).len(), 3, "{start}");
        for (id, parent, status) in [
            (&ids[0], "", "provisioned"),
            (&ids[1], &*ids[0], "unprovisioned"),
            (&ids[2], &*ids[0], "provisioned"),
        ] {
            let labels = [("entity", &**id), ("parent", parent), ("status", status)];
            let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
            let [entity, parent, status] = labels.each_ref().map(|label| &**label);
            let tenant = "tenant=\"19\"";
            let sample = [info[0], entity, parent, status, tenant];
            assert_eq!(page.value(&sample), Some(1.0), "{start}: {sample:?}");
        }
        assert_eq!(page.samples(&[info[0], "name=\"Global\""]).len(), 1);
        daemon.signal("TERM");
        daemon.end();
    }
    // The first start requested the list. The second one has it from the disk.
    assert_eq!(harness.simulator.requests("entities"), before + 1);
}

#[tokio::test]
async fn a_discovery_that_goes_on_failing_is_one_line_and_its_end_is_another() {
    let harness = Harness::start(SIZES, ONCE).await;
    harness.ready().await;
    harness
        .simulator
        .fail(at("entities", Kind::InternalServerError));
    let folder = configured_in_files(&harness, "1s");
    let file = folder.path().join("config.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("entities:"), "they are followed: {text}");
    let mut daemon = daemon_in(folder.path(), &[]).await;
    let before = harness.simulator.requests("entities");
    page_when(daemon.address, |_| {
        harness.simulator.requests("entities") >= before + 5
    })
    .await;
    harness.simulator.heal();
    page_when(daemon.address, |page| {
        Page(page.to_owned()).sum(&["target_up{", "zuora"]) == 2.0
    })
    .await;
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    assert_eq!(log.matches("discovery failed").count(), 1, "{log}");
    assert!(
        log.contains("cost=\"no target of the account is polled until it succeeds\""),
        "{log}"
    );
    assert!(!log.contains("are kept"), "there are none: {log}");
    assert_eq!(log.matches("discovery succeeded again").count(), 1, "{log}");
}
