//! End-to-end tests of the alerts: each one fires and resolves with its cause, and nothing healthy
//! raises one.
//!
//! Simulators, daemons, Prometheus and Alertmanager are the real ones. Only the durations in the
//! rules are divided, by `deploy/prometheus/scale.sh`, so that days pass in minutes. Thresholds in
//! seconds are met by the dates that the simulators return.
//!
//! It is a separate test binary, because nothing else should run at the same time.

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
use stack::{DISABLED, SCALE, Stack, Version, hours};

/// Time that an alert may take beyond what its rule needs, on a busy machine.
const LATE: Duration = Duration::from_mins(2);

/// Measured times of one alert.
struct Row {
    alert: Alert,
    cause: &'static str,
    fires: Duration,
    ends: Duration,
}

/// A cause, and the alerts that it must raise.
struct Rehearsal<'a> {
    inbox: &'a Inbox,
    cause: &'static str,
    /// Time at which the cause began.
    since: Instant,
    /// Time that the rules themselves need: until the alerts fire, and until they resolve.
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

    /// Sets an earlier time at which the cause began.
    fn since(mut self, since: Instant) -> Self {
        self.since = since;
        self
    }

    /// Provokes the cause, waits for its alerts, removes it, and waits until they resolve.
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

/// Returns a table of the measured times, and of the same times without scaling.
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

/// Returns name and severity of every alert in the rules.
fn alerts() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    let rules: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let alerts =
        rules.filter_map(|rule| Some((text(&rule["alert"])?, text(&rule["labels"]["severity"])?)));
    alerts
        .filter(|(name, _)| !DISABLED.contains(&&**name))
        .collect()
}

/// One after the other, because each needs the machine for itself.
#[tokio::test]
#[ignore = "needs prometheus, prometheus-alertmanager and jsonnet, in two versions: make test"]
async fn each_alert_comes_of_its_cause_and_ends_with_it_and_nothing_healthy_raises_one() {
    for version in [
        Version {
            prometheus: "prometheus",
            alertmanager: "prometheus-alertmanager",
        },
        Version {
            prometheus: "prometheus-newer",
            alertmanager: "prometheus-alertmanager-newer",
        },
    ] {
        println!("{} and {}", version.prometheus, version.alertmanager);
        Box::pin(rehearse(&version)).await;
    }
}

async fn rehearse(version: &Version) {
    let scene = Scene::start().await;
    let (inbox, address, _listening) = Inbox::open().await;
    let began = Instant::now();
    let stack = Stack::start(version, scene.folder.path(), address, &scene.exporters()).await;
    scene.seen(&stack).await;
    let (mut rows, ()) = tokio::join!(
        causes::all(&scene, &inbox, &stack, began),
        quiet::quiet(&scene),
    );
    let quiet = stack
        .query("count_over_time(ALERTS{job=\"healthy\",alertstate=\"firing\"}[1h])")
        .await;
    assert!(quiet.is_empty(), "{quiet:#?}");
    // The healthy daemon was observed for more than a day of scaled time. It had a failed poll, a
    // restart and a reload.
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
    // No other alert fired, and each one fired once. What an outage explains is not notified.
    let told = inbox.told();
    for labels in &told {
        assert_eq!(labels["team"], "integrations", "{labels:#?}");
        assert_eq!(labels["cluster"], "test", "{labels:#?}");
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
            assert!(texts[3].starts_with("http://grafana.test/d/"), "{texts:?}");
        }
    });
}
