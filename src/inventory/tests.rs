//! Tests that any listings, published in any order, can be read back from the page.

mod parser;
pub(crate) mod parts;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::model::history::ListingHistory;
use crate::model::listing::{Connection, Facts, ListingBuilder};
use crate::model::state::LastListing;
use crate::vendors::http::RequestLimiter;
use parser::{Families, Labels, Series, parse, text};

static SYSTEM: System = System {
    name: "test",
    zero_series: &[("oauth", ""), ("api_key", "")],
    healthy_status: Some("connected"),
    request_id_header: "x-request-id",
    quotas: |_, _| Vec::new(),
};

/// All representations of a page.
const REPRESENTATIONS: [Representation; 4] = [
    representation(Format::Text, Encoding::Plain),
    representation(Format::Text, Encoding::Gzip),
    representation(Format::OpenMetrics, Encoding::Plain),
    representation(Format::OpenMetrics, Encoding::Gzip),
];

const fn representation(format: Format, encoding: Encoding) -> Representation {
    Representation { format, encoding }
}

/// Reads a part of the page in every representation, with the strict parser.
///
/// Asserts that all of them have the same samples, of which it leaves out those of creations, which
/// OpenMetrics alone has, and the size of the last page. Values of the process may differ from page
/// to page. The order of the representations is different each time, because a page reuses what was
/// built for another one.
pub(crate) fn read(inventory: &Inventory, part: &Selector) -> (Families, BTreeSet<Series>) {
    thread_local!(static TURN: Cell<usize> = const { Cell::new(0) });
    let mut representations = REPRESENTATIONS;
    representations.rotate_left(TURN.get());
    TURN.set((TURN.get() + 1) % REPRESENTATIONS.len());
    let mut first: Option<(Families, BTreeSet<Series>)> = None;
    for representation in representations {
        let Representation { format, encoding } = representation;
        let page = inventory.part(part, representation);
        let (size, count) = (page.plain_bytes, page.series);
        let text = text(&page, encoding);
        let (families, mut series) = parse(format, &text);
        assert_eq!((size, count), (text.len() as u64, series.len() as u64));
        let is_size = |name: &str| name.starts_with("connections_exporter_page_");
        series.retain(|(name, _)| !name.ends_with("_created") && !is_size(name));
        if let Some((before, all)) = &first {
            assert_eq!(&series, all);
            for (family, samples) in &families {
                if !family.starts_with("process_") && !is_size(family) {
                    assert_eq!(samples, &before[family], "{family} {representation:?}");
                }
            }
        }
        first.get_or_insert((families, series));
    }
    first.unwrap()
}

fn connection() -> impl Strategy<Value = Connection> {
    let text = || prop_oneof![any::<String>(), "[ab\"\\\\\n]{0,4}", Just("x".repeat(300))];
    let date = || {
        proptest::option::of(
            (-1_000_000_000..100_000_000_000_i64).prop_map(|s| Timestamp::from_second(s).unwrap()),
        )
    };
    let kind = proptest::sample::select(vec!["oauth", "api_key", "other"]);
    let status = proptest::sample::select(vec!["", "connected", "other"]);
    (
        text(),
        kind,
        status,
        text(),
        text(),
        date(),
        proptest::option::of(any::<bool>()),
    )
        .prop_map(
            |(id, kind, status, uuid, domain, expiry, renewable)| Connection {
                id: id.into(),
                kind,
                status,
                facts: Facts {
                    uuid: uuid.into(),
                    allowed_domain: domain.into(),
                    ..Facts::default()
                },
                expiry,
                renewable,
                grant_type: None,
                created: expiry,
                updated: None,
            },
        )
}

fn inventory() -> (Arc<Inventory>, AccountHandle) {
    let clock = Clock::new(|| Timestamp::from_second(1_700_000_000).unwrap());
    let inventory = Arc::new(Inventory::new(ExporterMetrics::new(clock.now()), clock));
    let limiter = Arc::new(RequestLimiter::new(NonZeroU32::MIN, 1));
    let metrics = Arc::new(AccountMetrics::new(
        "test",
        "a \"quoted\" account",
        limiter,
        inventory.exporter_metrics().durations(),
    ));
    let account = inventory.open(&SYSTEM, metrics);
    (inventory, account)
}

#[tokio::test(start_paused = true)]
async fn a_page_shows_what_changed_since_the_one_before() {
    let (inventory, account) = inventory();
    let labels = BTreeMap::from([("a".to_owned(), "a".to_owned())]);
    let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
    let look = || read(&inventory, &Selector::default()).0;
    let shown = |family: &str| look().get(family).map_or(0, Vec::len);
    let up = "connections_exporter_target_next_poll_timestamp_seconds";
    assert_eq!(shown(up), 0);

    account.set_targets(&labels, |_| start.clone());
    assert_eq!(shown(up), 1);

    let mut builder = ListingBuilder::new("list", 10, 10);
    let row: Connection = Connection {
        id: "slack".into(),
        kind: "oauth",
        expiry: Some(Timestamp::from_second(1_800_000_000).unwrap()),
        ..Connection::default()
    };
    builder.add_page(vec![row], true).unwrap();
    let stale_after = Duration::from_mins(5);
    let listing = builder.finish();
    let history = ListingHistory::first(&listing, Timestamp::UNIX_EPOCH, None);
    let last_listing = LastListing::new(listing, history, Vec::new(), Instant::now(), stale_after);
    let last_listing = Some(Arc::new(last_listing));
    account.publish(
        "a",
        TargetState {
            last_listing,
            ..start
        },
    );
    let counting = "saas_connection_token_expires_in_seconds";
    assert_eq!((shown("saas_connection_info"), shown(counting)), (1, 1));

    let refused = "connections_exporter_api_rate_limited_total";
    let counted = || look()[refused][0].1.to_bits();
    let metrics = inventory.snapshot().remove(0).metrics;
    assert_eq!(counted(), 0_f64.to_bits());
    metrics.rate_limited();
    assert_eq!(counted(), 1_f64.to_bits());

    tokio::time::advance(stale_after).await;
    assert_eq!((shown("saas_connection_info"), shown(counting)), (0, 0));

    inventory.close("test", "a \"quoted\" account");
    assert_eq!((shown(up), shown(refused)), (0, 0));
}

#[test]
fn what_a_publish_does_not_change_is_not_rendered_anew() {
    let (inventory, account) = inventory();
    let labels = BTreeMap::from([("a".to_owned(), "a".to_owned())]);
    let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
    account.set_targets(&labels, |_| start.clone());
    let rows = (0..100).map(|row| -> Connection {
        Connection {
            id: format!("connection {row}").into(),
            kind: "oauth",
            ..Connection::default()
        }
    });
    let mut builder = ListingBuilder::new("list", 1000, 1000);
    builder.add_page(rows.collect(), true).unwrap();
    let listing = builder.finish();
    let publish = |successes| {
        let age = Duration::from_mins(5);
        let history = ListingHistory::first(&listing, Timestamp::UNIX_EPOCH, None);
        let last_listing =
            LastListing::new(listing.clone(), history, Vec::new(), Instant::now(), age);
        let last_listing = Some(Arc::new(last_listing));
        account.publish(
            "a",
            TargetState {
                successes,
                last_listing,
                ..start.clone()
            },
        );
        inventory.page(Encoding::Plain)
    };
    let (before, after) = (publish(1), publish(2));
    // The listing's block is large, so it is a chunk of its own.
    let same = |slice: &&[u8]| after.slices().any(|other| other.as_ptr() == slice.as_ptr());
    let same: usize = before.slices().filter(same).map(<[u8]>::len).sum();
    assert!(same > 10_000, "{same}");
}

#[test]
fn what_was_put_together_for_a_page_ends_with_it_if_another_one_is_asked_for() {
    let (inventory, account) = inventory();
    let labels = (0..100).map(|target| (target.to_string(), format!("target {target}")));
    let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
    account.set_targets(&labels.collect(), |_| start.clone());
    let ask: [fn(&Inventory) -> Page; 2] = [
        |inventory| inventory.page(Encoding::Plain),
        |inventory| inventory.part(&Selector::Exporter, Encoding::Plain),
    ];
    let segments = || {
        inventory.assembled.lock()[Encoding::Gzip as usize]
            .segments
            .shared()
    };
    for another in ask {
        let _ = inventory.page(Encoding::Gzip);
        let before = segments();
        account.set_discovery_error(None);
        let _ = inventory.page(Encoding::Gzip);
        assert!(before.intersection(&segments()).count() > 5, "{before:?}");
        account.set_discovery_error(None);
        let _ = another(&inventory);
        assert!(segments().is_empty());
    }
}

/// Returns the lines of a page that belong to targets.
fn of_targets(inventory: &Inventory) -> Vec<String> {
    let page = text(&inventory.page(Encoding::Plain), Encoding::Plain);
    let lines = page.lines().filter(|line| line.contains("target=\""));
    lines.map(str::to_owned).collect()
}

/// Strategy for what happens between two listings of a target, and the rows of the second one: the
/// seconds since the first, whether an expected connection is there, and expiry and status of each
/// connection that is listed.
fn step() -> impl Strategy<Value = (i64, bool, Vec<Option<(i64, &'static str)>>)> {
    let seconds = proptest::sample::select(vec![1, 60, 60, 60, 43_200, 86_400, 604_800]);
    let expiry = proptest::sample::select(vec![1_700_000_000, 1_800_000_000, 1_900_000_000]);
    let status = proptest::sample::select(vec!["connected", "connected", "other"]);
    let row = proptest::option::weighted(0.9, (expiry, status));
    (seconds, any::<bool>(), proptest::collection::vec(row, 3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_after_many_publishes_is_that_of_the_last_one(
        has_statuses in any::<bool>(),
        steps in proptest::collection::vec((step(), 1..4_usize), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _time = runtime.enter();
        let labels = BTreeMap::from([("a".to_owned(), "a".to_owned())]);
        let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
        let (all, account) = inventory();
        account.set_targets(&labels, |_| start.clone());
        let mut before: Option<Arc<LastListing>> = None;
        let mut date = Timestamp::from_second(1_600_000_000).unwrap();
        // Most listings are like the one before.
        let steps = steps.into_iter().flat_map(|(step, times)| vec![step; times]);
        for (seconds, there, rows) in steps {
            date += Duration::from_secs(seconds.unsigned_abs());
            let rows = rows.iter().enumerate().filter_map(|(id, row)| row.map(|(expiry, status)| -> Connection {
                Connection {
                    id: id.to_string().into(),
                    kind: "oauth",
                    status,
                    expiry: Timestamp::from_second(expiry).ok(),
                    ..Connection::default()
                }
            }));
            let mut builder = ListingBuilder::new("list", 10, 10);
            builder.add_page(rows.collect(), true).unwrap();
            let listing = builder.finish();
            let healthy = SYSTEM.healthy_status.filter(|_| has_statuses);
            let history = match &before {
                Some(last) => last.history.next(&last.listing, &listing, date, healthy),
                None => ListingHistory::first(&listing, date, healthy),
            };
            let expected = vec![("expected".to_owned(), there)];
            let last = LastListing::new(listing, history, expected, Instant::now(), Duration::from_mins(5));
            before = Some(Arc::new(last));
            let state = TargetState { last_listing: before.clone(), ..start.clone() };
            account.publish("a", state.clone());
            let (one, account) = inventory();
            account.set_targets(&labels, |_| state.clone());
            prop_assert_eq!(of_targets(&all), of_targets(&one));
        }
    }

    #[test]
    fn the_page_reads_back_to_what_was_published_last(
        names in proptest::collection::btree_map("[a-c]", any::<String>(), 1..4),
        published in proptest::collection::vec(("[a-c]", proptest::collection::vec(connection(), 0..12)), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _time = runtime.enter();
        let (inventory, account) = inventory();
        let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
        // Callers of the inventory make labels unique.
        let labels: BTreeMap<_, _> = names.iter().map(|(id, name)| (id.clone(), format!("{name}{id}"))).collect();
        account.set_targets(&labels, |_| start.clone());
        let mut last = BTreeMap::new();
        for (id, rows) in published {
            // A page that was built earlier must not hide what is published after it.
            let _ = read(&inventory, &Selector::default());
            let mut builder = ListingBuilder::new("list", 1000, 1000);
            builder.add_page(rows, true).unwrap();
            let listing = builder.finish();
            let history = ListingHistory::first(&listing, Timestamp::UNIX_EPOCH, None);
            let (completed_at, stale_after) = (Instant::now(), Duration::from_mins(5));
            let last_listing = LastListing { version: Timestamp::UNIX_EPOCH, listing, history, expected: vec![("e\"".to_owned(), true)], completed_at, stale_after };
            let last_listing = Arc::new(last_listing);
            account.publish(&id, TargetState { last_listing: Some(last_listing.clone()), ..start.clone() });
            if let Some(label) = labels.get(&id) {
                last.insert(label.clone(), last_listing);
            }
        }
        let (families, _) = read(&inventory, &Selector::default());
        let rows = |family: &str| families.get(family).cloned().unwrap_or_default();
        let by_identity = |rows: Vec<(Labels, f64)>| -> BTreeMap<_, _> {
            rows.into_iter().map(|(labels, value)| ((labels["target"].clone(), labels["connection"].clone(), labels["connection_type"].clone()), (labels, value))).collect()
        };
        let infos = by_identity(rows("saas_connection_info"));
        let expiries = by_identity(rows("saas_connection_token_expiry_timestamp_seconds"));
        let left = by_identity(rows("saas_connection_token_expires_in_seconds"));
        let (mut connections, mut expiring) = (0, 0);
        for (target, last_listing) in &last {
            for connection in last_listing.listing.connections() {
                let identity = (target.clone(), connection.id.to_string(), connection.kind.to_owned());
                let (labels, _) = &infos[&identity];
                prop_assert_eq!(&labels["uuid"], connection.facts.uuid);
                prop_assert_eq!(&labels["allowed_domain"], connection.facts.allowed_domain);
                prop_assert_eq!(&labels["status"], connection.status);
                if let Some(expiry) = connection.expiry {
                    let seconds = expiry.as_second() as f64;
                    prop_assert_eq!(expiries[&identity].1.to_bits(), seconds.to_bits());
                    prop_assert_eq!(left[&identity].1.to_bits(), (seconds - 1.7e9).to_bits());
                    expiring += 1;
                }
                connections += 1;
            }
        }
        prop_assert_eq!((infos.len(), expiries.len(), left.len()), (connections, expiring, expiring));
        let counted: f64 = rows("saas_connections").iter().map(|(_, value)| value).sum();
        prop_assert!((counted - connections as f64).abs() < 0.5);
        prop_assert_eq!(rows("connections_exporter_target_next_poll_timestamp_seconds").len(), labels.len());
    }
}
