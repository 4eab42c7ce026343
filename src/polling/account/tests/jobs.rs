//! Schedule and back-off of background jobs.

use super::*;

fn start_with_jobs(targets: &[&str], prepare: impl FnOnce(&mut FakeJobs)) -> Harness {
    let targets = targets.iter().map(|id| target(id)).collect();
    start(targets, DiscoveryMode::Never, Duration::ZERO, |source| {
        source.lists(&["a"]);
        let mut jobs = source.jobs.lock().unwrap();
        jobs.there = true;
        prepare(&mut jobs);
    })
}

impl Harness {
    /// Returns the minutes, counted from the first poll, at which the job of a target ran.
    fn runs_of(&self, id: &str) -> Vec<u64> {
        let first = self.source.polls_of(id)[0];
        let jobs = self.source.jobs.lock().unwrap();
        let runs = jobs.runs.iter().filter(|(target, _)| target == id);
        runs.map(|(_, at)| (*at - first).as_secs() / 60).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_run_an_interval_after_the_first_listing_and_once_for_a_credential() {
    let harness = start_with_jobs(&["1", "2"], |_| {});
    sleep(MINUTE * 90).await;
    assert_eq!(
        (harness.runs_of("1"), harness.runs_of("2")),
        (vec![1], vec![1])
    );
    *harness.source.credential.lock().unwrap() = Some(2);
    sleep(MINUTE * 90).await;
    assert_eq!(harness.runs_of("1").len(), 2, "another credential");
    harness.source.fails();
    *harness.source.credential.lock().unwrap() = Some(3);
    sleep(MINUTE * 90).await;
    assert_eq!(
        harness.runs_of("1").len(),
        2,
        "of which nobody knows a listing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_says_itself_when_it_is_run_again() {
    let harness = start_with_jobs(&["1"], |jobs| jobs.again = Some(MINUTE * 60));
    sleep(MINUTE * 200).await;
    assert_eq!(harness.runs_of("1"), [1, 61, 121, 181]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_delays_no_listing_and_is_the_only_one_under_way() {
    let harness = start_with_jobs(&["1", "2"], |jobs| jobs.takes = MINUTE * 60);
    sleep(MINUTE * 30 + MINUTE / 2).await;
    assert_eq!(minutes(&harness, "1"), (0..=30).collect::<Vec<_>>());
    assert_eq!(
        harness.value(&["target_last_poll_duration_seconds{", "\"1\""]),
        Some(0.0)
    );
    assert_eq!(harness.source.jobs.lock().unwrap().runs.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_run_less_and_less_often_and_hourly_if_that_will_not_pass() {
    for (reason, runs) in [
        (Reason::Timeout, [1, 3, 7, 15, 31, 63, 123, 183]),
        (Reason::Unreachable, [1, 3, 7, 15, 31, 63, 123, 183]),
        (Reason::Forbidden, [1, 61, 121, 181, 241, 301, 361, 421]),
        (Reason::Decode, [1, 61, 121, 181, 241, 301, 361, 421]),
    ] {
        let harness = start_with_jobs(&["1"], |jobs| jobs.fails = Some(reason));
        sleep(MINUTE * 430).await;
        assert_eq!(harness.runs_of("1")[..8], runs, "{reason:?}");
        assert_eq!(harness.value(&["polls_total{", "failure"]), Some(0.0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_job_of_a_target_that_is_gone_is_not_run_any_more() {
    let harness = start_with_jobs(&["1", "2"], |jobs| jobs.again = Some(MINUTE * 10));
    sleep(MINUTE * 15).await;
    harness
        .reload(|config, _| config.targets = vec![target("2")])
        .await;
    sleep(MINUTE * 30).await;
    assert_eq!(harness.runs_of("1"), [1, 11]);
    assert_eq!(harness.runs_of("2"), [1, 11, 21, 31, 41]);
}
