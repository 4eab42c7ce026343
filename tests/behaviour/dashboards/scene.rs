//! A real Prometheus that scrapes a daemon on the simulator, with data for every panel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use connections_exporter::web::ServerLimits;
use connections_simulator::{Edge, Expiry, Sizes, StoredConnection, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{dashboards, list, panels, text};
use crate::daemon::Daemon;
use crate::harness::{Harness, PATIENCE};
use crate::prometheus::{json, scraping};

pub(super) const ALL: [&str; 3] = [".+"; 3];
const POLL: &str =
    "  interval: 2s\n  first_poll_within: 0s\n  request_timeout: 30s\n  stale_after: 1h\n";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Running daemon and Prometheus, with failures of several kinds.
///
/// One target fails, one edge was disconnected, another is no longer listed, a connection was
/// removed, and the vendor sent one 429. Stored tokens have various judgements.
pub(super) struct Scene {
    pub(super) harness: Harness,
    /// Id of the edge that is no longer listed.
    pub(super) gone: String,
    prometheus: String,
    _scraper: Daemon,
    _folder: tempfile::TempDir,
}

/// Makes a connection idle: its token expired `since` ago, but it has a refresh token.
fn idle(stored: &mut StoredConnection, since: SignedDuration) {
    stored.expiry = Expiry::At(Timestamp::now() - since);
    stored.refresh_token = true;
}

/// Renews every token that is renewed by itself.
fn renew(world: &mut World) {
    for integration in &mut world.integrations {
        for stored in &mut integration.connections {
            if let Expiry::Renewed(date, _) = &mut stored.expiry {
                *date += HOUR;
            }
        }
    }
}

impl Scene {
    pub(super) async fn play() -> Self {
        let mut world = World::new(Sizes::default(), 1, Timestamp::now());
        for integration in &mut world.integrations {
            for stored in &mut integration.connections {
                // Each of these tokens is renewed once during the test, by `renew`.
                if let Expiry::Renewed(date, life) = &mut stored.expiry {
                    (*date, *life) = (Timestamp::now() + HOUR, Duration::from_hours(1));
                }
            }
        }
        world.integrations[0].connections[2].expiry = Expiry::At(Timestamp::now() - DAY * 2);
        idle(&mut world.integrations[1].connections[2], DAY * 2);
        idle(&mut world.integrations[2].connections[2], DAY * 8);
        let harness = Harness::configured(
            world,
            Vec::new(),
            Some(6000),
            POLL,
            ServerLimits::default(),
            |text, env| (text, env),
        )
        .await;
        harness.ready().await;
        let folder = tempfile::tempdir().unwrap();
        let rule = "groups: [{name: a, interval: 1s, rules: [{alert: ExpectedConnectionMissing, expr: saas_connection_expected_present == 0, labels: {severity: warning}}]}]";
        fs::write(folder.path().join("rules.yaml"), rule).unwrap();
        // Two jobs scrape the same daemon. After a restart with another address, two instances also
        // show the same for a while.
        let job = |name: &str| {
            format!(
                "  - job_name: {name}\n    static_configs: [{{targets: ['{}']}}]\n",
                harness.address
            )
        };
        let jobs = [
            job("before"),
            job("after"),
            "rule_files: [rules.yaml]\n".to_owned(),
        ]
        .concat();
        let scraper = scraping(folder.path(), &jobs);
        let prometheus = format!("http://{}", scraper.address);
        let mut scene = Self {
            harness,
            gone: String::new(),
            prometheus,
            _scraper: scraper,
            _folder: folder,
        };
        // An increase needs a sample from before it.
        let counted =
            "count(count by (target, connection) (saas_connection_token_renewals_total == 0))";
        let tokens = scene
            .harness
            .simulator
            .change(|world| Held::of(world))
            .tokens
            .len();
        scene
            .until(counted, ALL, |samples| {
                value(samples) == Some(tokens as f64)
            })
            .await;
        scene.harness.simulator.change(renew);
        // Wait for all renewals: each token is renewed once, so a short range could miss one.
        let renewed =
            "count(count by (target, connection) (saas_connection_token_renewals_total > 0))";
        scene
            .until(renewed, ALL, |samples| value(samples) == Some(6.0))
            .await;

        scene.harness.simulator.fail(
            "kind=refuse&endpoint=connections_all&target=acme_shopify"
                .parse()
                .unwrap(),
        );
        scene.harness.simulator.fail(
            "kind=429&endpoint=entity_connections&retry_after=1&times=1"
                .parse()
                .unwrap(),
        );
        scene.gone = scene.harness.simulator.change(|world| {
            let lost = world
                .tenant
                .connections
                .iter_mut()
                .find(|edge| edge.status == "Connected");
            "Disconnected".clone_into(&mut lost.unwrap().status);
            world.integrations[2]
                .connections
                .retain(|stored| stored.kind != "api_key");
            let held = Held::of(world).edges;
            let gone = held.iter().find(|(_, state)| **state == 3.0).unwrap();
            let [gone] = gone.0.clone();
            world.tenant.connections.retain(|edge| edge.id != gone);
            gone
        });
        scene
    }

    pub(super) async fn ask(
        &self,
        expression: &str,
        [system, account, target]: [&str; 3],
    ) -> Vec<Value> {
        let expression = expression
            .replace("$system", system)
            .replace("$account", account)
            .replace("$target", target)
            // Longer than this test on a busy machine, so that the range includes single events.
            .replace("$__rate_interval", "15m")
            .replace("$__range", "15m");
        let url = format!("{}/api/v1/query", self.prometheus);
        let url = reqwest::Url::parse_with_params(&url, [("query", &expression)]).unwrap();
        let answer = json(url.as_str()).await;
        // The response is null while Prometheus is not ready yet.
        assert_ne!(
            answer["status"], "error",
            "{expression}: {}",
            answer["error"]
        );
        list(&answer["data"], "result").to_vec()
    }

    /// Repeats the query until its samples satisfy `what`.
    pub(super) async fn until(
        &self,
        expression: &str,
        chosen: [&str; 3],
        what: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let samples = self.ask(expression, chosen).await;
            if what(&samples) {
                return samples;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{expression} of {chosen:?}: {samples:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the first query of a panel returns these values by these labels.
    pub(super) async fn shows<const N: usize>(
        &self,
        (file, title): (&str, &str),
        labels: [&str; N],
        expected: BTreeMap<[String; N], f64>,
    ) {
        let mut all = dashboards().into_iter();
        let (_, dashboard) = all.find(|(name, _)| name == file).unwrap();
        let panel = panels(&dashboard).find(|panel| panel["title"] == title);
        let panel = panel.unwrap_or_else(|| panic!("{file}: {title}"));
        let expression = text(&list(panel, "targets")[0], "expr");
        let by = |samples: &[Value]| -> BTreeMap<[String; N], f64> {
            let rows = samples.iter().map(|sample| {
                (
                    labels.map(|label| text(&sample["metric"], label).to_owned()),
                    number(sample),
                )
            });
            rows.collect()
        };
        // The number of rows is compared too, so that nothing is shown twice.
        self.until(expression, ALL, |samples| {
            samples.len() == expected.len() && alike(&by(samples), &expected)
        })
        .await;
    }
}

/// Compares two maps, and ignores the rounding error of a mean.
fn alike<K: Ord>(some: &BTreeMap<K, f64>, others: &BTreeMap<K, f64>) -> bool {
    some.len() == others.len()
        && some.iter().all(|(key, value)| {
            others
                .get(key)
                .is_some_and(|other| (value - other).abs() < 1e-9)
        })
}

fn number(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}

fn value(samples: &[Value]) -> Option<f64> {
    match samples {
        [sample] => Some(number(sample)),
        _ => None,
    }
}

/// Returns the judgement that the panel "Stored tokens" must show; `None` without a valid expiry.
fn fate(stored: &StoredConnection) -> Option<f64> {
    let left = match &stored.expiry {
        Expiry::Renewed(..) => return Some(0.0),
        Expiry::At(date) => date.duration_since(Timestamp::now()),
        Expiry::Absent | Expiry::Odd(_) => return None,
    };
    Some(match (stored.refresh_token, left) {
        (true, left) if left < -DAY * 7 => 4.0,
        (true, _) => 1.0,
        (false, left) if left < -DAY * 7 => 7.0,
        (false, left) if left < -DAY => 3.0,
        // First listed during the test, and never two days before the expiry.
        (false, left) if left < DAY * 2 => 2.0,
        (false, left) if left < DAY * 7 => 5.0,
        (false, _) => 2.0,
    })
}

/// State of the simulator, in the numbers that the dashboards use.
pub(super) struct Held {
    /// Number of the state of each edge that a polled entity lists, by id.
    pub(super) edges: BTreeMap<[String; 1], f64>,
    /// Number of the judgement of each token with an expiry, by target and name.
    pub(super) tokens: BTreeMap<[String; 2], f64>,
    /// Number of connections that integrations store.
    pub(super) stored: usize,
}

impl Held {
    pub(super) fn of(world: &World) -> Self {
        let entities = world.tenant.entities.iter();
        let polled: BTreeSet<_> = entities
            .filter(|entity| entity.provisioned)
            .map(|entity| &entity.id)
            .collect();
        let edges = world.tenant.connections.iter();
        let seen = edges.filter(|e| polled.contains(&e.source) || polled.contains(&e.target));
        let state = |edge: &Edge| match edge.status.as_str() {
            "Disconnected" => 0.0,
            "Pending" => 2.0,
            _ => 3.0,
        };
        let stored = world.integrations.iter().flat_map(|of| {
            let connections = of.connections.iter();
            connections.map(|stored| ([of.name.clone(), stored.name.clone()], fate(stored)))
        });
        Self {
            edges: seen.map(|edge| ([edge.id.clone()], state(edge))).collect(),
            stored: stored.clone().count(),
            tokens: stored
                .filter_map(|(name, fate)| Some((name, fate?)))
                .collect(),
        }
    }

    /// Returns the edges that are not connected.
    pub(super) fn apart(&self) -> BTreeMap<[String; 1], f64> {
        let mut apart = self.edges.clone();
        apart.retain(|_, state| *state < 3.0);
        apart
    }

    /// Counts the tokens whose judgement satisfies `wanted`.
    pub(super) fn tokens(&self, wanted: fn(f64) -> bool) -> usize {
        self.tokens.values().filter(|fate| wanted(**fate)).count()
    }
}
