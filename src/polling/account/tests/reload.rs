//! Reloads: what they change, and what they leave alone.

use super::*;

impl Harness {
    /// Applies a changed configuration, and waits until the inventory shows it.
    pub(super) async fn reload(&self, change: impl FnOnce(&mut AccountConfig, &mut PollConfig)) {
        let (mut config, mut poll) = (self.config.clone(), self.poll);
        change(&mut config, &mut poll);
        let shown = TaskTracker::new();
        let change = AccountChange {
            config,
            poll,
            transport: None,
            shown: shown.token(),
        };
        self.changes.send(Box::new(change)).await.unwrap();
        shown.close();
        shown.wait().await;
        // Lets the pollers run, so that they see the change.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    fn polls(&self) -> usize {
        self.source.polls.lock().unwrap().len()
    }

    fn polls_of_each(&self) -> [usize; 3] {
        ["1", "2", "3"].map(|id| self.source.polls_of(id).len())
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_keeps_its_listing_its_counters_and_its_phase() {
    let harness = start(
        vec![target("1"), target("2")],
        DiscoveryMode::Never,
        MINUTE / 2,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE * 3).await;
    // Only the account's samples: those of the process differ on each page.
    let samples = || {
        let page = harness.page();
        let lines = page.lines().filter(|line| line.contains("acme"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (page, polls, begun) = (samples(), harness.polls(), Instant::now());
    for _ in 0..100 {
        harness.reload(|_, _| {}).await;
    }
    assert_eq!(Instant::now(), begun, "no time passed");
    assert_eq!(harness.polls(), polls, "nobody was asked");
    assert_eq!(samples(), page);
    sleep(MINUTE * 3).await;
    for id in ["1", "2"] {
        assert_eq!(minutes(&harness, id), [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_new_begin_and_those_that_are_gone_vanish() {
    let harness = start(
        vec![target("1"), target("2")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE * 2 + MINUTE / 2).await;
    harness
        .reload(|config, _| config.targets = vec![target("2"), target("3")])
        .await;
    assert_eq!(harness.targets(), set(&["2", "3"]));
    sleep(MINUTE * 2).await;
    assert_eq!(harness.polls_of_each(), [3, 5, 2]);
    assert_eq!(
        harness.value(&["polls_total{", "target=\"2\"", "success"]),
        Some(5.0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_and_how_old_a_listing_may_become_count_at_once() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a", "b"]),
    );
    sleep(MINUTE / 2).await;
    harness
        .reload(|config, _| config.targets[0].expect = vec!["b".to_owned(), "c".to_owned()])
        .await;
    let expected =
        |name: &str| harness.value(&["connection_expected_present{", &format!("\"{name}\"}}")]);
    assert_eq!(
        [expected("a"), expected("b"), expected("c")],
        [None, Some(1.0), Some(0.0)]
    );
    harness.source.fails();
    harness
        .reload(|config, _| config.stale_after = Some(MINUTE))
        .await;
    sleep(MINUTE / 4).await;
    assert_eq!(harness.value(&["saas_connections{"]), Some(2.0));
    sleep(MINUTE / 2).await;
    assert_eq!(harness.value(&["saas_connections{"]), None);
    harness
        .reload(|config, _| config.stale_after = Some(MINUTE * 60))
        .await;
    assert_eq!(
        harness.value(&["saas_connections{"]),
        Some(2.0),
        "it was kept, and is young again"
    );
}

#[tokio::test(start_paused = true)]
async fn another_interval_counts_from_the_last_poll_on() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE / 2).await;
    harness
        .reload(|config, _| config.interval = MINUTE * 4)
        .await;
    assert_eq!(harness.value(&["poll_interval_seconds{"]), Some(240.0));
    sleep(MINUTE * 9).await;
    assert_eq!(minutes(&harness, "1"), [0, 4, 8]);
    // Nine and a half minutes after the first poll: the next whole interval is at ten.
    harness
        .reload(|config, _| config.interval = MINUTE * 2)
        .await;
    assert_eq!(harness.polls(), 3, "a reload asks nothing by itself");
    sleep(MINUTE * 3).await;
    assert_eq!(minutes(&harness, "1"), [0, 4, 8, 10, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_refused_is_tried_again_at_the_next_interval() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| *source.refuses.lock().unwrap() = true,
    );
    sleep(MINUTE * 20 + MINUTE / 2).await;
    assert_eq!(minutes(&harness, "1"), [0, 2, 6, 14]);
    harness.reload(|_, _| {}).await;
    assert_eq!(harness.polls(), 4);
    sleep(MINUTE).await;
    assert_eq!(minutes(&harness, "1"), [0, 2, 6, 14, 21]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_becomes_the_vendors_leaves_no_hole() {
    let harness = start(
        vec![target("1"), target("2")],
        DiscoveryMode::Never,
        MINUTE / 2,
        |source| {
            source.lists(&["a"]);
            source.finds(&[("2", "2"), ("3", "3")]);
        },
    );
    sleep(MINUTE * 2).await;
    harness
        .reload(|config, _| {
            config.discovery = DiscoveryMode::Targets;
            config.targets.clear();
        })
        .await;
    assert_eq!(harness.targets(), set(&["1", "2"]), "until it is known");
    sleep(MINUTE).await;
    assert_eq!(harness.targets(), set(&["2", "3"]));
    assert_eq!(harness.value(&["discovery_up{"]), Some(1.0));
    assert_eq!(
        harness.value(&["saas_connections{", "target=\"2\""]),
        Some(1.0)
    );
    harness
        .reload(|config, _| config.targets = vec![target("3")])
        .await;
    assert_eq!(harness.targets(), set(&["3"]));
    assert_eq!(harness.value(&["discovery_up{"]), None);
    assert_eq!(
        harness.value(&["saas_connections{", "target=\"3\""]),
        Some(1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_without_a_name_is_shown_once_it_has_one() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Names,
        Duration::ZERO,
        |source| {
            source.lists(&["a"]);
            source.finds(&[("1", "One"), ("2", "Two")]);
        },
    );
    sleep(MINUTE / 2).await;
    assert_eq!(harness.targets(), set(&["One"]));
    *harness.source.found.lock().unwrap() = None;
    harness
        .source
        .finds(&[("1", "One"), ("2", "Two"), ("3", "Three")]);
    harness
        .reload(|config, _| config.targets = vec![target("1"), target("3")])
        .await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(harness.targets(), set(&["One", "Three"]));
    assert_eq!(*harness.source.discoveries.lock().unwrap(), 2);
    harness
        .reload(|config, _| config.targets = vec![target("3")])
        .await;
    assert_eq!(harness.targets(), set(&["Three"]));
    assert_eq!(
        *harness.source.discoveries.lock().unwrap(),
        2,
        "all is named"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_no_vendor_and_breaks_off_nothing() {
    let harness = start(
        Vec::new(),
        DiscoveryMode::Targets,
        Duration::ZERO,
        |source| {
            source.lists(&["a"]);
            source.finds(&[("1", "1")]);
        },
    );
    sleep(MINUTE / 2).await;
    *harness.source.takes.lock().unwrap() = MINUTE;
    // In the middle of a poll, then of a discovery.
    for middle in [MINUTE, MINUTE * 59] {
        sleep(middle).await;
        let begun = Instant::now();
        harness
            .reload(|config, _| config.interval = MINUTE * 3)
            .await;
        assert_eq!(Instant::now(), begun);
    }
    let (polls, discoveries) = (harness.polls(), *harness.source.discoveries.lock().unwrap());
    assert_eq!(discoveries, 2);
    sleep(MINUTE * 3).await;
    assert_eq!(
        harness.polls(),
        polls + 1,
        "each poll was finished, and begun once"
    );
    assert_eq!(*harness.source.discoveries.lock().unwrap(), discoveries);
    assert_eq!(harness.value(&["polls_total{", "failure"]), Some(0.0));
    assert_eq!(harness.value(&["discovery_up{"]), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_reload_drops_no_listing_though_intervals_shrink() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| {
            source.lists(&["a"]);
        },
    );
    harness
        .reload(|config, _| config.interval = MINUTE * 60)
        .await;
    sleep(MINUTE * 90).await;
    assert_eq!(minutes(&harness, "1"), [0, 60]);
    harness.source.fails();
    // More than three one-minute intervals have passed since the last listing.
    harness.reload(|_, _| {}).await;
    assert_eq!(harness.value(&["saas_connections{"]), Some(1.0));
    sleep(MINUTE * 20).await;
    assert_eq!(harness.value(&["target_up{"]), Some(0.0));
    assert_eq!(
        harness.value(&["saas_connections{"]),
        Some(1.0),
        "as old as it might be before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shorter_interval_keeps_first_polls_apart() {
    let ids: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let targets = || ids.iter().map(|id| target(id)).collect();
    let harness = start(targets(), DiscoveryMode::Never, MINUTE, |source| {
        source.lists(&["a"]);
    });
    harness
        .reload(|config, _| config.interval = MINUTE / 4)
        .await;
    sleep(MINUTE / 4).await;
    let firsts: BTreeSet<_> = ids
        .iter()
        .map(|id| harness.source.polls_of(id)[0])
        .collect();
    assert!(firsts.len() > 15, "{firsts:?}");
}
