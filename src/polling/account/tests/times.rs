//! Times of polls, and how long a listing stays on the page.

use super::*;

#[tokio::test(start_paused = true)]
async fn polls_are_planned_start_to_start_and_an_overrun_skips() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&[]),
    );
    *harness.source.takes.lock().unwrap() = MINUTE / 4;
    sleep(MINUTE * 2 + MINUTE / 2).await;
    *harness.source.takes.lock().unwrap() = MINUTE + MINUTE / 4;
    sleep(MINUTE * 4).await;
    let polls = harness.source.polls_of("1");
    let minutes: Vec<_> = polls
        .iter()
        .map(|at| (*at - polls[0]).as_secs() / 60)
        .collect();
    assert_eq!(minutes, [0, 1, 2, 3, 5]);
}

#[tokio::test(start_paused = true)]
async fn first_polls_are_spread_and_each_has_the_same_place_at_every_start() {
    let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let mut starts = Vec::new();
    for _ in 0..2 {
        let begun = Instant::now();
        let harness = start(
            ids.iter().map(|id| target(id)).collect(),
            DiscoveryMode::Never,
            MINUTE / 2,
            |source| source.lists(&[]),
        );
        sleep(MINUTE / 2).await;
        let firsts: BTreeMap<_, _> = ids
            .iter()
            .map(|id| (id, (harness.source.polls_of(id)[0] - begun).as_millis()))
            .collect();
        for window in 0..5 {
            let (from, to) = (window * 6000, (window + 1) * 6000);
            let count = firsts
                .values()
                .filter(|at| (from..to).contains(*at))
                .count();
            assert!(
                (8..=34).contains(&count),
                "{count} of 100 in a fifth of the window"
            );
        }
        starts.push(firsts.into_values().collect::<Vec<_>>());
        advance(MINUTE).await;
    }
    // Timers of tokio have a resolution of one millisecond.
    assert!(
        starts[0]
            .iter()
            .zip(&starts[1])
            .all(|(a, b)| a.abs_diff(*b) <= 1)
    );
}

#[tokio::test(start_paused = true)]
async fn intervals_are_stretched_evenly_to_what_the_budget_bears() {
    let ids: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    let targets = ids.iter().map(|id| target(id)).collect();
    let harness = start_with_budget(4, targets, DiscoveryMode::Never, Duration::ZERO, |source| {
        source.lists(&["a"]);
    });
    sleep(MINUTE * 12).await;
    for id in &ids {
        // Ten pages a minute are needed and four allowed: one minute becomes two and a half.
        assert_eq!(minutes(&harness, id), [0, 2, 5, 7, 10]);
        let label = format!("target=\"{id}\"");
        assert_eq!(
            harness.value(&["poll_interval_seconds{", &label]),
            Some(150.0)
        );
    }
    assert_eq!(
        harness.value(&["planned_requests_per_second{"]),
        Some(10.0 / 60.0),
        "as configured"
    );
    harness.source.fails();
    sleep(MINUTE * 5).await;
    assert_eq!(
        harness.value(&["saas_connections{", "target=\"1\""]),
        Some(1.0),
        "three stretched intervals are not over"
    );
}

/// Limit in real time: with a search through all others for each item, it would take minutes.
const LINEAR: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn what_a_target_costs_does_not_grow_with_how_many_there_are() {
    let begun = std::time::Instant::now();
    let harness = start(Vec::new(), DiscoveryMode::Never, Duration::ZERO, |_| {});
    let limiter = Arc::new(RequestLimiter::new(harness.config.requests_per_minute, 1));
    let durations = harness.inventory.exporter_metrics().durations();
    let metrics = Arc::new(AccountMetrics::new("test", "acme", limiter, durations));
    let schedule = Arc::new(Schedule::new(
        &harness.config,
        &harness.poll,
        metrics.clone(),
    ));
    let jobs = Arc::new(crate::polling::background_jobs::BackgroundJobs::new(
        harness.source.clone(),
        schedule.clone(),
        metrics,
    ));
    let targets: Vec<_> = (0..100_000).map(|n| target(&n.to_string())).collect();
    schedule.set_targets(targets.iter().map(|target| target.id.as_str()));
    let before = schedule.interval();
    let setup = Setup::new(harness.source.clone(), jobs.clone(), &targets);
    for target in &targets {
        schedule.record_pages(&target.id, 2);
        assert_eq!(
            setup.expected(&target.id, &Listing::default()),
            [("a".to_owned(), false)]
        );
    }
    assert_eq!(schedule.interval(), before * 2);

    // One target that expects 50,000 connections, of which 40,000 exist.
    let names: Vec<_> = (0..50_000).map(|n| format!("c{n}")).collect();
    let rows = names.iter().take(40_000).map(|name| Connection {
        id: name.as_str(),
        kind: "oauth",
        ..<Connection<&str>>::default()
    });
    let mut builder = ListingBuilder::new("list", names.len(), names.len());
    builder.add_page(rows.collect(), true).unwrap();
    let target = TargetConfig {
        expect: names,
        ..target("1")
    };
    let expected =
        Setup::new(harness.source.clone(), jobs, &[target]).expected("1", &builder.finish());
    assert_eq!(expected.iter().filter(|(_, there)| *there).count(), 40_000);
    assert!(begun.elapsed() < LINEAR, "{:?}", begun.elapsed());
}

/// Polls for `lasts`, and returns for how many seconds after the first listing the page had none.
async fn holes(harness: &Harness, lasts: Duration) -> usize {
    let end = Instant::now() + lasts;
    while harness.value(&["saas_connections{"]).is_none() {
        sleep(Duration::from_secs(1)).await;
    }
    let mut holes = 0;
    while Instant::now() < end {
        holes += usize::from(harness.value(&["saas_connections{"]).is_none());
        sleep(Duration::from_secs(1)).await;
    }
    holes
}

#[tokio::test(start_paused = true)]
async fn polls_that_take_longer_than_three_intervals_leave_no_hole() {
    for takes in [30, 61, 170, 200, 600] {
        let harness = start(
            vec![target("1")],
            DiscoveryMode::Never,
            Duration::ZERO,
            |source| source.lists(&["a"]),
        );
        *harness.source.takes.lock().unwrap() = Duration::from_secs(takes);
        assert_eq!(holes(&harness, MINUTE * 60).await, 0, "{takes} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_takes_long_for_the_first_time_leaves_no_hole_and_one_that_hangs_does() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE / 2).await;
    *harness.source.takes.lock().unwrap() = MINUTE * 4;
    assert_eq!(holes(&harness, MINUTE * 30).await, 0);
    *harness.source.takes.lock().unwrap() = MINUTE * 600;
    sleep(MINUTE * 20).await;
    assert_eq!(harness.value(&["saas_connections{"]), None);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_takes_long_and_fails_keeps_the_listing_no_longer() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE / 2).await;
    harness.source.fails();
    *harness.source.takes.lock().unwrap() = Duration::from_secs(50);
    // The listing stays for three intervals and the longest poll. The poll of the third minute is
    // the last one that could replace it.
    sleep(MINUTE * 4 + MINUTE / 2).await;
    assert_eq!(harness.value(&["saas_connections{"]), None);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_took_long_once_is_not_allowed_for_for_ever() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a"]),
    );
    *harness.source.takes.lock().unwrap() = MINUTE * 50;
    sleep(MINUTE).await;
    *harness.source.takes.lock().unwrap() = Duration::ZERO;
    sleep(MINUTE * 50 + MINUTE / 2).await;
    harness.source.fails();
    sleep(MINUTE * 40).await;
    assert_eq!(
        harness.value(&["saas_connections{"]),
        Some(1.0),
        "it may come"
    );
    harness.source.lists(&["a"]);
    sleep(MINUTE * 60).await;
    harness.source.fails();
    sleep(MINUTE * 5).await;
    assert_eq!(harness.value(&["saas_connections{"]), None);
}

#[tokio::test(start_paused = true)]
async fn while_the_account_is_paused_no_next_poll_is_shown_before_the_end_of_the_pause() {
    let harness = start(
        vec![target("1"), target("2")],
        DiscoveryMode::Never,
        MINUTE / 2,
        |source| source.lists(&["a"]),
    );
    sleep(MINUTE + MINUTE / 2).await;
    let next = |id: &str| {
        let date = harness.value(&["next_poll_timestamp_seconds{", &format!("target=\"{id}\"")]);
        date.unwrap() - crate::clock::seconds(harness.inventory.date())
    };
    assert!(next("1") < 60.0 && next("2") < 60.0);
    let seen = harness.inventory.snapshot();
    let metrics = seen[0].metrics.clone();
    let ends = harness.inventory.date() + MINUTE * 10;
    metrics.paused_until(ends);
    *harness.source.takes.lock().unwrap() = MINUTE * 10;
    for minute in 0..10 {
        let left = f64::from(600 - minute * 60);
        for id in ["1", "2"] {
            assert!((next(id) - left).abs() < 1.0, "{id} in {} s", next(id));
        }
        sleep(MINUTE).await;
    }
    *harness.source.takes.lock().unwrap() = Duration::ZERO;
    sleep(MINUTE * 3).await;
    for id in ["1", "2"] {
        assert!((0.0..=60.0).contains(&next(id)), "{id} in {} s", next(id));
    }
}
