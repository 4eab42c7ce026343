//! Many reloads during scrapes.

use std::collections::BTreeMap;
use std::fs;

use connections_simulator::Sizes;
use http::StatusCode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{LIFECYCLE, Reloaded, without};
use crate::harness::Page;

/// Returns the counters that a reload must not lower, without those of the target it removes.
fn counters(page: &Page) -> BTreeMap<String, f64> {
    let samples = page.samples(&["_total{"]);
    let counters = samples
        .iter()
        .filter(|(name, _)| !name.contains("acme_crm"));
    counters
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[tokio::test]
async fn a_hundred_reloads_under_load_leave_no_hole_and_lower_no_counter() {
    let sizes = Sizes {
        integrations: 5,
        integration_connections: 250,
        ..Sizes::default()
    };
    let this = Reloaded::start_with(sizes, "1s", &[LIFECYCLE]).await;
    // On a busy machine a poll may be late by more than three of these intervals, and a listing
    // would become stale.
    this.edit(|text| text.replace("interval: 1s", "interval: 1s\n  stale_after: 1h"));
    assert_eq!(this.reload().await.0, StatusCode::OK);
    let whole = fs::read_to_string(this.file()).unwrap();
    let less = without(&whole, "acme_crm").replace("interval: 1s", "interval: 2s");
    let address = this.daemon.address;
    let stop = CancellationToken::new();
    let mut scrapers = JoinSet::new();
    for gzip in [false, true] {
        let stop = stop.clone();
        scrapers.spawn(async move {
            let client = reqwest::Client::builder().gzip(gzip).build().unwrap();
            let (mut before, mut count) = (BTreeMap::new(), 0);
            while !stop.is_cancelled() {
                let answer = client.get(format!("http://{address}/metrics"));
                let answer = answer.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                let page = Page(answer.text().await.unwrap());
                for target in ["acme_slack", "acme_survey", "Global", "Japan"] {
                    let target = format!("target=\"{target}\"");
                    let shown = page.sum(&["saas_connections{", &target]);
                    assert!(shown > 0.0, "a hole: {target}");
                    assert_eq!(page.value(&["target_up{", &target]), Some(1.0));
                }
                let now = counters(&page);
                for (name, value) in &before {
                    let kept = now.get(name);
                    assert!(kept >= Some(value), "{name} fell from {value} to {kept:?}");
                }
                before = now;
                count += 1;
            }
            count
        });
    }
    for round in 0..25 {
        fs::write(this.file(), if round % 2 == 0 { &less } else { &whole }).unwrap();
        // Four reloads at once, one of them by signal.
        this.daemon.signal("HUP");
        let [a, b, c] = [(); 3].map(|()| this.reload());
        let answers: [_; 3] = tokio::join!(a, b, c).into();
        assert_eq!(answers.map(|(status, _)| status), [StatusCode::OK; 3]);
    }
    fs::write(this.file(), &whole).unwrap();
    assert_eq!(this.reload().await.0, StatusCode::OK);
    stop.cancel();
    for count in scrapers.join_all().await {
        assert!(count > 10, "{count} scrapes");
    }
    // Polling continues normally.
    let page = this
        .page_when(|page| page.value(&["target_up{", "acme_crm"]) == Some(1.0))
        .await;
    let polls = page.sum(&["polls_total{", "success"]);
    let page = this
        .page_when(|page| page.sum(&["polls_total{", "success"]) > polls + 9.0)
        .await;
    assert_eq!(page.sum(&["polls_total{", "failure"]), 0.0);
    assert!(page.sum(&["connections_exporter_tasks"]) < 40.0);
}
