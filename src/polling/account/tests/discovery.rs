//! Discovery of targets and of their names.

use super::*;

#[tokio::test(start_paused = true)]
async fn targets_that_appear_or_vanish_start_and_stop_without_a_restart() {
    let harness = start(
        Vec::new(),
        DiscoveryMode::Targets,
        Duration::ZERO,
        |source| {
            source.finds(&[("1", "One"), ("2", "Two")]);
        },
    );
    harness.source.lists(&["a"]);
    assert_eq!(
        harness.missing(),
        (1, 0),
        "an account whose targets were never listed"
    );
    sleep(MINUTE / 2).await;
    assert_eq!(
        (harness.targets(), harness.inventory.pending()),
        (set(&["One", "Two"]), None)
    );

    harness.source.finds(&[("2", "Two"), ("3", "Three")]);
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(harness.targets(), set(&["Three", "Two"]));
    assert_eq!(harness.value(&["saas_connections{", "Two"]), Some(1.0));
    let last = harness.source.polls_of("1").len();
    sleep(MINUTE * 5).await;
    assert_eq!(
        harness.source.polls_of("1").len(),
        last,
        "a target that is gone is not polled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_empty_discovery_keeps_the_earlier_targets() {
    let harness = start(
        Vec::new(),
        DiscoveryMode::Targets,
        Duration::ZERO,
        |source| {
            source.finds(&[("1", "One")]);
        },
    );
    sleep(MINUTE).await;
    assert_eq!(harness.value(&["discovery_up{"]), Some(1.0));
    for break_it in [Fake::fails, |source: &Fake| source.finds(&[])] {
        break_it(&harness.source);
        sleep(DISCOVERY_INTERVAL).await;
        assert_eq!(harness.targets(), set(&["One"]));
        assert_eq!(harness.value(&["discovery_up{"]), Some(0.0));
    }
    harness.source.finds(&[("1", "One"), ("2", "Two")]);
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(
        harness.targets(),
        set(&["One", "Two"]),
        "and an empty list is asked for again within an hour"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_discovery_is_tried_less_and_less_often() {
    let harness = start(
        Vec::new(),
        DiscoveryMode::Targets,
        Duration::ZERO,
        |source| {
            *source.refuses.lock().unwrap() = true;
        },
    );
    sleep(DISCOVERY_INTERVAL).await;
    // At 0, 2, 6, 14 and 30 minutes; then once an hour.
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 5);
    sleep(DISCOVERY_INTERVAL * 10).await;
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 15);
    assert_eq!(
        harness.inventory.pending(),
        None,
        "it had its first attempt"
    );
    // Another credential is tried at the next interval. It is refused as well, and waits anew.
    *harness.source.credential.lock().unwrap() = Some(1);
    sleep(MINUTE * 16).await;
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 19);
    harness.source.finds(&[("1", "One")]);
    *harness.source.credential.lock().unwrap() = Some(2);
    sleep(MINUTE * 2).await;
    assert_eq!(harness.targets(), set(&["One"]));
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_fetched_cost_the_names_and_not_the_listing() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Names,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE / 2).await;
    assert_eq!(harness.targets(), set(&["1"]));
    assert_eq!(
        harness.value(&["saas_connections{", "target=\"1\""]),
        Some(1.0)
    );
    assert_eq!(
        harness.value(&["discovery_up{"]),
        None,
        "nothing is discovered here"
    );

    harness.source.finds(&[("1", "One"), ("9", "not a target")]);
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(harness.targets(), set(&["One"]));
    let page = harness.page();
    assert!(
        !page.contains("target=\"1\""),
        "a renamed target leaves no series behind"
    );

    harness.source.fails();
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(
        harness.targets(),
        set(&["One"]),
        "the last known name stays"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_hang_hold_up_the_first_listing_for_seconds_and_come_later() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Names,
        Duration::ZERO,
        |source| {
            source.finds(&[("1", "One")]);
            *source.takes.lock().unwrap() = MINUTE * 10;
        },
    );
    let begun = Instant::now();
    // The discovery in flight still takes ten minutes: the fake source has already read its delay.
    sleep(Duration::from_secs(1)).await;
    *harness.source.takes.lock().unwrap() = Duration::ZERO;
    harness.source.lists(&["a"]);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(harness.targets(), set(&["1"]));
    assert_eq!(
        harness.value(&["saas_connections{", "target=\"1\""]),
        Some(1.0)
    );
    assert!(harness.source.polls_of("1")[0] - begun < Duration::from_secs(12));
    sleep(MINUTE * 10).await;
    assert_eq!(
        harness.targets(),
        set(&["One"]),
        "the name is shown once it is there"
    );
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_that_take_a_few_seconds_are_there_from_the_first_listing_on() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Names,
        Duration::ZERO,
        |source| {
            source.lists(&["a"]);
            source.finds(&[("1", "One")]);
            *source.takes.lock().unwrap() = Duration::from_secs(8);
        },
    );
    while harness.targets().is_empty() {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(harness.targets(), set(&["One"]));
}

#[tokio::test(start_paused = true)]
async fn names_that_fail_in_whatever_way_are_asked_for_less_and_less_often() {
    for refuses in [false, true] {
        let harness = start(
            vec![target("1")],
            DiscoveryMode::Names,
            Duration::ZERO,
            |source| {
                source.lists(&["a"]);
                *source.refuses.lock().unwrap() = refuses;
            },
        );
        sleep(DISCOVERY_INTERVAL).await;
        // At 0, 2, 6, 14 and 30 minutes; then once an hour.
        assert_eq!(*harness.source.discoveries.lock().unwrap(), 5);
        sleep(DISCOVERY_INTERVAL * 10).await;
        assert_eq!(*harness.source.discoveries.lock().unwrap(), 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_targets_that_fails_in_a_way_that_passes_is_asked_for_with_each_poll() {
    let harness = start(Vec::new(), DiscoveryMode::Targets, Duration::ZERO, |_| {});
    sleep(MINUTE * 10 + MINUTE / 2).await;
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 11);
}
