//! Each alert is provoked by its cause and arrives, and so does its end; what is healthy raises none.
//!
//! Simulators, daemons, Prometheus and Alertmanager are the real ones. Only the lengths of time in the rules are divided,
//! by `deploy/prometheus/scale.sh`, so that days pass in minutes; thresholds in seconds are met by the dates that the
//! simulators give. A test binary of its own, since nothing else should run meanwhile.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]
#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod causes;
mod exporter;
mod inbox;
mod process;
mod quiet;
mod scene;
mod stack;
mod vendor;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_yaml::Value;

use tokio::time::Instant;

use inbox::{Alert, Inbox};
use scene::Scene;
use stack::{SCALE, Stack, hours};

/// How long an alert may take beyond what its rule says, on a machine that has more to do.
const LATE: Duration = Duration::from_mins(2);

/// What an alert took.
struct Row {
    alert: Alert,
    cause: &'static str,
    fires: Duration,
    ends: Duration,
}

/// What is done, and what must come of it.
struct Rehearsal<'a> {
    inbox: &'a Inbox,
    cause: &'static str,
    /// When the cause was there.
    since: Instant,
    /// How long the rules themselves need: until it fires, and until it ends.
    needs: (Duration, Duration),
    alerts: Vec<Alert>,
}

impl<'a> Rehearsal<'a> {
    fn new(inbox: &'a Inbox, cause: &'static str, alerts: Vec<Alert>) -> Self {
        Self {
            inbox,
            cause,
            since: Instant::now(),
            needs: (hours(4), hours(4)),
            alerts,
        }
    }

    fn needs(mut self, fires: Duration, ends: Duration) -> Self {
        self.needs = (fires, ends);
        self
    }

    /// With a cause that was there before.
    fn since(mut self, since: Instant) -> Self {
        self.since = since;
        self
    }

    /// Brings the cause about, waits for its alerts, takes it away, and waits for their ends.
    async fn run(
        self,
        provoke: impl Future<Output = ()>,
        cure: impl Future<Output = ()>,
    ) -> Vec<Row> {
        provoke.await;
        let mut rows = Vec::new();
        for alert in self.alerts {
            let at = self.inbox.fires(&alert, self.needs.0 + LATE).await;
            let fires = at.saturating_duration_since(self.since);
            let (cause, ends) = (self.cause, Duration::ZERO);
            rows.push(Row {
                alert,
                cause,
                fires,
                ends,
            });
        }
        let cured = Instant::now();
        cure.await;
        for row in &mut rows {
            let at = self.inbox.ends(&row.alert, self.needs.1 + LATE).await;
            row.ends = at.saturating_duration_since(cured);
        }
        rows
    }
}

/// What each alert took: as it was, and as it would have been without the division.
fn table(rows: &[Row]) -> String {
    let mut table = "| alert | severity | cause | fires after | that is | ends after | that is \
        |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for Row {
        alert,
        cause,
        fires,
        ends,
    } in rows
    {
        let (name, severity) = (&alert.0["alertname"], &alert.0["severity"]);
        let [fires, ends] = [fires, ends].map(|took| {
            let minutes = (*took * SCALE).as_secs() / 60;
            format!(
                "{:.1} s | {} h {:02} min",
                took.as_secs_f64(),
                minutes / 60,
                minutes % 60
            )
        });
        let _ = writeln!(
            table,
            "| {name} | {severity} | {cause} | {fires} | {ends} |"
        );
    }
    table
}

/// Name and severity of every alert that there is.
fn alerts() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    let rules: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let alerts =
        rules.filter_map(|rule| Some((text(&rule["alert"])?, text(&rule["labels"]["severity"])?)));
    alerts.collect()
}

#[tokio::test]
#[ignore = "needs prometheus and prometheus-alertmanager: make test"]
async fn each_alert_comes_of_its_cause_and_ends_with_it_and_nothing_healthy_raises_one() {
    let scene = Scene::start().await;
    let (inbox, address, _listening) = Inbox::open().await;
    let began = Instant::now();
    let stack = Stack::start(scene.folder.path(), address, &scene.exporters()).await;
    scene.seen(&stack).await;
    let (mut rows, ()) = tokio::join!(causes::all(&scene, &inbox, began), quiet::quiet(&scene),);
    let quiet = stack
        .query("count_over_time(ALERTS{job=\"healthy\",alertstate=\"firing\"}[1h])")
        .await;
    assert!(quiet.is_empty(), "{quiet:#?}");
    // What of the healthy daemon was looked at, and over how long: a day of the rules' time and more.
    for query in [
        "count_over_time(up{job=\"healthy\"}[1h]) > 24 * 5 / 0.4",
        "sum(max_over_time(connections_exporter_target_consecutive_failures{job=\"healthy\"}[1h])) \
            == 1",
        "changes(process_start_time_seconds{job=\"healthy\"}[1h]) == 1",
        "changes(connections_exporter_config_last_reload_success_timestamp_seconds{job=\"healthy\"}[1h]) == 2",
    ] {
        let seen = stack.query(query).await;
        assert!(!seen.is_empty(), "{query}");
    }
    rows.extend(causes::absent(&scene, &inbox, &stack).await);

    println!("{}", table(&rows));
    println!("{:.0} s in all", began.elapsed().as_secs_f64());
    let rehearsed = rows.iter().map(|row| {
        (
            row.alert.0["alertname"].clone(),
            row.alert.0["severity"].clone(),
        )
    });
    assert_eq!(rehearsed.collect::<BTreeSet<_>>(), alerts());
    // Nothing else came, and each of them once. A critical alert holds its warning back, but in so short a time its end may
    // be known a moment before the warning's.
    let mut told = inbox.told();
    let all = told.clone();
    told.retain(|labels| {
        let mut graver = labels.clone();
        graver.insert("severity".to_owned(), "critical".to_owned());
        labels["severity"] != "warning" || !all.contains(&graver)
    });
    for labels in &told {
        let expected = rows.iter().filter(|row| row.alert.is(labels));
        assert_eq!(expected.count(), 1, "{labels:#?}");
    }
    assert_eq!(told.len(), rows.len());
    inbox.look(|notices| {
        for notice in notices {
            let name = &notice.labels["alertname"];
            let texts = ["summary", "description", "runbook_url", "dashboard_url"]
                .map(|text| &notice.annotations[text]);
            assert!(
                texts
                    .iter()
                    .all(|text| !text.is_empty() && !text.contains("<error")),
                "{texts:?}"
            );
            assert!(texts[2].ends_with(&format!("/{name}.md")), "{texts:?}");
        }
    });
}
