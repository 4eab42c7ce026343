//! ZIS with a configured token for each integration. Its file is read at each use, and a background
//! job requests its expiry once.

use std::collections::BTreeMap;
use std::fs;

use connections_simulator::{Fault, Kind, Sizes};
use jiff::{SignedDuration, Timestamp};

use crate::daemon::{configured_in_files, daemon_in, daemon_in_files, get, page_when};
use crate::faults::all_fail;
use crate::harness::{Harness, OFTEN, ONCE, Page};

const SIZES: Sizes = Sizes {
    entities: 0,
    entity_connections: 0,
    integrations: 2,
    integration_connections: 5,
};

const EXPIRY: &str = "connections_exporter_credential_expiry_timestamp_seconds{";

fn in_hours(hours: i64) -> Timestamp {
    let date = Timestamp::now() + SignedDuration::from_hours(hours);
    Timestamp::from_second(date.as_second()).unwrap()
}

#[tokio::test]
async fn the_end_of_a_stored_token_is_asked_once_and_shown_as_one_that_nobody_renews() {
    let harness = Harness::start(SIZES, "  interval: 1h\n  first_poll_within: 1h\n").await;
    let at = in_hours(20);
    harness
        .simulator
        .change(|world| world.integrations[0].token_expires_at = Some(at));
    let folder = configured_in_files(&harness, "1s");
    let daemon = daemon_in(folder.path(), &[]).await;
    let shown = format!("credential=\"acme_slack\"}} {}\n", at.as_second());
    let page = page_when(daemon.address, |page| page.contains(&shown)).await;
    assert!(page.contains("connections_exporter_credential_renewable{system=\"zis\",account=\"acme\",credential=\"acme_slack\"} 0\n"));
    // The other token has no expiry.
    page_when(daemon.address, |_| {
        harness.simulator.requests("current_token") == 2
    })
    .await;
    let before = harness.simulator.requests("connections_all");
    let page = page_when(daemon.address, |_| {
        harness.simulator.requests("connections_all") >= before + 4
    })
    .await;
    assert_eq!(page.matches(EXPIRY).count(), 1);
    assert_eq!(harness.simulator.requests("current_token"), 2);

    // A new token has another expiry.
    let at = in_hours(40);
    harness.simulator.change(|world| {
        world.integrations[0].token = "rotated".to_owned();
        world.integrations[0].token_expires_at = Some(at);
    });
    fs::write(folder.path().join("ZIS_TOKEN_0"), "rotated\n").unwrap();
    let shown = format!("credential=\"acme_slack\"}} {}\n", at.as_second());
    page_when(daemon.address, |page| page.contains(&shown)).await;
    assert_eq!(harness.simulator.requests("current_token"), 3);
}

#[tokio::test]
async fn a_token_that_may_not_ask_for_its_end_lists_all_the_same() {
    let fault = |kind| Fault {
        endpoint: Some("current_token".to_owned()),
        ..Fault::new(kind)
    };
    for (kind, asked) in [
        (Kind::Refuse, 2..=2),
        (Kind::Html, 2..=2),
        (Kind::RevokedToken, 2..=2),
        // A temporary failure is retried with exponential back-off.
        (Kind::InternalServerError, 4..=8),
    ] {
        let harness = Harness::start(SIZES, "  interval: 1h\n  first_poll_within: 1h\n").await;
        harness.simulator.fail(fault(kind));
        let folder = configured_in_files(&harness, "1s");
        let mut daemon = daemon_in(folder.path(), &[]).await;
        // The background job runs in parallel to the listings, so wait for both.
        let page = page_when(daemon.address, |_| {
            harness.simulator.requests("connections_all") >= 8
                && harness.simulator.requests("current_token") >= *asked.start()
        })
        .await;
        assert!(!page.contains(EXPIRY), "{kind:?}");
        assert!(!page.contains("target=\"acme_slack\",outcome=\"failure\"} 1"));
        assert!(!page.contains("target_failing{"), "{kind:?}:\n{page}");
        let requests = harness.simulator.requests("current_token");
        assert!(asked.contains(&requests), "{kind:?}: {requests}");
        daemon.signal("TERM");
        let (_, _, log) = daemon.end();
        assert!(!log.contains("level=warn"), "{kind:?}: {log}");
    }
}

#[tokio::test]
async fn while_the_question_hangs_listings_are_published_as_ever() {
    let harness = Harness::start(SIZES, "  interval: 1h\n  first_poll_within: 1h\n").await;
    harness
        .simulator
        .fail("kind=hang&endpoint=current_token".parse().unwrap());
    let folder = configured_in_files(&harness, "1s");
    let daemon = daemon_in(folder.path(), &[]).await;
    page_when(daemon.address, |_| {
        harness.simulator.requests("current_token") == 1
    })
    .await;
    let listed = harness.simulator.requests("connections_all");
    let polls = |page: &str| Page(page.to_owned()).sum(&["polls_total{", "zis", "success"]);
    let before = polls(&get(daemon.address, "/metrics").await);
    // The request of the background job has a timeout of 30 seconds.
    let page = page_when(daemon.address, |page| polls(page) >= before + 12.0).await;
    assert!(harness.simulator.requests("connections_all") >= listed + 12);
    let page = Page(page);
    assert_eq!(page.samples(&["saas_connection_info{", "zis"]).len(), 10);
    assert_eq!(page.sum(&["polls_total{", "zis", "failure"]), 0.0);
    assert_eq!(
        harness.simulator.requests("current_token"),
        1,
        "one question at a time"
    );
}

/// Returns the `grant_type` labels of the OAuth connections of an integration, by connection.
fn grants(page: &str, target: &str) -> BTreeMap<String, String> {
    let label = |line: &str, name: &str| {
        let rest = line.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let lines = page.lines().filter(|line| {
        line.starts_with("saas_connection_info{")
            && line.contains(&format!(",target=\"{target}\""))
            && line.contains("connection_type=\"oauth\"")
    });
    lines
        .map(|line| (label(line, "connection"), label(line, "grant_type")))
        .collect()
}

#[tokio::test]
async fn the_grant_of_each_oauth_connection_is_shown_and_outlasts_a_restart() {
    let harness = Harness::start(SIZES, "  interval: 1h\n  first_poll_within: 1h\n").await;
    harness.simulator.change(|world| {
        for integration in &mut world.integrations {
            for stored in &mut integration.connections {
                stored.kind = "oauth";
                stored.grant_type = "client_credentials";
            }
        }
        // This integration has clients of both grants, and names them in its listing.
        world.integrations[0].connections[0].grant_type = "authorization_code";
    });
    let (folder, state) = (
        configured_in_files(&harness, "1s"),
        tempfile::tempdir().unwrap(),
    );
    let state = format!("--state.dir={}", state.path().join("s").display());
    let mut daemon = daemon_in(folder.path(), &[&state]).await;
    let complete = |page: &str| {
        let all: Vec<_> = ["acme_slack", "acme_shopify"]
            .map(|target| grants(page, target))
            .into();
        all.iter()
            .all(|grants| grants.len() == 5 && grants.values().all(|grant| !grant.is_empty()))
    };
    let page = page_when(daemon.address, complete).await;
    let of = |target| {
        let grants = grants(&page, target);
        let count = |grant| grants.values().filter(|known| *known == grant).count();
        (count("authorization_code"), count("client_credentials"))
    };
    assert_eq!((of("acme_slack"), of("acme_shopify")), ((1, 4), (0, 5)));
    assert_eq!(
        harness.simulator.requests("oauth_clients"),
        2,
        "once an hour"
    );
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    assert!(!log.contains("level=warn"), "{log}");

    // A refusal costs no listing, and what was known before the restart stays.
    harness
        .simulator
        .fail("kind=refuse&endpoint=oauth_clients".parse().unwrap());
    let before = harness.simulator.requests("connections_all");
    let mut daemon = daemon_in(folder.path(), &[&state]).await;
    let page = page_when(daemon.address, |page| {
        harness.simulator.requests("connections_all") >= before + 6
            && harness.simulator.requests("oauth_clients") == 4
            && complete(page)
    })
    .await;
    assert!(!page.contains("target_failing{"), "{page}");
    assert!(!page.contains("target=\"acme_slack\",outcome=\"failure\"} 1"));
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    assert!(!log.contains("level=warn"), "{log}");
}

#[tokio::test]
async fn a_minted_token_is_one_that_renews() {
    let world_with_tenant = Sizes {
        entities: 2,
        entity_connections: 1,
        ..SIZES
    };
    let harness = Harness::start(world_with_tenant, OFTEN).await;
    harness.ready().await;
    let page = harness.page().await;
    let renewable = ["credential_renewable{", "oauth_token"];
    assert_eq!(page.value(&renewable), Some(1.0));
}

#[tokio::test]
async fn a_secret_file_that_changes_is_used_without_a_restart() {
    let harness = Harness::start(
        Sizes {
            entities: 0,
            integrations: 1,
            ..Sizes::default()
        },
        ONCE,
    )
    .await;
    let (folder, daemon) = daemon_in_files(&harness, "1s", &[]).await;
    let up = async |value: &str| {
        let line =
            format!("target_up{{system=\"zis\",account=\"acme\",target=\"acme_slack\"}} {value}");
        page_when(daemon.address, |page| page.contains(&line)).await;
    };
    up("1").await;
    harness
        .simulator
        .change(|world| world.integrations[0].token = "rotated".to_owned());
    up("0").await;
    fs::write(folder.path().join("ZIS_TOKEN_0"), "rotated\n").unwrap();
    up("1").await;
    fs::remove_file(folder.path().join("ZIS_TOKEN_0")).unwrap();
    up("0").await;
    assert!(
        get(daemon.address, "/metrics")
            .await
            .contains("target=\"acme_slack\",reason=\"credential\"} 1")
    );
}

#[tokio::test]
async fn a_token_of_another_integration_is_told_from_a_wrong_one() {
    let harness = Harness::start(SIZES, OFTEN).await;
    harness.ready().await;
    harness.simulator.change(|world| {
        let [a, b] = &mut world.integrations[..] else {
            panic!("two integrations")
        };
        std::mem::swap(&mut a.token, &mut b.token);
    });
    let page = harness.page_when(|page| all_fail(page, "zis")).await;
    assert_eq!(
        page.samples(&["target_failing{", "integration_mismatch"])
            .len(),
        2
    );
}
