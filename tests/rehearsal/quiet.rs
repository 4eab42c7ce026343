//! A daemon on whose healthy vendor and healthy configuration only happens what happens to everybody.

use crate::exporter::Exporter;
use crate::process::until;
use crate::scene::Scene;

/// Rounds of a failed poll and ten that succeed, of two seconds each.
const ROUNDS: usize = 6;

/// The value of the counter of polls of one target.
async fn polls(exporter: &Exporter, outcome: &str) -> u64 {
    let page = reqwest::get(format!("http://{}/metrics", exporter.address))
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    let is = |line: &&str| {
        line.starts_with("connections_exporter_polls_total{")
            && line.contains("target=\"used\"")
            && line.contains(outcome)
    };
    let line = page.lines().find(is);
    line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Until so many more polls of this outcome than there were.
async fn more(exporter: &Exporter, outcome: &str, number: u64) {
    let before = polls(exporter, outcome).await;
    let what = format!("{number} polls of outcome {outcome} do not come");
    until(&what, async || {
        polls(exporter, outcome).await >= before + number
    })
    .await;
}

/// A poll fails now and then, the daemon is restarted once, and its configuration read again once.
pub(crate) async fn quiet(scene: &Scene) {
    let Scene { well, healthy, .. } = scene;
    for round in 0..ROUNDS {
        more(healthy, "success", 10).await;
        match round {
            2 => {
                healthy.end("TERM").await;
                healthy.start_again().await;
            }
            4 => healthy.reconfigure(&healthy.read("config.yaml")).await,
            _ => {}
        }
        // Not more than one of an account in a row.
        tokio::join!(
            more(healthy, "failure", 1),
            well.fail("kind=500&times=1&target=used"),
        );
    }
}
