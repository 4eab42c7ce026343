//! Metric families of targets and accounts, which are rendered when they change.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::MetricType;

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

/// Index of a family in [`ALL`], and the number of its labels besides the common ones.
///
/// With it, the compiler checks that each sample has as many values as the family has labels.
#[derive(Debug)]
pub(super) struct Family<const N: usize>(usize);

/// Puts the labels that all families of a target or of an account start with before others.
macro_rules! labels {
    (TARGET $($label:literal)*) => { &["system", "account", "target", $($label),*] };
    (ACCOUNT $($label:literal)*) => { &["system", "account", $($label),*] };
}

/// Declares the families of targets and accounts, in page order.
macro_rules! families {
    ($($id:ident = $of:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "one index for each family below, by its own name")]
        enum Index { $($id),* }
        $(pub(super) static $id: Family<{ <[&str]>::len(&[$($label),*]) }> = Family(Index::$id as usize);)*
        /// Families of targets and accounts, in page order.
        pub static ALL: &[FamilyDescription] = &[$(FamilyDescription { name: $name, help: $help, kind: MetricType::$kind, labels: labels!($of $($label)*) }),*];
    };
}

families! {
    CONNECTIONS = TARGET GAUGE "saas_connections" ["connection_type", "status"]
        "How many connections the target holds, as of the last successful poll; a connection \
            between two polled entities is counted by both.";
    INFO = TARGET GAUGE "saas_connection_info" ["connection", "connection_type", "status", "uuid",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name", "header_name", "allowed_domain", "permission_scope", "grant_type"]
        "Facts about a connection, for joins; always 1, as of the last successful poll.";
    CONNECTED = TARGET GAUGE "saas_connection_connected" ["connection", "connection_type"]
        "Whether the connection's status is connected, as of the last successful poll.";
    TOKEN_EXPIRY = TARGET GAUGE "saas_connection_token_expiry_timestamp_seconds" ["connection", "connection_type"]
        "When the stored access token expires, as of the last successful poll; a past one is \
            normal for an idle connection that can renew.";
    TOKEN_EXPIRES_IN = TARGET GAUGE "saas_connection_token_expires_in_seconds" ["connection", "connection_type"]
        "Seconds until the stored access token expires, computed at the scrape from the last \
            successful poll; negative once past.";
    TOKEN_RENEWABLE = TARGET GAUGE "saas_connection_refresh_token_stored" ["connection", "connection_type"]
        "Whether a refresh token is stored with the connection, as of the last successful poll; \
            one made by client_credentials has none and renews all the same.";
    TOKEN_RENEWALS = TARGET COUNTER "saas_connection_token_renewals_total" ["connection", "connection_type"]
        "How often the token's expiry moved forward between two successful polls.";
    CREATED = TARGET GAUGE "saas_connection_created_timestamp_seconds" ["connection", "connection_type"]
        "When the connection was made, as of the last successful poll.";
    UPDATED = TARGET GAUGE "saas_connection_updated_timestamp_seconds" ["connection", "connection_type"]
        "When the connection was last changed, as of the last successful poll.";
    FIRST_SEEN = TARGET GAUGE "saas_connection_first_seen_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first contained the connection.";
    LAST_RENEWAL = TARGET GAUGE "saas_connection_token_last_renewal_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first showed the last renewal of the token: its expiry had moved forward.";
    RENEWAL_LEAD = TARGET GAUGE "saas_connection_token_last_renewal_lead_seconds" ["connection", "connection_type"]
        "How long before the previous expiry the last renewal was seen; negative after it.";
    RENEWAL_GAP = TARGET GAUGE "saas_connection_token_longest_renewal_gap_seconds" ["connection", "connection_type"]
        "Longest time between two consecutive renewals within the last 35 days.";
    SEEN_LIFETIME = TARGET GAUGE "saas_connection_token_seen_lifetime_seconds" ["connection", "connection_type"]
        "Time from when the current expiry was first seen to that expiry.";
    STATUS_CHANGED = TARGET GAUGE "saas_connection_status_changed_timestamp_seconds" ["connection", "connection_type"]
        "When a listing first showed the current status; not for what the target's first listing \
            contained.";
    LAST_CONNECTED = TARGET GAUGE "saas_connection_last_connected_timestamp_seconds" ["connection", "connection_type"]
        "When a listing last showed the connection as connected.";
    GONE = TARGET GAUGE "saas_connection_gone_timestamp_seconds" ["connection", "connection_type",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name"]
        "When a connection that had been connected was first missing from a listing; for 7 days, or \
            until it is listed again.";
    LOST = TARGET GAUGE "saas_connection_lost_timestamp_seconds" ["connection", "connection_type",
        "source_entity", "source_entity_name", "target_entity", "target_entity_name"]
        "When a listing first showed that a connection that had been connected is disconnected or \
            gone; for 7 days, or until its two entities are connected.";
    CHANGES = TARGET COUNTER "saas_connection_changes_total" ["change"]
        "Differences between two successful polls, by kind.";
    EXPECTED = TARGET GAUGE "saas_connection_expected_present" ["expected"]
        "Whether an expected connection exists (and, where there are statuses, is connected), as \
            of the last successful poll.";
    UP = TARGET GAUGE "connections_exporter_target_up" []
        "Whether the last poll of the target gave a complete listing.";
    LAST_SUCCESS = TARGET GAUGE "connections_exporter_target_last_success_timestamp_seconds" []
        "When the last successful poll of the target ended.";
    LAST_ATTEMPT = TARGET GAUGE "connections_exporter_target_last_attempt_timestamp_seconds" []
        "When the last poll of the target ended, successful or not.";
    NEXT_POLL = TARGET GAUGE "connections_exporter_target_next_poll_timestamp_seconds" []
        "When the next poll of the target is due; while its account is paused, not before the end \
            of the pause.";
    POLL_INTERVAL = TARGET GAUGE "connections_exporter_target_poll_interval_seconds" []
        "How often the target is polled.";
    POLL_DURATION = TARGET GAUGE "connections_exporter_target_last_poll_duration_seconds" []
        "How long the last poll of the target took, waiting for the account's budget included.";
    CONSECUTIVE_FAILURES = TARGET GAUGE "connections_exporter_target_consecutive_failures" []
        "Polls of the target that failed since the last successful one.";
    FAILING = TARGET GAUGE "connections_exporter_target_failing" ["reason"]
        "Always 1, and only there while the last poll of the target failed; the label says why.";
    RESTORED = TARGET GAUGE "connections_exporter_target_restored" []
        "Whether the last known listing was taken before a restart, and read from the state \
            folder.";
    POLLS = TARGET COUNTER "connections_exporter_polls_total" ["outcome"]
        "Polls of the target, by outcome.";
    API_REQUESTS = ACCOUNT COUNTER "connections_exporter_api_requests_total" ["endpoint", "code"]
        "Requests sent, by call and HTTP status; none where there was no answer.";
    API_ERRORS = ACCOUNT COUNTER "connections_exporter_api_errors_total" ["reason"]
        "Failed polls and failed discoveries, by reason.";
    API_RATE_LIMITED = ACCOUNT COUNTER "connections_exporter_api_rate_limited_total" []
        "Answers with status 429.";
    API_WAIT = ACCOUNT COUNTER "connections_exporter_api_wait_seconds_total" []
        "Time that requests waited for the budget or for the end of a pause.";
    API_PAUSED_UNTIL = ACCOUNT GAUGE "connections_exporter_api_paused_until_timestamp_seconds" []
        "When the running pause of the account ends; no sample when not paused.";
    API_BUDGET = ACCOUNT GAUGE "connections_exporter_api_budget_requests_per_second" ["kind"]
        "The request budget: as configured, and as it is now.";
    API_PLANNED = ACCOUNT GAUGE "connections_exporter_api_planned_requests_per_second" []
        "Requests that the schedule needs, by the number of pages of the last listings.";
    API_QUOTA_LIMIT = ACCOUNT GAUGE "connections_exporter_api_quota_limit" ["window"]
        "Requests that the vendor allows in the window, as of its last answer.";
    API_QUOTA_REMAINING = ACCOUNT GAUGE "connections_exporter_api_quota_remaining" ["window"]
        "Requests that are left in the window, as of the vendor's last answer.";
    API_QUOTA_RESET = ACCOUNT GAUGE "connections_exporter_api_quota_reset_timestamp_seconds" ["window"]
        "When the window's quota is whole again, as of the vendor's last answer.";
    CREDENTIAL_EXPIRY = ACCOUNT GAUGE "connections_exporter_credential_expiry_timestamp_seconds" ["credential"]
        "When a token that the exporter itself uses expires.";
    CREDENTIAL_RENEWABLE = ACCOUNT GAUGE "connections_exporter_credential_renewable" ["credential"]
        "Whether the exporter renews that token by itself; 0 for one that somebody has to replace.";
    DISCOVERY_UP = ACCOUNT GAUGE "connections_exporter_discovery_up" []
        "Whether the last discovery of the account's targets succeeded.";
    DISCOVERY_LAST_SUCCESS = ACCOUNT GAUGE "connections_exporter_discovery_last_success_timestamp_seconds" []
        "When the account's targets were last discovered.";
    UNKNOWN_VALUES = ACCOUNT COUNTER "connections_exporter_unknown_values_total" ["field"]
        "Values of the vendor's that no document of it knows, by field, counted at each poll.";
    DUPLICATES = ACCOUNT COUNTER "connections_exporter_duplicate_connections_total" []
        "Rows dropped because a later row of the same listing had the same identity.";
    TARGETS_UNREACHED = ACCOUNT GAUGE "connections_exporter_targets_unreached" []
        "Provisioned entities that the credential cannot access, so that their connections are not \
            monitored; only where the vendor's list says what to poll.";
    ENTITY_INFO = ACCOUNT GAUGE "saas_entity_info" ["entity", "name", "parent", "tenant", "status"]
        "Facts about each entity that the tenant lists, polled or not; always 1, as of the last \
            successful discovery.";
}

/// Index in [`ALL`] of the family whose values are computed at scrape time.
pub(crate) const COUNTDOWN: usize = TOKEN_EXPIRES_IN.0;

/// Index in [`ALL`] of the first family whose samples change with each poll of a target.
///
/// So do all later families.
pub(crate) const FIRST_VOLATILE: usize = UP.0;

/// Receiver of the samples of one target or one account: family by family, or in between.
///
/// It adds the labels that all of these families start with: `system`, `account` and `target`.
pub trait SampleSink {
    /// Adds a sample to the family with this index in [`ALL`], with the values of its other labels.
    fn sample(&mut self, family: usize, labels: &[&str], value: f64);
}

impl<const N: usize> Family<N> {
    pub(super) fn add(&self, into: &mut impl SampleSink, labels: [&str; N], value: f64) {
        into.sample(self.0, &labels, value);
    }

    pub(super) fn add_if(&self, into: &mut impl SampleSink, labels: [&str; N], value: Option<f64>) {
        if let Some(value) = value {
            self.add(into, labels, value);
        }
    }
}

/// Adds the samples of a target's listing.
pub fn listing(system: &System, last_listing: &LastListing, into: &mut impl SampleSink) {
    let mut counts: Vec<_> = system
        .zero_series
        .iter()
        .map(|pair| (*pair, 0_u64))
        .collect();
    let rows = last_listing.listing.connections();
    let rows = rows.zip(&last_listing.history.connections);
    for (connection, history) in rows {
        let connected = system.healthy_status.map(|well| connection.status == well);
        add_connection(into, connection, connected, history.renewals);
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
        CONNECTIONS.add(into, [kind, status], count as f64);
    }
    for (expected, there) in &last_listing.expected {
        EXPECTED.add(into, [expected], bool_value(*there));
    }
}

fn add_connection(
    into: &mut impl SampleSink,
    connection: Row<'_>,
    connected: Option<bool>,
    renewals: u64,
) {
    let labels = [connection.id, connection.kind];
    let expiry = connection.expiry;
    INFO.add(into, info(connection), 1.0);
    CONNECTED.add_if(into, labels, connected.map(bool_value));
    TOKEN_EXPIRY.add_if(into, labels, expiry.map(seconds));
    TOKEN_RENEWABLE.add_if(into, labels, connection.renewable.map(bool_value));
    TOKEN_RENEWALS.add_if(into, labels, expiry.map(|_| renewals as f64));
    CREATED.add_if(into, labels, connection.created.map(seconds));
    UPDATED.add_if(into, labels, connection.updated.map(seconds));
}

/// Adds the history of a target's connections.
///
/// It stays true however old the listing is.
pub(crate) fn history(system: &System, last_listing: &LastListing, into: &mut impl SampleSink) {
    let history = &last_listing.history;
    let rows = last_listing.listing.connections();
    for (connection, known) in rows.zip(&history.connections) {
        let labels = [connection.id, connection.kind];
        FIRST_SEEN.add(into, labels, known.first_seen.value());
        if let Some(renewal) = known.renewal {
            LAST_RENEWAL.add(into, labels, renewal.at.value());
            RENEWAL_LEAD.add(into, labels, renewal.lead.into());
        }
        let gap = known.longest_gap(history.at);
        RENEWAL_GAP.add_if(into, labels, gap.map(f64::from));
        if let (Some(expiry), Some(seen)) = (connection.expiry, known.expiry_seen) {
            let lifetime = expiry.as_second() as f64 - seen.value();
            SEEN_LIFETIME.add(into, labels, lifetime);
        }
        let changed = known.status_changed.map(Second::value);
        STATUS_CHANGED.add_if(into, labels, changed);
        let connected = known.last_connected.map(Second::value);
        LAST_CONNECTED.add_if(into, labels, connected);
    }
    for gone in &history.gone {
        let [source, source_name, target, target_name] = gone.entities.each_ref().map(|e| &**e);
        let labels = [
            &*gone.id,
            gone.kind,
            source,
            source_name,
            target,
            target_name,
        ];
        GONE.add(into, labels, gone.at.value());
    }
    let healthy = system.healthy_status.into_iter();
    let lost = healthy.flat_map(|healthy| history.lost(&last_listing.listing, healthy));
    for lost in lost {
        let [source, source_name, target, target_name] = lost.entities;
        let labels = [lost.id, lost.kind, source, source_name, target, target_name];
        LOST.add(into, labels, lost.at.value());
    }
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

/// Returns the labels of the countdown samples of a target, with the date at which each reaches 0.
pub(crate) fn countdown(
    last_listing: &LastListing,
) -> impl Iterator<Item = ([&str; 2], Timestamp)> {
    let connections = last_listing.listing.connections();
    connections.filter_map(|row| Some(([row.id, row.kind], row.expiry?)))
}

/// Adds the freshness of a target.
///
/// `paused_until` is the end of the account's last pause.
pub(crate) fn freshness(
    state: &TargetState,
    paused_until: Option<Timestamp>,
    into: &mut impl SampleSink,
) {
    if let Some(attempt) = &state.last_attempt {
        UP.add(into, [], bool_value(attempt.error.is_none()));
        LAST_ATTEMPT.add(into, [], seconds(attempt.at));
        POLL_DURATION.add(into, [], attempt.duration.as_secs_f64());
        if let Some(error) = &attempt.error {
            FAILING.add(into, [error.reason.label()], 1.0);
        }
    }
    LAST_SUCCESS.add_if(into, [], state.last_success.map(seconds));
    NEXT_POLL.add(into, [], seconds(state.next_poll_after(paused_until)));
    POLL_INTERVAL.add(into, [], Duration::as_secs_f64(&state.interval));
    CONSECUTIVE_FAILURES.add(into, [], f64::from(state.consecutive_failures));
    RESTORED.add(into, [], bool_value(state.restored));
    POLLS.add(into, ["success"], state.successes as f64);
    POLLS.add(into, ["failure"], state.failures as f64);
    for (change, count) in [
        ("added", state.changes.added),
        ("removed", state.changes.removed),
        ("status", state.changes.status),
    ] {
        CHANGES.add(into, [change], count as f64);
    }
}

pub(super) fn bool_value(value: bool) -> f64 {
    f64::from(u8::from(value))
}
