//! A healthy daemon with a healthy vendor, and events that must not raise an alert.

use crate::exporter::Exporter;
use crate::process::until;
use crate::scene::Scene;

/// Number of rounds, each with ten successful polls and a failed one, at an interval of two
/// seconds.
const ROUNDS: usize = 6;

/// Returns the number of polls of target `used` with this outcome.
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

/// Waits for this many more polls with this outcome.
async fn more(exporter: &Exporter, outcome: &str, number: u64) {
    let before = polls(exporter, outcome).await;
    let what = format!("{number} polls of outcome {outcome} do not come");
    until(&what, async || {
        polls(exporter, outcome).await >= before + number
    })
    .await;
}

/// Makes a poll fail in each round, restarts the daemon once, and reloads its configuration once.
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
        // At most one failed poll of the account in a row.
        tokio::join!(
            more(healthy, "failure", 1),
            well.fail("kind=500&times=1&target=used"),
        );
    }
}
