//! Restarts with a state directory.

use serde_json::Value;

use super::*;
use crate::state_dir::StateFile;

/// State directory, clock and source that all starts share.
struct Restarts {
    _folder: tempfile::TempDir,
    state_dir: StateDir,
    clock: Clock,
    source: Arc<Fake>,
    targets: Vec<TargetConfig>,
    discovery: DiscoveryMode,
}

impl Restarts {
    async fn new(targets: Vec<TargetConfig>, discovery: DiscoveryMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let failures = prometheus::IntCounter::new("failures", "failures").unwrap();
        Self {
            state_dir: StateDir::create_and_open(folder.path(), failures)
                .await
                .unwrap(),
            _folder: folder,
            clock: Clock::from_tokio("2026-01-02T03:04:05Z".parse().unwrap()),
            source: Arc::default(),
            targets,
            discovery,
        }
    }

    fn start(&self) -> Harness {
        self.start_at(self.clock.clone())
    }

    fn start_at(&self, clock: Clock) -> Harness {
        let (targets, source) = (self.targets.clone(), self.source.clone());
        start_on(
            &self.state_dir,
            1000,
            targets,
            self.discovery,
            Duration::ZERO,
            source,
            clock,
        )
    }

    fn asked(&self) -> (usize, u32) {
        let polls = self.source.polls.lock().unwrap().len();
        (polls, *self.source.discoveries.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_inside_the_interval_asks_nothing_and_shows_what_was_known() {
    let restarts = Restarts::new(Vec::new(), DiscoveryMode::Targets).await;
    restarts.source.finds(&[("1", "One"), ("2", "Two")]);
    restarts.source.lists(&["a", "b"]);
    let harness = restarts.start();
    sleep(MINUTE / 2).await;
    let families = |harness: &Harness| {
        let page = harness.page();
        let of_targets = page.lines().filter(|line| {
            line.starts_with("saas_") || line.starts_with("connections_exporter_discovery")
        });
        let same = of_targets.filter(|line| !line.contains("_changes_total"));
        same.map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, asked) = (families(&harness), restarts.asked());
    assert_eq!(asked, (2, 1));
    drop(harness);
    for _ in 0..10 {
        // Simulates a crash loop.
        let harness = restarts.start();
        sleep(Duration::from_secs(1)).await;
        drop(harness);
    }
    let harness = restarts.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((families(&harness), restarts.asked()), (before, asked));
    assert_eq!(harness.inventory.pending(), None, "it is ready");
    assert_eq!(harness.value(&["target_restored{", "One"]), Some(1.0));
    assert_eq!(harness.value(&["target_up{", "One"]), Some(1.0));
    assert_eq!(
        harness.value(&["polls_total{", "One", "success"]),
        Some(0.0)
    );

    restarts.source.lists(&["b", "c"]);
    sleep(MINUTE / 2).await;
    assert_eq!(
        restarts.asked(),
        (4, 1),
        "polled when it would have been due"
    );
    assert_eq!(harness.value(&["target_restored{", "One"]), Some(0.0));
    let changed = |kind| harness.value(&["changes_total{", "One", kind]);
    assert_eq!(
        (changed("added"), changed("removed")),
        (Some(1.0), Some(1.0)),
        "what changed meanwhile"
    );
    sleep(MINUTE * 59).await;
    assert_eq!(
        restarts.asked().1,
        2,
        "discovered when it would have been due"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_the_interval_polls_and_does_not_show_what_is_stale() {
    let restarts = Restarts::new(vec![target("1")], DiscoveryMode::Never).await;
    restarts.source.lists(&["a"]);
    let harness = restarts.start();
    sleep(MINUTE / 2).await;
    drop(harness);
    sleep(MINUTE * 2).await;
    restarts.source.fails();
    let harness = restarts.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(restarts.asked().0, 2);
    assert_eq!(
        harness.value(&["saas_connections{"]),
        Some(1.0),
        "not stale yet"
    );
    assert_eq!(
        harness.value(&["saas_connection_expected_present{"]),
        Some(1.0)
    );
    sleep(MINUTE).await;
    assert_eq!(harness.value(&["saas_connections{"]), None);
    assert_eq!(harness.value(&["target_consecutive_failures{"]), Some(2.0));
    drop(harness);
    let harness = restarts.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(harness.value(&["target_consecutive_failures{"]), Some(2.0));
    assert_eq!(
        harness.value(&["target_failing{", "server_error"]),
        Some(1.0)
    );
    assert_eq!(harness.value(&["target_up{"]), Some(0.0));
    assert_eq!(harness.value(&["saas_connections{"]), None);
    assert!(harness.value(&["last_success_timestamp"]).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_meanwhile_delays_nothing_beyond_the_interval() {
    for hours in [-1000, 1000] {
        let restarts = Restarts::new(Vec::new(), DiscoveryMode::Targets).await;
        restarts.source.finds(&[("1", "One")]);
        restarts.source.lists(&["a"]);
        let harness = restarts.start();
        sleep(MINUTE / 2).await;
        drop(harness);
        let clock = restarts.clock.clone();
        let set = Clock::new(move || clock.now() + jiff::SignedDuration::from_hours(hours));
        let harness = restarts.start_at(set);
        sleep(MINUTE + Duration::from_secs(1)).await;
        assert!(restarts.asked().0 >= 2, "{hours} h");
        assert_eq!(harness.value(&["saas_connections{"]), Some(1.0));
        sleep(DISCOVERY_INTERVAL).await;
        assert!(restarts.asked().1 >= 2, "{hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_follows_its_targets_from_now_on_asks_for_them_at_once() {
    let mut restarts = Restarts::new(vec![target("1")], DiscoveryMode::Names).await;
    restarts.source.finds(&[("1", "One"), ("2", "Two")]);
    restarts.source.lists(&["a"]);
    let harness = restarts.start();
    sleep(MINUTE / 2).await;
    drop(harness);
    (restarts.targets, restarts.discovery) = (Vec::new(), DiscoveryMode::Targets);
    let harness = restarts.start();
    sleep(MINUTE).await;
    assert_eq!(harness.targets(), set(&["One", "Two"]));
}

#[test]
fn no_date_of_a_file_is_too_far_away() {
    let (now, hour) = (Timestamp::UNIX_EPOCH, Duration::from_hours(1));
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    assert_eq!(time_left(now, at(-60), at(60), hour), Some(MINUTE));
    assert_eq!(
        time_left(now, at(-60), Timestamp::MAX, hour),
        Some(MINUTE * 59)
    );
    assert_eq!(
        time_left(now, at(-7200), Timestamp::MAX, hour),
        None,
        "overdue"
    );
    assert_eq!(
        time_left(now, at(1), Timestamp::MAX, hour),
        None,
        "the clock was set"
    );
    assert_eq!(
        time_left(Timestamp::MAX, Timestamp::MAX, Timestamp::MAX, hour),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_refused_credential_is_worth_a_try_an_interval_after_the_last() {
    let restarts = Restarts::new(vec![target("1")], DiscoveryMode::Never).await;
    *restarts.source.refuses.lock().unwrap() = true;
    let harness = restarts.start();
    sleep(MINUTE * 31).await;
    assert_eq!(minutes(&harness, "1"), [0, 2, 6, 14, 30]);
    drop(harness);
    let harness = restarts.start();
    sleep(MINUTE * 4).await;
    assert_eq!(minutes(&harness, "1")[5..], [31, 33]);
}

#[tokio::test(start_paused = true)]
async fn what_was_observed_survives_restarts_and_is_shown_while_the_listing_is_stale() {
    let restarts = Restarts::new(vec![target("1")], DiscoveryMode::Never).await;
    let source = &restarts.source;
    source.lists(&["a"]);
    let begun = restarts.clock.now();
    let expires_after =
        |minutes: u32| *source.expiry.lock().unwrap() = Some(begun + MINUTE * minutes);
    expires_after(5);
    let mut harness = restarts.start();
    let first_seen = harness_value_after(&harness, "first_seen_timestamp").await;
    assert_eq!(first_seen, Some(begun.as_second() as f64));
    // Renewed at the polls after one and three minutes, each before a restart.
    for (quiet, expiry) in [(0, 11), (1, 12)] {
        sleep(MINUTE * quiet).await;
        expires_after(expiry);
        sleep(MINUTE).await;
        drop(harness);
        harness = restarts.start();
        sleep(MINUTE / 4).await;
    }
    source.fails();
    sleep(MINUTE * 30).await;
    assert_eq!(harness.value(&["saas_connections{"]), None, "stale");
    let of = |minutes: i64| Some((begun.as_second() + minutes * 60) as f64);
    for (metric, expected) in [
        ("connection_first_seen_timestamp_seconds{", of(0)),
        ("token_last_renewal_timestamp_seconds{", of(3)),
        ("token_last_renewal_lead_seconds{", Some(8.0 * 60.0)),
        ("token_longest_renewal_gap_seconds{", Some(2.0 * 60.0)),
        ("token_seen_lifetime_seconds{", Some(9.0 * 60.0)),
    ] {
        assert_eq!(harness.value(&[metric, "\"a\""]), expected, "{metric}");
    }
}

/// Returns a value of connection `a` after the first poll.
async fn harness_value_after(harness: &Harness, metric: &str) -> Option<f64> {
    sleep(MINUTE / 4).await;
    harness.value(&[metric, "\"a\""])
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_version_wrote_after_this_one_is_restored() {
    let restarts = Restarts::new(vec![target("1")], DiscoveryMode::Never).await;
    restarts.source.lists(&["by this version"]);
    let harness = restarts.start();
    sleep(MINUTE / 2).await;
    drop(harness);
    let files = restarts.state_dir.account("test", "acme", "");
    let (polls, listing) = (
        StateFile::Target("1".into()),
        StateFile::Listing("1".into()),
    );
    let read = async |item: &StateFile| files.read(item.clone(), Ok::<Value, _>).await.unwrap();
    let (mut earlier, last) = (read(&polls).await, read(&listing).await);
    earlier.as_object_mut().unwrap().remove("listed");
    for part in ["listing", "history"] {
        earlier[part] = last[part].clone();
    }
    earlier["listing"]["connections"][0]["id"] = "by the earlier one".into();
    files.write(polls, earlier);
    restarts.state_dir.flush().await;
    let harness = restarts.start();
    sleep(Duration::from_secs(1)).await;
    let page = harness.page();
    assert!(page.contains("connection=\"by the earlier one\""), "{page}");
    assert!(!page.contains("by this version"), "{page}");
}
