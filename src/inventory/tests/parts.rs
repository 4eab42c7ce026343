//! Tests that a part of a page has the series with the selected labels, and no others.

use super::*;
use crate::vendors::SYSTEMS;

/// Target labels of each account, by system and account name.
pub(crate) type Kept = BTreeMap<(&'static str, String), BTreeSet<String>>;

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]", "[ab&=+%#;?/ \"\\\\é🦀]{1,3}", "\\PC{1,20}"]
}

pub(crate) fn kept() -> impl Strategy<Value = Kept> {
    let system =
        proptest::sample::select(SYSTEMS.iter().map(|system| system.name).collect::<Vec<_>>());
    let targets = proptest::collection::btree_set(name(), 0..4);
    proptest::collection::btree_map((system, name()), targets, 0..6)
}

/// Creates an inventory with these accounts and targets.
///
/// Each target has a connection and each account a request. The whole page was served once.
pub(crate) fn inventory(kept: &Kept) -> Arc<Inventory> {
    let clock = Clock::new(|| Timestamp::from_second(1_700_000_000).unwrap());
    let inventory = Arc::new(Inventory::new(ExporterMetrics::new(clock.now()), clock));
    for ((system, account), labels) in kept {
        let system = SYSTEMS.iter().find(|s| s.name == *system).unwrap();
        let limiter = Arc::new(RequestLimiter::new(NonZeroU32::MIN, 1));
        let metrics = AccountMetrics::new(
            system.name,
            account,
            limiter,
            inventory.exporter_metrics().durations(),
        );
        metrics.requested("oauth_token", Some(200), Duration::ZERO);
        let account = inventory.open(system, Arc::new(metrics));
        // The order of the ids differs from that of the labels.
        let labels: BTreeMap<_, _> = labels
            .iter()
            .rev()
            .enumerate()
            .map(|(id, label)| (id.to_string(), label.clone()))
            .collect();
        let mut builder = ListingBuilder::new("list", 1, 1);
        let row: Connection = Connection {
            id: "c".into(),
            kind: "oauth",
            status: "connected",
            facts: Facts::default(),
            expiry: Some(Timestamp::from_second(1_800_000_000).unwrap()),
            renewable: None,
            grant_type: None,
            created: None,
            updated: None,
        };
        builder.add_page(vec![row], true).unwrap();
        let listing = builder.finish();
        let last_listing = LastListing {
            version: Timestamp::UNIX_EPOCH,
            history: ListingHistory::first(&listing, Timestamp::UNIX_EPOCH, None),
            listing,
            expected: Vec::new(),
            completed_at: Instant::now(),
            stale_after: Duration::from_hours(1),
        };
        let state = TargetState {
            last_listing: Some(Arc::new(last_listing)),
            ..TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH)
        };
        account.set_targets(&labels, |_| state.clone());
    }
    let _ = inventory.page(Encoding::Plain);
    inventory
}

/// Returns the series of a part.
pub(crate) fn series(inventory: &Inventory, part: &Selector) -> BTreeSet<Series> {
    read(inventory, part).1
}

/// Strategy for a query with alternatives for some labels, few of which exist.
fn query() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names = SYSTEMS.iter().map(|system| system.name);
    let system = proptest::sample::select(names.chain(["Zis", "zis "]).collect::<Vec<_>>());
    let system = system.prop_map(|system| ("system", system.to_owned()));
    let account = name().prop_map(|name| ("account", name));
    let target = name().prop_map(|name| ("target", name));
    proptest::collection::vec(prop_oneof![system, account, target], 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_part_has_what_carries_its_labels(kept in kept(), query in query()) {
        let inventory = inventory(&kept);
        let part = Selector::parse(&serde_urlencoded::to_string(&query).unwrap()).unwrap();
        let whole = series(&inventory, &Selector::default());
        let mut expected = whole.clone();
        for narrowed in ["system", "account", "target"] {
            let names: Vec<_> = query.iter().filter(|(name, _)| *name == narrowed).map(|(_, value)| value).collect();
            expected.retain(|(_, labels)| {
                names.is_empty() || labels.get(narrowed).is_some_and(|value| names.contains(&value))
            });
        }
        prop_assert_eq!(series(&inventory, &part), expected);
    }

    #[test]
    fn own_is_what_is_of_no_account(kept in kept()) {
        let inventory = inventory(&kept);
        let mut expected = series(&inventory, &Selector::default());
        expected.retain(|(_, labels)| !labels.contains_key("account") && !labels.contains_key("target"));
        let own = series(&inventory, &Selector::parse("own=1").unwrap());
        prop_assert!(own.iter().any(|(name, _)| name == "process_start_time_seconds"));
        prop_assert_eq!(own, expected);
    }

    #[test]
    fn any_query_is_a_part_or_a_sentence(query in "\\PC{0,200}") {
        match Selector::parse(&query).map_err(String::from) {
            Ok(part) => prop_assert_eq!(part.is_whole(), query.bytes().all(|byte| byte == b'&')),
            Err(problem) => prop_assert!(problem.lines().count() == 1 && problem.chars().count() < 1000, "{}", problem),
        }
    }
}

#[test]
fn a_query_that_is_not_understood_is_told_what_is_allowed() {
    for (query, said) in [
        ("accounts=a", "there is no parameter accounts."),
        ("Account=a", "there is no parameter Account."),
        ("account%00=a", "there is no parameter account\\0."),
        ("account[]=a", "there is no parameter account[]."),
        ("system=zis&=", "there is no parameter ."),
        ("account=", "account is empty."),
        ("target", "target is empty."),
        ("system=zis&system=", "system is empty."),
        ("own", "own has no value but 1."),
        ("own=true", "own has no value but 1."),
        ("own=1&own=0", "own has no value but 1."),
        ("own=1&system=zis", "own goes with no other parameter."),
        ("target=t&own=1", "own goes with no other parameter."),
    ] {
        assert_eq!(
            Selector::parse(query),
            Err(format!(
                "The query cannot be answered: {said} Expected system, account and target, each as \
                    often as needed, or own=1 alone.\n"
            )
            .into())
        );
    }
    let long = Selector::parse(&"x".repeat(60_000))
        .unwrap_err()
        .to_string();
    assert!(long.len() < 300, "{long}");
}

#[test]
fn a_name_is_read_as_it_was_written_for_a_query() {
    for (one, other) in [
        ("account=a+b", "account=a%20b"),
        ("account=%61&account=b", "&account=b&account=a&account=a&"),
        ("target=%F0%9F%A6%80", "target=🦀"),
        ("%61ccount=a", "account=a"),
        ("own=1&own=1", "own=1"),
        ("target=%zz", "target=%25zz"),
    ] {
        assert_eq!(
            Selector::parse(one).unwrap(),
            Selector::parse(other).unwrap()
        );
    }
    assert_ne!(Selector::parse("account=a"), Selector::parse("account=A"));
    assert_ne!(Selector::parse("account=a"), Selector::parse("target=a"));
}

#[test]
fn a_narrowed_page_leaves_the_size_of_the_whole_as_it_is() {
    let kept = Kept::from([(("zis", "a".to_owned()), BTreeSet::from(["t".to_owned()]))]);
    let inventory = inventory(&kept);
    let before = inventory.exporter_metrics().page();
    for query in ["own=1", "account=a", "target=nothing", "system=zis"] {
        let _ = inventory.part(&Selector::parse(query).unwrap(), Encoding::Plain);
        assert_eq!(inventory.exporter_metrics().page(), before, "{query}");
    }
    assert!(before.0.is_some_and(|series| series > 10.0));
}

#[tokio::test(start_paused = true)]
async fn the_size_of_a_page_that_nobody_asks_for_any_more_is_forgotten() {
    let inventory = inventory(&Kept::new());
    let sizes = || {
        let page = text(
            &inventory.part(&Selector::Exporter, Encoding::Plain),
            Encoding::Plain,
        );
        page.matches("connections_exporter_page_bytes{").count()
    };
    let _ = inventory.page(Encoding::Gzip);
    assert_eq!(sizes(), 2, "as it was sent, and without encoding");
    tokio::time::advance(Duration::from_mins(15)).await;
    assert_eq!(sizes(), 2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sizes(), 0);
    let _ = inventory.page(Encoding::Plain);
    assert_eq!(sizes(), 1);
}
