//! Targets and names that the vendor lists.

use super::*;

#[tokio::test(start_paused = true)]
async fn targets_that_appear_or_vanish_start_and_stop_without_a_restart() {
    let rig = start(Vec::new(), Discovery::Targets, Duration::ZERO, |source| {
        source.finds(&[("1", "One"), ("2", "Two")]);
    });
    rig.source.lists(&["a"]);
    assert_eq!(
        rig.board.missing(),
        1,
        "an account whose targets were never listed"
    );
    sleep(MINUTE / 2).await;
    assert_eq!(
        (rig.targets(), rig.board.missing()),
        (set(&["One", "Two"]), 0)
    );

    rig.source.finds(&[("2", "Two"), ("3", "Three")]);
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(rig.targets(), set(&["Three", "Two"]));
    assert_eq!(rig.value(&["saas_connections{", "Two"]), Some(1.0));
    let last = rig.source.polls_of("1").len();
    sleep(MINUTE * 5).await;
    assert_eq!(
        rig.source.polls_of("1").len(),
        last,
        "a target that is gone is not polled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_empty_discovery_keeps_the_earlier_targets() {
    let rig = start(Vec::new(), Discovery::Targets, Duration::ZERO, |source| {
        source.finds(&[("1", "One")]);
    });
    sleep(MINUTE).await;
    assert_eq!(rig.value(&["discovery_up{"]), Some(1.0));
    for break_it in [Fake::fails, |source: &Fake| source.finds(&[])] {
        break_it(&rig.source);
        sleep(DISCOVERY_INTERVAL).await;
        assert_eq!(rig.targets(), set(&["One"]));
        assert_eq!(rig.value(&["discovery_up{"]), Some(0.0));
    }
    rig.source.finds(&[("1", "One"), ("2", "Two")]);
    sleep(MINUTE).await;
    assert_eq!(
        rig.targets(),
        set(&["One", "Two"]),
        "a failed discovery is tried again after an interval"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_discovery_is_tried_less_and_less_often() {
    let rig = start(Vec::new(), Discovery::Targets, Duration::ZERO, |source| {
        *source.refuses.lock().unwrap() = true;
    });
    sleep(DISCOVERY_INTERVAL).await;
    // At 0, 2, 6, 14 and 30 minutes; then once an hour.
    assert_eq!(*rig.source.discoveries.lock().unwrap(), 5);
    sleep(DISCOVERY_INTERVAL * 10).await;
    assert_eq!(*rig.source.discoveries.lock().unwrap(), 15);
    assert_eq!(rig.board.missing(), 1);
    // Another credential is worth a try at the next interval.
    rig.source.finds(&[("1", "One")]);
    *rig.source.credential.lock().unwrap() = Some(1);
    sleep(MINUTE * 2).await;
    assert_eq!(rig.board.missing(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_fetched_cost_the_names_and_not_the_listing() {
    let rig = start(
        vec![target("1")],
        Discovery::Names,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE / 2).await;
    assert_eq!(rig.targets(), set(&["1"]));
    assert_eq!(rig.value(&["saas_connections{", "target=\"1\""]), Some(1.0));
    assert_eq!(
        rig.value(&["discovery_up{"]),
        None,
        "nothing is discovered here"
    );

    rig.source.finds(&[("1", "One"), ("9", "not a target")]);
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(rig.targets(), set(&["One"]));
    let page = rig.page();
    assert!(
        !page.contains("target=\"1\""),
        "a renamed target leaves no series behind"
    );

    rig.source.fails();
    sleep(DISCOVERY_INTERVAL).await;
    assert_eq!(rig.targets(), set(&["One"]), "the last known name stays");
}
