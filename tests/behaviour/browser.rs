//! The status page in a headless Chromium, driven by `tests/browser/status.js`.

use std::process::Command;

use connections_exporter::web::ServerLimits;
use connections_simulator::{Sizes, World};
use jiff::Timestamp;

use crate::harness::{Harness, OFTEN, ONCE};

/// Runs one scenario of the script.
async fn browse(scenario: &'static str, harness: &Harness) {
    let (page, simulator) = (
        format!("http://{}/", harness.address),
        format!("http://{}", harness.vendor),
    );
    let run = move || {
        Command::new("node")
            .args(["tests/browser/status.js", scenario, &page, &simulator])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env(
                "NODE_PATH",
                concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/target/tools/browser/node_modules"
                ),
            )
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts a harness with one integration that always responds with a refusal.
async fn with_a_failure() -> Harness {
    let fault = "kind=refuse&endpoint=connections_all&target=acme_shopify";
    let world = World::new(Sizes::default(), 1, Timestamp::now());
    let harness = Harness::start_failing(world, vec![fault.parse().unwrap()], ONCE).await;
    harness.ready().await;
    harness
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn targets_are_filtered_by_text_and_state() {
    browse("filter", &with_a_failure().await).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn a_tile_sets_the_filter_and_the_address() {
    browse("tiles", &with_a_failure().await).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn groups_stay_as_the_reader_left_them_and_open_on_failure() {
    let sizes = Sizes {
        integrations: 30,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, OFTEN).await;
    harness.ready().await;
    browse("groups", &harness).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn the_page_of_a_target_is_accessible_and_refreshes() {
    let harness = Harness::start(Sizes::default(), OFTEN).await;
    harness.ready().await;
    browse("target", &harness).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn a_link_leads_to_where_one_can_read() {
    browse("links", &with_a_failure().await).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn columns_sort() {
    browse("sort", &with_a_failure().await).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn it_refreshes_by_itself_and_keeps_filter_order_focus_and_place() {
    let harness = Harness::start(Sizes::default(), OFTEN).await;
    harness.ready().await;
    browse("refresh", &harness).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn names_that_look_like_markup_stay_text() {
    let mut world = World::new(Sizes::default(), 1, Timestamp::now());
    world.integrations[0].connections[0].name = "<script>alert(2)</script>".to_owned();
    world.integrations[0].connections[2].name = "\u{202e}gnp.exe".to_owned();
    world.tenant.entities[0].name = "<img src=x onerror=alert(1)>".to_owned();
    world.tenant.entities[1].name = "</td><svg onload=alert(3)>".to_owned();
    world.tenant.entities[2].name = "x".repeat(250);
    let account = |text: String, env| {
        let named = "account: '\"><a onfocus=alert(4)>'";
        (text.replace("account: acme", named), env)
    };
    let harness = Harness::configured(
        world,
        Vec::new(),
        None,
        ONCE,
        ServerLimits::default(),
        account,
    )
    .await;
    harness.ready().await;
    browse("markup", &harness).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn axe_finds_nothing_in_light_in_dark_and_on_a_phone() {
    browse("access", &with_a_failure().await).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn of_very_many_targets_all_are_there_to_those_who_listen() {
    let sizes = Sizes {
        entities: 0,
        integrations: 300,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    browse("many", &harness).await;
}

#[tokio::test]
#[ignore = "needs chromium: make test"]
async fn without_scripts_it_shows_the_same() {
    browse("scriptless", &with_a_failure().await).await;
}
