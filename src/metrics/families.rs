//! Metric families of a target, rendered at the end of a poll and never on a scrape.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::clock::seconds;
use crate::model::history::Second;
use crate::model::listing::{Facts, GrantType, Row, fast_eq};
use crate::model::state::{LastListing, TargetState};
use crate::vendors::System;

/// Name, help text, type and labels of a family.
#[derive(Debug)]
pub struct FamilyDescription {
    /// Name of the metric.
    pub name: &'static str,
    /// Help text: one sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricType,
    /// Names of the labels.
    pub labels: &'static [&'static str],
}

/// Index of a family in [`ALL`], and the number of its labels besides the three common ones.
///
/// With it, the compiler checks that each sample has as many values as the family has labels.
#[derive(Debug)]
struct Family<const N: usize>(usize);

/// Declares all families that are rendered per target, in page order.
macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "one index for each family below, by its own name")]
        enum Index { $($id),* }
        $(static $id: Family<{ <[&str]>::len(&[$($label),*]) }> = Family(Index::$id as usize);)*
        /// Families that are rendered per target, in page order.
        pub static ALL: &[FamilyDescription] = &[$(FamilyDescription { name: $name, help: $help, kind: MetricType::$kind, labels: &["system", "account", "target", $($label),*] }),*];
    };
}

families! {
    CONNECTIONS = GAUGE "saas_connections" ["connection_type", "status"]
        "How many connections the target holds, as of the last successful poll; a connection \
            between two polled entities is counted by both.";
    INFO = GAUGE "saas_connection_info" ["connection", "connection_type", "status", "uuid",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name", "header_name", "allowed_domain", "permission_scope", "grant_type"]
        "Facts about a connection, for joins; always 1, as of the last successful poll.";
    CONNECTED = GAUGE "saas_connection_connected" ["connection", "connection_type"]
        "Whether the connection's status is connected, as of the last successful poll.";
    TOKEN_EXPIRY = GAUGE "saas_connection_token_expiry_timestamp_seconds" ["connection", "connection_type"]
        "When the stored access token expires, as of the last successful poll; a past one is \
            normal for an idle connection that can renew.";
    TOKEN_EXPIRES_IN = GAUGE "saas_connection_token_expires_in_seconds" ["connection", "connection_type"]
        "Seconds until the stored access token expires, computed at the scrape from the last \
            successful poll; negative once past.";
    TOKEN_RENEWABLE = GAUGE "saas_connection_refresh_token_stored" ["connection", "connection_type"]
        "Whether a refresh token is stored with the connection, as of the last successful poll; \
            one made by client_credentials has none and renews all the same.";
    TOKEN_RENEWALS = COUNTER "saas_connection_token_renewals_total" ["connection", "connection_type"]
        "How often the token's expiry moved forward between two successful polls.";
    CREATED = GAUGE "saas_connection_created_timestamp_seconds" ["connection", "connection_type"]
        "When the connection was made, as of the last successful poll.";
    UPDATED = GAUGE "saas_connection_updated_timestamp_seconds" ["connection", "connection_type"]
        "When the connection was last changed, as of the last successful poll.";
    FIRST_SEEN = GAUGE "saas_connection_first_seen_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first contained the connection.";
    LAST_RENEWAL = GAUGE "saas_connection_token_last_renewal_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first showed the last renewal of the token: its expiry had moved forward.";
    RENEWAL_LEAD = GAUGE "saas_connection_token_last_renewal_lead_seconds" ["connection", "connection_type"]
        "How long before the previous expiry the last renewal was seen; negative after it.";
    RENEWAL_GAP = GAUGE "saas_connection_token_longest_renewal_gap_seconds" ["connection", "connection_type"]
        "Longest time between two consecutive renewals within the last 35 days.";
    SEEN_LIFETIME = GAUGE "saas_connection_token_seen_lifetime_seconds" ["connection", "connection_type"]
        "Time from when the current expiry was first seen to that expiry.";
    STATUS_CHANGED = GAUGE "saas_connection_status_changed_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first showed the current status; not for what the target's first listing \
            contained.";
    LAST_CONNECTED = GAUGE "saas_connection_last_connected_timestamp_seconds" ["connection", "connection_type"]
        "When a listing last showed the connection as connected.";
    GONE = GAUGE "saas_connection_gone_timestamp_seconds" ["connection", "connection_type",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name"]
        "When a connection that had been connected was first missing from a listing; for 7 days, or \
            until it is listed again.";
    LOST = GAUGE "saas_connection_lost_timestamp_seconds" ["connection", "connection_type",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name"]
        "When a listing first showed that a connection that had been connected is disconnected or \
            gone; for 7 days, or until its two entities are connected.";
    CHANGES = COUNTER "saas_connection_changes_total" ["change"]
        "Differences between two successful polls, by kind.";
    EXPECTED = GAUGE "saas_connection_expected_present" ["expected"]
        "Whether an expected connection exists (and, where there are statuses, is connected), as \
            of the last successful poll.";
    UP = GAUGE "connections_exporter_target_up" []
        "Whether the last poll of the target gave a complete listing.";
    LAST_SUCCESS = GAUGE "connections_exporter_target_last_success_timestamp_seconds" []
        "When the last successful poll of the target ended.";
    LAST_ATTEMPT = GAUGE "connections_exporter_target_last_attempt_timestamp_seconds" []
        "When the last poll of the target ended, successful or not.";
    NEXT_POLL = GAUGE "connections_exporter_target_next_poll_timestamp_seconds" []
        "When the next poll of the target is due; while its account is paused, not before the end \
            of the pause.";
    POLL_INTERVAL = GAUGE "connections_exporter_target_poll_interval_seconds" []
        "How often the target is polled.";
    POLL_DURATION = GAUGE "connections_exporter_target_last_poll_duration_seconds" []
        "How long the last poll of the target took, waiting for the account's budget included.";
    CONSECUTIVE_FAILURES = GAUGE "connections_exporter_target_consecutive_failures" []
        "Polls of the target that failed since the last successful one.";
    FAILING = GAUGE "connections_exporter_target_failing" ["reason"]
        "Always 1, and only there while the last poll of the target failed; the label says why.";
    RESTORED = GAUGE "connections_exporter_target_restored" []
        "Whether the last known listing was taken before a restart, and read from the state \
            folder.";
    POLLS = COUNTER "connections_exporter_polls_total" ["outcome"]
        "Polls of the target, by outcome.";
}

/// Index in [`ALL`] of the family whose values are computed at scrape time.
pub(crate) const COUNTDOWN: usize = Index::TOKEN_EXPIRES_IN as usize;

impl FamilyDescription {
    /// Returns the family with these samples.
    #[must_use]
    pub fn family(&self, samples: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples);
        family
    }
}

/// Callback for filled families, each with its index in [`ALL`].
pub(crate) type Sink<'a> = &'a mut dyn FnMut(usize, &MetricFamily);

/// Families of one target while they are filled.
///
/// The samples of a batch overwrite those of the previous one. Most of their labels are equal, and
/// allocating each label again costs more than writing its text.
struct Samples<'a> {
    /// Values of the labels that all families start with: `system`, `account` and `target`.
    common: [&'a str; 3],
    /// Each family, with the number of its samples that belong to this batch.
    families: Vec<(MetricFamily, usize)>,
}

impl<'a> Samples<'a> {
    fn new(system: &System, account: &'a str, target: &'a str) -> Self {
        let families = ALL.iter().map(|header| (header.family(Vec::new()), 0));
        Self {
            common: [system.name, account, target],
            families: families.collect(),
        }
    }

    fn add<const N: usize>(&mut self, family: &Family<N>, labels: [&str; N], value: f64) {
        let (into, filled) = &mut self.families[family.0];
        let kind = into.get_field_type();
        let samples = into.mut_metric();
        if samples.len() == *filled {
            samples.push(sample(ALL[family.0].labels, self.common));
        }
        let sample = &mut samples[*filled];
        *filled += 1;
        let pairs = &mut sample.mut_label()[self.common.len()..];
        for (pair, value) in pairs.iter_mut().zip(labels) {
            if !fast_eq(pair.value(), value) {
                pair.set_value(value.to_owned());
            }
        }
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
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

    /// Passes the families that have samples to `show`, and ends the batch.
    fn flush(&mut self, show: Sink<'_>) {
        for (index, (family, filled)) in self.families.iter_mut().enumerate() {
            if *filled > 0 {
                family.mut_metric().truncate(std::mem::take(filled));
                show(index, family);
            }
        }
    }
}

/// Returns a sample with these labels, of which only the first three have values.
fn sample(labels: &[&str], values: [&str; 3]) -> Metric {
    let values = values.into_iter().chain(std::iter::repeat(""));
    let pairs = labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// Number of connections in a batch: they become samples, which then become text.
///
/// All samples of a long listing would be far larger than its text, and would not fit into the
/// processor's caches.
const BATCH: usize = 32;

/// Passes the families of a target's listing to `show`, once per batch of connections.
pub fn listing(
    system: &System,
    account: &str,
    target: &str,
    last_listing: &LastListing,
    show: Sink<'_>,
) {
    let mut samples = Samples::new(system, account, target);
    let mut counts: Vec<_> = system
        .zero_series
        .iter()
        .map(|pair| (*pair, 0_u64))
        .collect();
    let rows = last_listing.listing.connections();
    let rows = rows.zip(&last_listing.history.connections);
    for (row, (connection, history)) in rows.enumerate() {
        if row > 0 && row % BATCH == 0 {
            samples.flush(show);
        }
        let connected = system.healthy_status.map(|well| connection.status == well);
        add_connection(&mut samples, connection, connected, history.renewals);
        let (kind, status) = (connection.kind, connection.status);
        let of_these =
            |(pair, _): &&mut ((&str, &str), u64)| fast_eq(pair.0, kind) && fast_eq(pair.1, status);
        match counts.iter_mut().find(of_these) {
            Some((_, count)) => *count += 1,
            None => counts.push(((kind, status), 1)),
        }
    }
    counts.sort_unstable();
    for ((kind, status), count) in counts {
        samples.add(&CONNECTIONS, [kind, status], count as f64);
    }
    for (expected, there) in &last_listing.expected {
        samples.add(&EXPECTED, [expected], bool_value(*there));
    }
    samples.flush(show);
}

fn add_connection(
    samples: &mut Samples<'_>,
    connection: Row<'_>,
    connected: Option<bool>,
    renewals: u64,
) {
    let labels = [connection.id, connection.kind];
    let expiry = connection.expiry;
    samples.add(&INFO, info(connection), 1.0);
    samples.add_if(&CONNECTED, labels, connected.map(bool_value));
    samples.add_if(&TOKEN_EXPIRY, labels, expiry.map(seconds));
    samples.add_if(
        &TOKEN_RENEWABLE,
        labels,
        connection.renewable.map(bool_value),
    );
    samples.add_if(&TOKEN_RENEWALS, labels, expiry.map(|_| renewals as f64));
    samples.add_if(&CREATED, labels, connection.created.map(seconds));
    samples.add_if(&UPDATED, labels, connection.updated.map(seconds));
}

/// Passes the history of a target's connections to `show`, once per batch of connections.
///
/// It stays true however old the listing is.
pub(crate) fn history(
    system: &System,
    account: &str,
    target: &str,
    last_listing: &LastListing,
    show: Sink<'_>,
) {
    let mut samples = Samples::new(system, account, target);
    let history = &last_listing.history;
    let rows = last_listing.listing.connections();
    for (row, (connection, known)) in rows.zip(&history.connections).enumerate() {
        if row > 0 && row % BATCH == 0 {
            samples.flush(show);
        }
        let labels = [connection.id, connection.kind];
        samples.add(&FIRST_SEEN, labels, known.first_seen.value());
        if let Some(renewal) = known.renewal {
            samples.add(&LAST_RENEWAL, labels, renewal.at.value());
            samples.add(&RENEWAL_LEAD, labels, renewal.lead.into());
        }
        let gap = known.longest_gap(history.at);
        samples.add_if(&RENEWAL_GAP, labels, gap.map(f64::from));
        if let (Some(expiry), Some(seen)) = (connection.expiry, known.expiry_seen) {
            let lifetime = expiry.as_second() as f64 - seen.value();
            samples.add(&SEEN_LIFETIME, labels, lifetime);
        }
        let changed = known.status_changed.map(Second::value);
        samples.add_if(&STATUS_CHANGED, labels, changed);
        let connected = known.last_connected.map(Second::value);
        samples.add_if(&LAST_CONNECTED, labels, connected);
    }
    for (row, gone) in history.gone.iter().enumerate() {
        if row > 0 && row % BATCH == 0 {
            samples.flush(show);
        }
        let [source, source_name, target, target_name] = gone.entities.each_ref().map(|e| &**e);
        let labels = [
            &*gone.id,
            gone.kind,
            source,
            source_name,
            target,
            target_name,
        ];
        samples.add(&GONE, labels, gone.at.value());
    }
    samples.flush(show);
    let healthy = system.healthy_status.into_iter();
    let lost = healthy.flat_map(|healthy| history.lost(&last_listing.listing, healthy));
    for (row, lost) in lost.enumerate() {
        if row > 0 && row % BATCH == 0 {
            samples.flush(show);
        }
        let [source, source_name, target, target_name] = lost.entities;
        let labels = [lost.id, lost.kind, source, source_name, target, target_name];
        samples.add(&LOST, labels, lost.at.value());
    }
    samples.flush(show);
}

fn info(connection: Row<'_>) -> [&str; 12] {
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
        connection.grant_type.map_or("", GrantType::label),
    ]
}

/// Passes the countdown family to `show`, batch by batch. The scrape fills in the values.
pub(crate) fn token_expires_in(
    system: &System,
    account: &str,
    target: &str,
    last_listing: &LastListing,
    show: Sink<'_>,
) {
    let mut samples = Samples::new(system, account, target);
    let expiring = last_listing
        .listing
        .connections()
        .filter(|c| c.expiry.is_some());
    for (row, connection) in expiring.enumerate() {
        if row > 0 && row % BATCH == 0 {
            samples.flush(show);
        }
        samples.add(&TOKEN_EXPIRES_IN, [connection.id, connection.kind], 0.0);
    }
    samples.flush(show);
}

/// Passes the freshness families of a target to `show`.
///
/// `paused_until` is the end of the account's last pause.
pub(crate) fn freshness(
    system: &System,
    account: &str,
    target: &str,
    state: &TargetState,
    paused_until: Option<Timestamp>,
    show: Sink<'_>,
) {
    let mut samples = Samples::new(system, account, target);
    if let Some(attempt) = &state.last_attempt {
        samples.add(&UP, [], bool_value(attempt.error.is_none()));
        samples.add(&LAST_ATTEMPT, [], seconds(attempt.at));
        samples.add(&POLL_DURATION, [], attempt.duration.as_secs_f64());
        if let Some(error) = &attempt.error {
            samples.add(&FAILING, [error.reason.label()], 1.0);
        }
    }
    samples.add_if(&LAST_SUCCESS, [], state.last_success.map(seconds));
    samples.add(&NEXT_POLL, [], seconds(state.next_poll_after(paused_until)));
    samples.add(&POLL_INTERVAL, [], Duration::as_secs_f64(&state.interval));
    samples.add(
        &CONSECUTIVE_FAILURES,
        [],
        f64::from(state.consecutive_failures),
    );
    samples.add(&RESTORED, [], bool_value(state.restored));
    samples.add(&POLLS, ["success"], state.successes as f64);
    samples.add(&POLLS, ["failure"], state.failures as f64);
    for (change, count) in [
        ("added", state.changes.added),
        ("removed", state.changes.removed),
        ("status", state.changes.status),
    ] {
        samples.add(&CHANGES, [change], count as f64);
    }
    samples.flush(show);
}

fn bool_value(value: bool) -> f64 {
    f64::from(u8::from(value))
}
