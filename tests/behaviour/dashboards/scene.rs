//! A real Prometheus that scrapes a daemon on the simulator, with data for every panel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use connections_exporter::web::ServerLimits;
use connections_simulator::{Edge, Expiry, Sizes, StoredConnection, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{dashboards, list, panels, text};
use crate::daemon::Daemon;
use crate::harness::{Harness, PATIENCE};
use crate::prometheus::{json, scraping_with};

pub(super) const ALL: [&str; 3] = [".+"; 3];
const POLL: &str =
    "  interval: 2s\n  first_poll_within: 0s\n  request_timeout: 30s\n  stale_after: 1h\n";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Running daemon and Prometheus, with failures of several kinds.
///
/// One target fails, one edge was disconnected, another is no longer listed, a connection was
/// removed, and the vendor sent one 429. Stored tokens are in various states.
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

/// Returns the project's recording rules, and one of its alerts, for evaluation every second.
fn rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    let mut file: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for group in file["groups"].as_array_mut().unwrap() {
        group["interval"] = "1s".into();
        let rules = group["rules"].as_array_mut().unwrap();
        rules.retain(|rule| {
            rule["record"].is_string() || rule["alert"] == "ExpectedConnectionMissing"
        });
        for rule in rules {
            rule.as_object_mut().unwrap().remove("for");
        }
    }
    file.to_string()
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

/// Returns a world with a token of each state.
fn world() -> World {
    let mut world = World::new(Sizes::default(), 1, Timestamp::now());
    for integration in &mut world.integrations {
        for stored in &mut integration.connections {
            // Each of these tokens is renewed twice during the test, by `renew`.
            if let Expiry::Renewed(date, life) = &mut stored.expiry {
                (*date, *life) = (Timestamp::now() + HOUR, Duration::from_hours(1));
            }
        }
    }
    world.integrations[0].connections[2].expiry = Expiry::At(Timestamp::now() - DAY * 2);
    // By this grant only a user can renew a token that has no refresh token.
    let stored = world.integrations[0].connections.iter_mut();
    let by_hand = |stored: &&mut StoredConnection| {
        matches!(stored.expiry, Expiry::Renewed(..)) && !stored.refresh_token
    };
    stored
        .filter(by_hand)
        .for_each(|stored| stored.grant_type = "authorization_code");
    idle(&mut world.integrations[1].connections[2], DAY * 2);
    idle(&mut world.integrations[2].connections[2], DAY * 21);
    world
}

impl Scene {
    pub(super) async fn play(program: &str) -> Self {
        let world = world();
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
        fs::write(folder.path().join("rules.yaml"), rules()).unwrap();
        // The same daemon is scraped twice. After a restart with another address, two instances
        // also show the same for a while.
        let instances = ["before", "after"].map(|instance| {
            format!(
                "      - {{targets: ['{}'], labels: {{instance: {instance}}}}}\n",
                harness.address
            )
        });
        let jobs = format!(
            "  - job_name: exporter\n    static_configs:\n{}rule_files: [rules.yaml]\n",
            instances.concat()
        );
        let scraper = scraping_with(program, folder.path(), &jobs);
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
        // The time between two renewals is known after the second.
        for earlier in 0..2 {
            scene.harness.simulator.change(renew);
            // Wait for all renewals, or a short range could miss one.
            let renewed = format!(
                "count(count by (target, connection) (saas_connection_token_renewals_total > \
                    {earlier}))"
            );
            scene
                .until(&renewed, ALL, |samples| value(samples) == Some(6.0))
                .await;
        }

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
            let edges = &world.tenant.connections;
            // If another connection joined the same entities, this one would not count as lost.
            let alone = |edge: &Edge| {
                let ends = |of: &Edge| BTreeSet::from([of.source.clone(), of.target.clone()]);
                let mut others = edges.iter().filter(|other| other.id != edge.id);
                !others.any(|other| other.status == "Connected" && ends(other) == ends(edge))
            };
            let connected = |edge: &Edge| edge.status == "Connected" && alone(edge);
            let lost = edges.iter().position(connected).unwrap();
            "Disconnected".clone_into(&mut world.tenant.connections[lost].status);
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
            .replace("$cluster", ".*")
            .replace("$job", ".+")
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

/// Returns the state that the panel "Stored tokens" must show; `None` without a valid expiry.
fn fate(stored: &StoredConnection) -> Option<f64> {
    let by_itself = stored.refresh_token || stored.grant_type == "client_credentials";
    let left = match &stored.expiry {
        Expiry::Renewed(..) => return Some(if by_itself { 3.0 } else { 8.0 }),
        Expiry::At(date) => date.duration_since(Timestamp::now()),
        Expiry::Absent | Expiry::Odd(_) => return None,
    };
    Some(match (stored.refresh_token, left) {
        (true, left) if left < -DAY * 20 => 5.0,
        (true, _) => 2.0,
        (false, left) if left < -DAY => 10.0,
        // First listed during the test: its lifetime is what was left then.
        (false, left) if left.is_negative() => 4.0,
        (false, left) if left < DAY => 8.0,
        (false, left) if left < HOUR * 36 => 6.0,
        (false, _) => 4.0,
    })
}

/// State of the simulator, in the numbers that the dashboards use.
pub(super) struct Held {
    /// Number of the state of each edge that a polled entity lists, by id.
    pub(super) edges: BTreeMap<[String; 1], f64>,
    /// Number of the state of each token with an expiry, by target and name.
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

    /// Counts the tokens whose state satisfies `wanted`.
    pub(super) fn tokens(&self, wanted: fn(f64) -> bool) -> usize {
        self.tokens.values().filter(|fate| wanted(**fate)).count()
    }
}
