//! The metrics page: promtool reports nothing about it, whatever the vendors send.

use connections_simulator::{Edge, Entity, Sizes, StoredConnection, World};
use jiff::Timestamp;

use crate::harness::{Harness, ONCE};

/// Texts that have broken other exporters.
const NASTY: [&str; 10] = [
    "quote\" backslash\\ newline\n end",
    "carriage\rreturn",
    "nul\0 and escape\u{1b}[31m",
    "emoji 🦀 and ü",
    "right-to-left \u{202e}",
    "}",
    "{a=\"b\"} 1",
    "# HELP x y",
    "",
    " ",
];

/// Returns a world with these texts as names and ids, and one of 100 kB.
fn nasty() -> World {
    let mut world = World::new(
        Sizes {
            entities: 2,
            entity_connections: 4,
            integrations: 1,
            integration_connections: 2,
        },
        1,
        Timestamp::now(),
    );
    let long = "long ".repeat(20_000);
    let template = world.integrations[0].connections[0].clone();
    // A ZIS row without a name would fail the listing.
    let names = NASTY
        .into_iter()
        .filter(|name| !name.is_empty())
        .chain([long.as_str()]);
    world.integrations[0].connections = names
        .map(|name| StoredConnection {
            name: name.to_owned(),
            ..template.clone()
        })
        .collect();
    let (a, b) = (
        world.tenant.entities[0].id.clone(),
        world.tenant.entities[1].id.clone(),
    );
    for text in NASTY {
        world.tenant.connections.push(Edge {
            id: text.to_owned(),
            source: a.clone(),
            target: b.clone(),
            status: text.to_owned(),
        });
    }
    world.tenant.connections.push(Edge {
        id: long.clone(),
        source: long,
        target: String::new(),
        status: "Denied".to_owned(),
    });
    for entity in &mut world.tenant.entities {
        NASTY[0].clone_into(&mut entity.name);
    }
    world.tenant.entities.push(Entity {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        name: "x".repeat(100_000),
        provisioned: true,
    });
    world
}

#[tokio::test]
async fn whatever_the_vendors_send_is_counted_and_cut() {
    let harness = Harness::start_with(nasty(), ONCE, <_>::default()).await;
    harness.ready().await;
    let page = harness.page().await;
    assert_eq!(page.sum(&["saas_connections{", "zis"]), 10.0);
    assert!(
        page.sum(&["unknown_values_total{", "field=\"status\""]) >= 20.0,
        "{}",
        page.0
    );
    assert!(
        page.samples(&["status=\"Denied\""]).is_empty(),
        "a vendor's text is no status"
    );
    assert_eq!(page.samples(&["target_up{", "zuora"]).len(), 3);
    let longest = page.0.lines().map(str::len).max().unwrap();
    assert!(longest < 256 * 14, "a line of {longest} bytes");
}

#[tokio::test]
async fn a_scrape_asks_nothing_of_the_vendors() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let asked = || {
        let endpoints = [
            "oauth_token",
            "entities",
            "entity_connections",
            "connections_all",
        ];
        endpoints.map(|endpoint| harness.simulator.requests(endpoint))
    };
    let before = asked();
    assert!(before.iter().all(|requests| *requests > 0), "{before:?}");
    for _ in 0..20 {
        let _ = harness.page().await;
    }
    assert_eq!(asked(), before);
}

#[tokio::test]
#[ignore = "needs promtool: make test"]
async fn promtool_has_nothing_to_say() {
    for world in [nasty(), World::new(Sizes::default(), 1, Timestamp::now())] {
        let harness = Harness::start_with(world, ONCE, <_>::default()).await;
        harness.ready().await;
        let _ = harness.page().await;
        // The size of the first page is a metric of the second.
        crate::golden::promtool(&harness.page().await.0);
    }
}

#[tokio::test]
#[ignore = "needs the Python client of Prometheus: make test"]
async fn openmetrics_is_what_the_reference_parser_reads() {
    for world in [nasty(), World::new(Sizes::default(), 1, Timestamp::now())] {
        let harness = Harness::start_with(world, ONCE, <_>::default()).await;
        harness.ready().await;
        for path in ["/metrics", "/metrics?system=zis", "/metrics?own=1"] {
            let url = format!("http://{}{path}", harness.address);
            let asked = reqwest::Client::new().get(url);
            let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
            let answer = asked.header("accept", accept).send().await.unwrap();
            let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8; \
                escaping=allow-utf-8";
            assert_eq!(answer.headers()["content-type"], expected);
            assert_eq!(answer.headers()["vary"], "Accept, Accept-Encoding");
            let page = answer.text().await.unwrap();
            let samples = page.split('\n').filter(|line| !line.starts_with('#'));
            // What follows the last line end is not a line.
            let samples = samples.count() - 1;
            assert_eq!(crate::golden::openmetrics(&page), samples, "{path}");
            let created = page.matches("_created{").count() + page.matches("_created ").count();
            assert!(created > 0, "{path}");
        }
    }
}
