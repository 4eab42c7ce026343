//! What is known of a target, as metric families: rendered at the end of a poll, never on a scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::clock::seconds;
use crate::listing::{Facts, Row};
use crate::state::{Held, State};
use crate::upstream::System;

/// Name, help and type of a family.
#[derive(Debug)]
pub struct Header {
    /// The metric's name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricType,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// A family and its labels; the compiler sees to it that each sample has a value for each.
#[derive(Debug)]
struct Family<const N: usize> {
    index: usize,
    labels: [&'static str; N],
}

/// One table of all families that are rendered per target, in the order of the page.
macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "one index for each family below, by its own name")]
        enum Index { $($id),* }
        $(static $id: Family<{ [$($label),*].len() }> = Family { index: Index::$id as usize, labels: [$($label),*] };)*
        /// Every family that is rendered per target, in the order of the page.
        pub static ALL: &[Header] = &[$(Header { name: $name, help: $help, kind: MetricType::$kind, labels: &[$($label),*] }),*];
    };
}

families! {
    CONNECTIONS = GAUGE "saas_connections" ["system", "account", "target", "connection_type", "status"]
        "How many connections the target holds, as of the last successful poll; a connection between two polled entities is counted by both.";
    INFO = GAUGE "saas_connection_info" ["system", "account", "target", "connection", "connection_type", "status", "uuid",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name", "header_name", "allowed_domain", "permission_scope"]
        "Facts about a connection, for joins; always 1, as of the last successful poll.";
    CONNECTED = GAUGE "saas_connection_connected" ["system", "account", "target", "connection", "connection_type"]
        "Whether the connection's status is connected, as of the last successful poll.";
    TOKEN_EXPIRY = GAUGE "saas_connection_token_expiry_timestamp_seconds" ["system", "account", "target", "connection", "connection_type"]
        "When the stored access token expires, as of the last successful poll; a past one is normal for an idle connection that can renew.";
    TOKEN_EXPIRES_IN = GAUGE "saas_connection_token_expires_in_seconds" ["system", "account", "target", "connection", "connection_type"]
        "Seconds until the stored access token expires, computed at the scrape from the last successful poll; negative once past.";
    TOKEN_RENEWABLE = GAUGE "saas_connection_token_renewable" ["system", "account", "target", "connection", "connection_type"]
        "Whether a refresh token is stored with the connection, as of the last successful poll; one made by client_credentials has none and renews all the same.";
    TOKEN_RENEWALS = COUNTER "saas_connection_token_renewals_total" ["system", "account", "target", "connection", "connection_type"]
        "How often the token's expiry moved forward between two successful polls.";
    CREATED = GAUGE "saas_connection_created_timestamp_seconds" ["system", "account", "target", "connection", "connection_type"]
        "When the connection was made, as of the last successful poll.";
    UPDATED = GAUGE "saas_connection_updated_timestamp_seconds" ["system", "account", "target", "connection", "connection_type"]
        "When the connection was last changed, as of the last successful poll.";
    CHANGES = COUNTER "saas_connection_changes_total" ["system", "account", "target", "change"]
        "Differences between two successful polls, by kind.";
    EXPECTED = GAUGE "saas_connection_expected" ["system", "account", "target", "expected"]
        "Whether an expected connection exists (and, where there are statuses, is connected), as of the last successful poll.";
    UP = GAUGE "connections_exporter_target_up" ["system", "account", "target"]
        "Whether the last poll of the target gave a complete listing.";
    LAST_SUCCESS = GAUGE "connections_exporter_target_last_success_timestamp_seconds" ["system", "account", "target"]
        "When the last successful poll of the target ended.";
    LAST_ATTEMPT = GAUGE "connections_exporter_target_last_attempt_timestamp_seconds" ["system", "account", "target"]
        "When the last poll of the target ended, successful or not.";
    NEXT_POLL = GAUGE "connections_exporter_target_next_poll_timestamp_seconds" ["system", "account", "target"]
        "When the next poll of the target is due.";
    POLL_INTERVAL = GAUGE "connections_exporter_target_poll_interval_seconds" ["system", "account", "target"]
        "How often the target is polled.";
    POLL_DURATION = GAUGE "connections_exporter_target_last_poll_duration_seconds" ["system", "account", "target"]
        "How long the last poll of the target took, waiting for the account's budget included.";
    CONSECUTIVE_FAILURES = GAUGE "connections_exporter_target_consecutive_failures" ["system", "account", "target"]
        "Polls of the target that failed since the last successful one.";
    FAILING = GAUGE "connections_exporter_target_failing" ["system", "account", "target", "reason"]
        "Always 1, and only there while the last poll of the target failed; the label says why.";
    RESTORED = GAUGE "connections_exporter_target_restored" ["system", "account", "target"]
        "Whether the last known listing was taken before a restart, and read from the state folder.";
    POLLS = COUNTER "connections_exporter_polls_total" ["system", "account", "target", "outcome"]
        "Polls of the target, by outcome.";
}

/// The place in [`ALL`] of the family whose values are computed at the scrape.
pub const COUNTDOWN: usize = Index::TOKEN_EXPIRES_IN as usize;

impl<const N: usize> Family<N> {
    fn labels(&self, values: [&str; N]) -> Vec<LabelPair> {
        let pairs = self.labels.iter().zip(values);
        pairs
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.to_owned());
                pair
            })
            .collect()
    }
}

impl Header {
    /// The family with these samples.
    #[must_use]
    pub fn family(&self, samples: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples);
        family
    }

    /// A sample of this family.
    fn sample(&self, labels: Vec<LabelPair>, value: f64) -> Metric {
        let mut metric = Metric::from_label(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

/// Samples on the way to their families.
struct Samples(Vec<Vec<Metric>>);

impl Samples {
    fn new() -> Self {
        Self(ALL.iter().map(|_| Vec::new()).collect())
    }

    fn add<const N: usize>(&mut self, family: &Family<N>, labels: [&str; N], value: f64) {
        self.0[family.index].push(ALL[family.index].sample(family.labels(labels), value));
    }

    fn add_if<const N: usize>(
        &mut self,
        family: &Family<N>,
        labels: [&str; N],
        value: Option<f64>,
    ) {
        if let Some(value) = value {
            self.add(family, labels, value);
        }
    }

    /// The families that have samples, with their places in [`ALL`].
    fn families(self) -> impl Iterator<Item = (usize, MetricFamily)> {
        let samples = self
            .0
            .into_iter()
            .enumerate()
            .filter(|(_, samples)| !samples.is_empty());
        samples.map(|(index, samples)| (index, ALL[index].family(samples)))
    }
}

/// So many connections become samples before these become text: a long listing's samples would be far larger than its text,
/// and leave the processor's caches.
const BATCH: usize = 64;

/// What a target's listing shows, family by family, and each again for each batch of connections.
pub fn listing<'a>(
    system: &'a System,
    account: &'a str,
    target: &'a str,
    held: &'a Held,
) -> impl Iterator<Item = (usize, MetricFamily)> + 'a {
    let mut rows = held.listing.connections().zip(&held.renewals).peekable();
    let batches = std::iter::from_fn(move || {
        rows.peek()?;
        let batch = rows.by_ref().take(BATCH);
        Some(of_connections(system, account, target, batch))
    });
    let whole = std::iter::once_with(move || of_listing(system, account, target, held));
    batches.chain(whole).flat_map(Samples::families)
}

fn of_connections<'a>(
    system: &System,
    account: &str,
    target: &str,
    connections: impl Iterator<Item = (Row<'a>, &'a u64)>,
) -> Samples {
    let mut samples = Samples::new();
    let name = system.name;
    for (connection, renewals) in connections {
        let labels = [name, account, target, connection.id, connection.kind];
        samples.add(&INFO, info(system, account, target, connection), 1.0);
        samples.add_if(
            &CONNECTED,
            labels,
            system
                .connected
                .map(|well| truth(connection.status == well)),
        );
        samples.add_if(&TOKEN_EXPIRY, labels, connection.expiry.map(seconds));
        samples.add_if(&TOKEN_RENEWABLE, labels, connection.renewable.map(truth));
        samples.add_if(
            &TOKEN_RENEWALS,
            labels,
            connection.expiry.map(|_| *renewals as f64),
        );
        samples.add_if(&CREATED, labels, connection.created.map(seconds));
        samples.add_if(&UPDATED, labels, connection.updated.map(seconds));
    }
    samples
}

fn of_listing(system: &System, account: &str, target: &str, held: &Held) -> Samples {
    let mut samples = Samples::new();
    let name = system.name;
    let mut counts: BTreeMap<_, u64> = system.documented.iter().map(|pair| (*pair, 0)).collect();
    for connection in held.listing.connections() {
        *counts
            .entry((connection.kind, connection.status))
            .or_default() += 1;
    }
    for ((kind, status), count) in counts {
        samples.add(
            &CONNECTIONS,
            [name, account, target, kind, status],
            count as f64,
        );
    }
    for (expected, there) in &held.expected {
        samples.add(&EXPECTED, [name, account, target, expected], truth(*there));
    }
    samples
}

fn info<'a>(
    system: &'a System,
    account: &'a str,
    target: &'a str,
    connection: Row<'a>,
) -> [&'a str; 14] {
    let Facts {
        uuid,
        source_entity,
        source_entity_name,
        target_entity,
        target_entity_name,
        header_name,
        allowed_domain,
        permission_scope,
    } = connection.facts;
    [
        system.name,
        account,
        target,
        connection.id,
        connection.kind,
        connection.status,
        uuid,
        source_entity,
        source_entity_name,
        target_entity,
        target_entity_name,
        header_name,
        allowed_domain,
        permission_scope,
    ]
}

/// The countdown family with its samples, whose values the scrape puts in, and the expiry of each.
#[must_use]
pub fn token_expires_in(
    system: &System,
    account: &str,
    target: &str,
    held: &Held,
) -> (Vec<Metric>, Vec<Timestamp>) {
    let header = &ALL[COUNTDOWN];
    let expiring = held
        .listing
        .connections()
        .filter_map(|c| Some((c, c.expiry?)));
    expiring
        .map(|(c, expiry)| {
            let labels = TOKEN_EXPIRES_IN.labels([system.name, account, target, c.id, c.kind]);
            (header.sample(labels, 0.0), expiry)
        })
        .unzip()
}

/// How far a target's listing can be believed, family by family.
pub fn freshness(
    system: &System,
    account: &str,
    target: &str,
    state: &State,
) -> impl Iterator<Item = (usize, MetricFamily)> {
    let mut samples = Samples::new();
    let labels = [system.name, account, target];
    let with = |last| [system.name, account, target, last];
    if let Some(attempt) = &state.last_attempt {
        samples.add(&UP, labels, truth(attempt.error.is_none()));
        samples.add(&LAST_ATTEMPT, labels, seconds(attempt.at));
        samples.add(&POLL_DURATION, labels, attempt.duration.as_secs_f64());
        if let Some(error) = &attempt.error {
            samples.add(&FAILING, with(error.reason.label()), 1.0);
        }
    }
    samples.add_if(&LAST_SUCCESS, labels, state.last_success.map(seconds));
    samples.add(&NEXT_POLL, labels, seconds(state.next_poll));
    samples.add(
        &POLL_INTERVAL,
        labels,
        Duration::as_secs_f64(&state.interval),
    );
    samples.add(
        &CONSECUTIVE_FAILURES,
        labels,
        f64::from(state.consecutive_failures),
    );
    samples.add(&RESTORED, labels, truth(state.restored));
    samples.add(&POLLS, with("success"), state.successes as f64);
    samples.add(&POLLS, with("failure"), state.failures as f64);
    for (change, count) in [
        ("added", state.changes.added),
        ("removed", state.changes.removed),
        ("status", state.changes.status),
    ] {
        samples.add(&CHANGES, with(change), count as f64);
    }
    samples.families()
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}
