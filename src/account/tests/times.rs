//! When targets are polled.

use super::*;

#[tokio::test(start_paused = true)]
async fn polls_are_planned_start_to_start_and_an_overrun_skips() {
    let rig = start(
        vec![target("1")],
        Discovery::Never,
        Duration::ZERO,
        |source| source.lists(&[]),
    );
    *rig.source.takes.lock().unwrap() = MINUTE / 4;
    sleep(MINUTE * 2 + MINUTE / 2).await;
    *rig.source.takes.lock().unwrap() = MINUTE + MINUTE / 4;
    sleep(MINUTE * 4).await;
    let polls = rig.source.polls_of("1");
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
        let rig = start(
            ids.iter().map(|id| target(id)).collect(),
            Discovery::Never,
            MINUTE / 2,
            |source| source.lists(&[]),
        );
        sleep(MINUTE / 2).await;
        let firsts: BTreeMap<_, _> = ids
            .iter()
            .map(|id| (id, (rig.source.polls_of(id)[0] - begun).as_millis()))
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
    // Timers tick in milliseconds.
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
    let rig = start_with_budget(4, targets, Discovery::Never, Duration::ZERO, |source| {
        source.lists(&["a"]);
    });
    sleep(MINUTE * 12).await;
    for id in &ids {
        // Ten pages a minute are wanted and four allowed: a minute becomes two and a half.
        assert_eq!(minutes(&rig, id), [0, 2, 5, 7, 10]);
        let label = format!("target=\"{id}\"");
        assert_eq!(rig.value(&["poll_interval_seconds{", &label]), Some(150.0));
    }
    assert_eq!(
        rig.value(&["planned_requests_per_second{"]),
        Some(10.0 / 60.0),
        "as configured"
    );
    rig.source.fails();
    sleep(MINUTE * 5).await;
    assert_eq!(
        rig.value(&["saas_connections{", "target=\"1\""]),
        Some(1.0),
        "three stretched intervals are not over"
    );
}

/// Where each of these were looked for among all others, it would take minutes.
const LINEAR: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn what_a_target_costs_does_not_grow_with_how_many_there_are() {
    let begun = std::time::Instant::now();
    let rig = start(Vec::new(), Discovery::Never, Duration::ZERO, |_| {});
    let pace = Arc::new(Pace::new(rig.config.requests_per_minute, 1));
    let durations = rig.board.own().durations();
    let metrics = Arc::new(AccountMetrics::new("test", "acme", pace, durations));
    let schedule = Schedule::new(&rig.config, &rig.poll, metrics);
    let targets: Vec<_> = (0..100_000).map(|n| target(&n.to_string())).collect();
    schedule.set_targets(targets.iter().map(|target| target.id.as_str()));
    let before = schedule.interval();
    let setup = Setup::new(rig.source.clone(), &targets);
    for target in &targets {
        schedule.needs_pages(&target.id, 2);
        assert_eq!(
            setup.expected(&target.id, &Listing::default()),
            [("a".to_owned(), false)]
        );
    }
    assert_eq!(schedule.interval(), before * 2);

    // What is expected of one target, and what is there.
    let names: Vec<_> = (0..50_000).map(|n| format!("c{n}")).collect();
    let rows = names.iter().take(40_000).map(|name| Connection {
        id: name.as_str(),
        kind: "oauth",
        ..<Connection<&str>>::default()
    });
    let mut draft = Draft::new("list", names.len(), names.len());
    draft.page(rows.collect(), true).unwrap();
    let target = Target {
        expect: names,
        ..target("1")
    };
    let expected = Setup::new(rig.source.clone(), &[target]).expected("1", &draft.finish());
    assert_eq!(expected.iter().filter(|(_, there)| *there).count(), 40_000);
    assert!(begun.elapsed() < LINEAR, "{:?}", begun.elapsed());
}
