//! Readiness of the process.

use super::*;

#[tokio::test(start_paused = true)]
async fn it_is_ready_once_each_target_had_its_first_attempt_good_or_bad() {
    let harness = start(
        vec![target("1"), target("2")],
        DiscoveryMode::Never,
        MINUTE,
        Fake::fails,
    );
    sleep(Duration::from_millis(1)).await;
    assert_eq!(harness.missing(), (0, 2));
    let missing = harness.inventory.pending().unwrap();
    assert_eq!(missing.to_string(), "targets not polled yet: 2");
    sleep(MINUTE).await;
    assert_eq!(harness.inventory.pending(), None);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_by_a_reload_takes_nothing_back() {
    for looked_at in [true, false] {
        let harness = start(vec![target("1")], DiscoveryMode::Never, MINUTE, |source| {
            source.lists(&["a"]);
        });
        sleep(MINUTE).await;
        // Readiness does not depend on an earlier query.
        assert!(!looked_at || harness.inventory.pending().is_none());
        harness
            .reload(|config, _| {
                config.targets = ["1", "2", "3"].map(target).into();
            })
            .await;
        assert_eq!(harness.inventory.pending(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_comes_by_a_reload_takes_nothing_back() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |_| {},
    );
    sleep(MINUTE / 2).await;
    let limiter = Arc::new(RequestLimiter::new(NonZeroU32::MIN, 1));
    let durations = harness.inventory.exporter_metrics().durations();
    let metrics = AccountMetrics::new("test", "other", limiter, durations);
    let _other = harness.inventory.open(&TEST, Arc::new(metrics));
    assert_eq!(harness.inventory.pending(), None);
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_targets_cannot_be_listed_had_its_attempt() {
    let harness = start(
        Vec::new(),
        DiscoveryMode::Targets,
        Duration::ZERO,
        |source| {
            *source.takes.lock().unwrap() = MINUTE / 2;
        },
    );
    sleep(MINUTE / 4).await;
    let missing = harness.inventory.pending().unwrap();
    assert_eq!(
        missing.to_string(),
        "accounts whose targets were not listed yet: 1"
    );
    sleep(MINUTE / 2).await;
    assert_eq!(harness.inventory.pending(), None);
    // Now the targets are listed, but were not polled.
    harness.source.finds(&[("1", "One")]);
    sleep(MINUTE * 2).await;
    assert_eq!(harness.inventory.pending(), None);
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_had_are_no_attempt_to_list_anything() {
    let harness = start(vec![target("1")], DiscoveryMode::Names, MINUTE, |source| {
        source.lists(&["a"]);
        *source.takes.lock().unwrap() = Duration::from_secs(5);
    });
    while harness.source.polls_of("1").is_empty() {
        assert!(harness.inventory.pending().is_some());
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 1);
    assert!(harness.inventory.pending().is_some(), "it is under way");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(harness.inventory.pending(), None);
}

#[test]
fn it_is_not_ready_while_accounts_are_being_opened() {
    let clock = Clock::system();
    let inventory = Inventory::new(ExporterMetrics::new(clock.now()), clock);
    inventory.opening(3);
    assert_eq!(
        inventory.pending().unwrap().to_string(),
        "accounts still being opened: 3"
    );
    inventory.opening(0);
    assert_eq!(inventory.pending(), None, "a shard may have none");
}
