//! Tests that any listings, published in any order, can be read back from the page.

pub(crate) mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::model::history::ListingHistory;
use crate::model::listing::{Connection, Facts, ListingBuilder};
use crate::model::state::LastListing;
use crate::vendors::http::RequestLimiter;

static SYSTEM: System = System {
    name: "test",
    zero_series: &[("oauth", ""), ("api_key", "")],
    healthy_status: Some("connected"),
    request_id_header: "x-request-id",
    quotas: |_, _| Vec::new(),
};

type Labels = BTreeMap<String, String>;
type Families = BTreeMap<String, Vec<(Labels, f64)>>;
/// Metric name and labels.
type Series = (String, Labels);

/// Parses the text format as strictly as its specification defines it.
///
/// Each family occurs once, starts with its two header lines, and has all of its samples together.
/// No series occurs twice, every escape is defined, and every value is a number.
fn parse(page: &str) -> (Families, BTreeSet<Series>) {
    let mut families = Families::new();
    let mut family = String::new();
    let mut series = BTreeSet::new();
    assert!(page.is_empty() || page.ends_with('\n'));
    let mut lines = page.split('\n').peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            let kind = lines
                .next()
                .unwrap()
                .strip_prefix(&format!("# TYPE {family} "));
            assert!(
                matches!(kind, Some("gauge" | "counter" | "histogram")),
                "{family}"
            );
            assert!(
                families.insert(family.clone(), Vec::new()).is_none(),
                "{family} comes twice"
            );
            continue;
        }
        if line.is_empty() {
            assert!(lines.peek().is_none(), "an empty line");
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        assert!(
            name.starts_with(&family),
            "{name} among the samples of {family}"
        );
        let mut labels = Labels::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, value) = rest.split_once("=\"").unwrap();
                let (text, after) = unescape(value);
                assert!(
                    labels.insert(label.to_owned(), text).is_none(),
                    "{label} comes twice"
                );
                rest = after;
                match rest.split_at(1) {
                    (",", more) => rest = more,
                    ("}", more) => break rest = more,
                    other => panic!("{other:?}"),
                }
            }
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        assert!(value.is_finite(), "{line}");
        assert!(
            series.insert((name.to_owned(), labels.clone())),
            "{line} comes twice"
        );
        families.get_mut(&family).unwrap().push((labels, value));
    }
    (families, series)
}

/// Returns the text up to the closing quote, and the text after it.
fn unescape(value: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = value.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &value[at + 1..]),
            '\\' => text.push(match chars.next().unwrap().1 {
                'n' => '\n',
                '\\' => '\\',
                '"' => '"',
                other => panic!("\\{other} is no escape"),
            }),
            other => text.push(other),
        }
    }
    panic!("no closing quote");
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
    // Pages in both encodings, because each is built separately.
    let look = || {
        let mut gzip = String::new();
        let page = inventory.page(Encoding::Gzip);
        let bytes: Vec<u8> = page.chunks.into_iter().flatten().collect();
        let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
        decoder.read_to_string(&mut gzip).unwrap();
        [
            parse(&text(&inventory.page(Encoding::Plain))).0,
            parse(&gzip).0,
        ]
    };
    let shown = |family: &str| {
        let counts = look().map(|families| families.get(family).map_or(0, Vec::len));
        assert_eq!(counts[0], counts[1]);
        counts[0]
    };
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
    let counted = || look().map(|families| families[refused][0].1.to_bits());
    let metrics = inventory.snapshot().remove(0).metrics;
    assert_eq!(counted(), [0_f64.to_bits(); 2]);
    metrics.rate_limited();
    assert_eq!(counted(), [1_f64.to_bits(); 2]);

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
        inventory.page(Encoding::Plain).chunks
    };
    let (before, after) = (publish(1), publish(2));
    // The listing's block is large, so it is a chunk of its own.
    let same = |chunk: &&Bytes| after.iter().any(|other| other.as_ptr() == chunk.as_ptr());
    let same: usize = before.iter().filter(same).map(Bytes::len).sum();
    assert!(same > 10_000, "{same}");
}

#[test]
fn what_was_put_together_for_a_page_ends_with_it_if_another_one_is_asked_for() {
    let (inventory, account) = inventory();
    let labels = (0..100).map(|target| (target.to_string(), format!("target {target}")));
    let start = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
    account.set_targets(&labels.collect(), |_| start.clone());
    let ask: [fn(&Inventory) -> Page; 2] = [
        |inventory| inventory.page(Encoding::Gzip),
        |inventory| inventory.part(&Selector::Exporter, Encoding::Plain),
    ];
    for another in ask {
        let chunks = inventory.page(Encoding::Plain).chunks;
        account.set_discovery_error(None);
        let again = inventory.page(Encoding::Plain).chunks;
        let kept = |chunk: &&Bytes| again.iter().any(|other| other.as_ptr() == chunk.as_ptr());
        assert!(chunks.iter().filter(kept).count() > 5, "{}", chunks.len());
        drop(again);
        account.set_discovery_error(None);
        let _ = another(&inventory);
        assert!(chunks.iter().all(Bytes::is_unique));
    }
}

fn text(page: &Page) -> String {
    String::from_utf8(page.chunks.iter().flatten().copied().collect()).unwrap()
}

/// Returns the lines of a page that belong to targets.
fn of_targets(inventory: &Inventory) -> Vec<String> {
    let page = text(&inventory.page(Encoding::Plain));
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
            let _ = inventory.page(Encoding::Plain);
            let mut builder = ListingBuilder::new("list", 1000, 1000);
            builder.add_page(rows, true).unwrap();
            let listing = builder.finish();
            let history = ListingHistory::first(&listing, Timestamp::UNIX_EPOCH, None);
            let (completed_at, stale_after) = (Instant::now(), Duration::from_mins(5));
            let last_listing = LastListing { listing, history, expected: vec![("e\"".to_owned(), true)], completed_at, stale_after };
            let last_listing = Arc::new(last_listing);
            account.publish(&id, TargetState { last_listing: Some(last_listing.clone()), ..start.clone() });
            if let Some(label) = labels.get(&id) {
                last.insert(label.clone(), last_listing);
            }
        }
        let (families, _) = parse(&text(&inventory.page(Encoding::Plain)));
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
