//! Each panel shows the state of the simulator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scene::{ALL, Held, Scene};
use super::{dashboards, list, panels, text};
use crate::prometheus::VERSIONS;

#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn every_panel_shows_what_the_simulator_holds() {
    for program in VERSIONS {
        println!("{program}");
        Box::pin(panels_of(program)).await;
    }
}

async fn panels_of(program: &str) {
    let scene = Scene::play(program).await;
    let held = scene.harness.simulator.change(|world| Held::of(world));
    numbers_are_those_of_the_simulator(&scene, &held).await;
    rows_are_those_of_the_simulator(&scene, held).await;
    every_query_has_an_answer(&scene).await;
    what_is_chosen_alone_is_shown(&scene).await;
    variables_offer_what_there_is(&scene).await;
    without_the_exporter_nothing_is_called_well(&scene).await;
}

async fn numbers_are_those_of_the_simulator(scene: &Scene, held: &Held) {
    let apart = held.apart().len();
    assert!(apart >= 3);
    for fate in [|fate| fate == 2.0, |fate| fate == 5.0, |fate| fate == 10.0] {
        assert_eq!(held.tokens(fate), 1);
    }
    for (file, title, expected) in [
        ("overview", "Exporters down", 0),
        ("overview", "Alert rules", 1),
        ("overview", "Targets blind", 1),
        ("overview", "Targets failing", 1),
        ("overview", "Expected missing", 1),
        ("overview", "Connections lost in 7 d", 2),
        // With the edge that is no longer listed, as in the table.
        ("overview", "Not connected now", apart + 1),
        (
            "overview",
            "Tokens to replace",
            held.tokens(|fate| fate >= 8.0),
        ),
        (
            "overview",
            "Tokens to check",
            held.tokens(|fate| (5.0..8.0).contains(&fate)),
        ),
        ("connections", "Connections", held.edges.len() + held.stored),
        ("connections", "Tokens with an expiry", held.tokens.len()),
        (
            "connections",
            "Renewed tokens",
            held.tokens(|fate| fate == 3.0),
        ),
        ("connections", "basic_auth", 6),
        ("connections", "Entities not reached", 0),
        ("budget", "Configuration", 1),
        ("budget", "Web configuration", 1),
        ("budget", "Failed state writes", 0),
        ("budget", "Shards missing", 0),
        ("budget", "Unknown values", 0),
        ("budget", "Accounts paused", 0),
    ] {
        let expected = BTreeMap::from([([], expected as f64)]);
        scene.shows((file, title), [], expected).await;
    }
    let up = (held.edges.len() - apart) as f64 / held.edges.len() as f64;
    let up = BTreeMap::from([([], up)]);
    scene.shows(("connections", "Connected"), [], up).await;
}

async fn rows_are_those_of_the_simulator(scene: &Scene, held: Held) {
    // State 4 is "no longer listed".
    let with_gone = |edges: &BTreeMap<[String; 1], f64>| {
        let mut edges = edges.clone();
        edges.insert([scene.gone.clone()], 4.0);
        edges
    };
    let (all, apart) = (with_gone(&held.edges), with_gone(&held.apart()));
    for (file, title, expected) in [
        ("connections", "Entity connections", &all),
        ("connections", "Entity connections over time", &held.edges),
        ("overview", "Not connected", &apart),
    ] {
        scene
            .shows((file, title), ["connection"], expected.clone())
            .await;
    }
    let mut ending = held.tokens.clone();
    ending.retain(|_, fate| *fate >= 4.0);
    let by = ["target", "connection"];
    scene
        .shows(("connections", "Stored tokens"), by, held.tokens)
        .await;
    scene.shows(("overview", "Expiring next"), by, ending).await;

    let row = |row: [&str; 3], value| (row.map(str::to_owned), value);
    let missing = row(["acme", "acme_slack", "zendesk"], 0.0);
    let there = row(["acme", "acme_slack", "slack"], 1.0);
    let by = ["account", "target", "expected"];
    scene
        .shows(
            ("overview", "Expected connections missing"),
            by,
            [missing.clone()].into(),
        )
        .await;
    scene
        .shows(("connections", "Expected"), by, [missing, there].into())
        .await;
    let why = ["acme_shopify", "forbidden", "ConnectionsTargetForbidden"];
    let by = ["target", "reason", "runbook"];
    scene
        .shows(("overview", "Blind targets"), by, [row(why, 3.0)].into())
        .await;
    let fires = ["ExpectedConnectionMissing", "acme_slack", "zendesk"];
    let by = ["alertname", "target", "connection"];
    scene
        .shows(("overview", "Alerts"), by, [row(fires, 3.0)].into())
        .await;
}

async fn without_the_exporter_nothing_is_called_well(scene: &Scene) {
    scene.harness.shutdown.cancel();
    scene
        .shows(("overview", "Exporters down"), [], [([], 2.0)].into())
        .await;
    for (_, dashboard) in dashboards() {
        for panel in panels(&dashboard).filter(|panel| panel["type"] == "stat") {
            let expression = text(&list(panel, "targets")[0], "expr");
            // Queries over a time range still see the samples from before the shutdown.
            if panel["title"] != "Exporters down" && !expression.contains("[$__") {
                scene.until(expression, ALL, <[_]>::is_empty).await;
            }
        }
    }
}

/// Asserts that every query returns samples, because the scene has a sample of every kind.
async fn every_query_has_an_answer(scene: &Scene) {
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let mut first: Option<BTreeSet<String>> = None;
            for target in list(panel, "targets") {
                let expression = text(target, "expr");
                let over = format!("last_over_time(({expression})[15m:5s])");
                let asked = if target["range"] == true {
                    &over
                } else {
                    expression
                };
                let samples = scene.until(asked, ALL, |samples| !samples.is_empty()).await;
                if panel["type"] != "table" || panel["title"] == "Instances" {
                    continue;
                }
                // Grafana joins the queries of a table by their labels. Labels that the first query
                // lacks would become an additional row.
                let rows: BTreeSet<_> = samples
                    .iter()
                    .map(|sample| sample["metric"].to_string())
                    .collect();
                let first = first.get_or_insert_with(|| rows.clone());
                assert!(
                    rows.is_subset(first),
                    "{name}: {}: {rows:?} besides {first:?}",
                    panel["title"]
                );
            }
        }
        for annotation in list(&dashboard["annotations"], "list") {
            scene
                .until(text(annotation, "expr"), ALL, |samples| !samples.is_empty())
                .await;
        }
    }
}

/// Asserts that no panel shows a target that is not selected.
async fn what_is_chosen_alone_is_shown(scene: &Scene) {
    let chosen = ["zis", "acme", "acme_billing"];
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in list(panel, "targets") {
                for sample in scene.ask(text(target, "expr"), chosen).await {
                    for (label, only) in ["system", "account", "target"].into_iter().zip(chosen) {
                        let shown = text(&sample["metric"], label);
                        assert!(
                            shown.is_empty() || shown == only,
                            "{name}: {}: {sample}",
                            panel["title"]
                        );
                    }
                }
            }
        }
    }
}

async fn variables_offer_what_there_is(scene: &Scene) {
    let (_, dashboard) = dashboards().remove(0);
    for (variable, chosen, expected) in [
        (1, ALL, vec![""]),
        (2, ALL, vec!["exporter"]),
        (3, ALL, vec!["zis", "zuora"]),
        (4, ["zuora", ".+", ".+"], vec!["production"]),
        (
            5,
            ["zis", "acme", ".+"],
            vec!["acme_billing", "acme_shopify", "acme_slack"],
        ),
    ] {
        let query = text(
            &list(&dashboard["templating"], "list")[variable]["query"],
            "query",
        );
        let (series, label) = query
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')')
            .unwrap()
            .rsplit_once(", ")
            .unwrap();
        let offers = |samples: &[Value]| {
            let offered = samples.iter().map(|sample| text(&sample["metric"], label));
            offered
                .collect::<BTreeSet<_>>()
                .into_iter()
                .eq(expected.iter().copied())
        };
        let query = format!("group by ({label}) ({series})");
        scene.until(&query, chosen, offers).await;
    }
}
