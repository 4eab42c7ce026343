//! ZIS with an admin client: tokens are requested, renewed and replaced, and integrations are
//! discovered.

use connections_simulator::{Fault, Kind, Sizes, World};
use jiff::Timestamp;

use crate::harness::{Harness, OFTEN};

const SIZES: Sizes = Sizes {
    entities: 0,
    entity_connections: 0,
    integrations: 3,
    integration_connections: 5,
};

/// Starts a harness; `integrations` is the value of that key in the configuration.
async fn harness(integrations: &str) -> Harness {
    let world = World::new(SIZES, 1, Timestamp::now());
    let (id, secret) = world.admin.clone();
    Harness::configured(
        world,
        Vec::new(),
        None,
        OFTEN,
        <_>::default(),
        |text, mut env| {
            let (before, _) = text.split_once("    integrations:").unwrap();
            env.insert("ADMIN".to_owned(), secret);
            let admin = format!(
                "    admin_client: {{client_id: {id}, client_secret_env: ADMIN}}\n    \
            integrations: {integrations}\n"
            );
            (format!("{before}{admin}"), env)
        },
    )
    .await
}

#[tokio::test]
async fn each_integration_gets_a_token_of_its_own_and_all_of_them_are_followed() {
    let harness = harness("all").await;
    harness.ready().await;
    let page = harness
        .page_when(|page| page.sum(&["target_up{"]) == 3.0)
        .await;
    assert_eq!(page.sum(&["saas_connections{"]), 15.0);
    assert_eq!(page.value(&["discovery_up{"]), Some(1.0));
    let now = Timestamp::now().as_second() as f64;
    for credential in ["admin_token", "acme_slack", "acme_shopify", "acme_billing"] {
        let at = page
            .value(&[
                "credential_expiry_timestamp_seconds{",
                &format!("\"{credential}\""),
            ])
            .unwrap();
        assert!(
            (now + 7100.0..now + 7300.0).contains(&at),
            "{credential}: {}",
            at - now
        );
    }
    let asked = || {
        ["admin_token", "integrations", "integration_token"]
            .map(|endpoint| harness.simulator.requests(endpoint))
    };
    assert_eq!(asked(), [1, 1, 3]);
    let polls = page.sum(&["polls_total{", "success"]);
    harness
        .page_when(|page| page.sum(&["polls_total{", "success"]) >= polls + 6.0)
        .await;
    assert_eq!(asked(), [1, 1, 3], "and keeps it");
}

#[tokio::test]
async fn tokens_that_are_revoked_are_made_again_and_nobody_notices() {
    let harness = harness("[acme_slack, {name: acme_shopify, expect: [slack]}]").await;
    harness.ready().await;
    harness
        .page_when(|page| page.sum(&["target_up{"]) == 2.0)
        .await;
    // The simulator revokes all tokens, including the admin client's.
    harness.simulator.fail(Fault {
        times: Some(1),
        ..Fault::new(Kind::RevokedToken)
    });
    let page = harness
        .page_when(|page| {
            page.value(&["api_requests_total{", "connections_all", "\"401\""]) >= Some(1.0)
        })
        .await;
    let polls = page.sum(&["polls_total{", "success"]);
    let page = harness
        .page_when(|page| page.sum(&["polls_total{", "success"]) >= polls + 4.0)
        .await;
    assert_eq!(page.sum(&["polls_total{", "failure"]), 0.0);
    assert_eq!(harness.simulator.requests("admin_token"), 2);
    assert_eq!(
        page.value(&["saas_connection_expected_present{", "acme_shopify"]),
        Some(1.0)
    );
    assert_eq!(
        page.value(&["discovery_up{"]),
        None,
        "the list is configured"
    );
}

#[tokio::test]
async fn a_refused_admin_client_is_unauthorized_and_asked_for_once() {
    let harness = harness("[acme_slack, acme_shopify, acme_billing]").await;
    harness.ready().await;
    harness
        .simulator
        .change(|world| world.admin.1 = "another".to_owned());
    let before = harness.simulator.requests("admin_token");
    harness.simulator.fail(Fault {
        times: Some(1),
        ..Fault::new(Kind::RevokedToken)
    });
    let page = harness
        .page_when(|page| page.samples(&["target_failing{", "unauthorized"]).len() == 3)
        .await;
    assert_eq!(page.sum(&["saas_connections{"]), 15.0);
    assert_eq!(
        harness.simulator.requests("admin_token"),
        before + 1,
        "three targets, one refusal"
    );
}

#[tokio::test]
async fn an_integration_that_the_registry_does_not_list_is_not_found() {
    let harness = harness("[acme_slack, nowhere]").await;
    let page = harness
        .page_when(|page| page.samples(&["target_failing{"]).len() == 1)
        .await;
    assert_eq!(
        page.value(&["target_failing{", "nowhere", "not_found"]),
        Some(1.0)
    );
    harness
        .page_when(|page| page.sum(&["target_up{"]) == 1.0)
        .await;
}
