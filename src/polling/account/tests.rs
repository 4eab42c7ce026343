//! Tests of an account with a fake source, under paused time.

mod discovery;
mod jobs;
mod ready;
mod reload;
mod restarts;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{advance, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::discovery::DISCOVERY_INTERVAL;
use super::*;
use crate::exposition::Encoding;
use crate::metrics::ExporterMetrics;
use crate::model::error::{PollError, Reason};
use crate::model::listing::{Connection, Listing, ListingBuilder, Row};
use crate::vendors::account::{AccountConfig, SourceFingerprint};
use crate::vendors::{Connect, DiscoveredTarget, PublishedLimits, System};

static TEST: System = System {
    name: "test",
    zero_series: &[("oauth", "")],
    healthy_status: None,
    request_id_header: "x-request-id",
    quotas: |_, _| Vec::new(),
};

#[derive(Debug)]
struct NoConnect;

impl Connect for NoConnect {
    fn connect(&self, _: Client) -> Box<dyn Source> {
        unreachable!("the source of these tests is given")
    }

    fn limits(&self) -> PublishedLimits {
        PublishedLimits {
            of: "nobody",
            minute: None,
            hour: None,
            day: None,
        }
    }
}

/// Fake source: what it returns now, and the times at which it was called.
#[derive(Default)]
struct Fake {
    found: Mutex<Option<Vec<DiscoveredTarget>>>,
    rows: Mutex<Option<Vec<&'static str>>>,
    /// Expiry of the token of each row.
    expiry: Mutex<Option<Timestamp>>,
    takes: Mutex<Duration>,
    polls: Mutex<Vec<(String, Instant)>>,
    discoveries: Mutex<u32>,
    refuses: Mutex<bool>,
    credential: Mutex<Option<u64>>,
    jobs: Mutex<FakeJobs>,
}

/// Behaviour of the fake background job, and the target and time of each run.
#[derive(Default)]
struct FakeJobs {
    there: bool,
    takes: Duration,
    fails: Option<Reason>,
    again: Option<Duration>,
    runs: Vec<(String, Instant)>,
}

impl Fake {
    fn finds(&self, ids: &[(&str, &str)]) {
        let found = |(id, name): &(&str, &str)| DiscoveredTarget {
            id: (*id).into(),
            name: Some((*name).into()),
        };
        *self.found.lock().unwrap() = Some(ids.iter().map(found).collect());
    }

    fn lists(&self, rows: &[&'static str]) {
        *self.rows.lock().unwrap() = Some(rows.to_vec());
    }

    fn fails(&self) {
        *self.rows.lock().unwrap() = None;
        *self.found.lock().unwrap() = None;
    }

    fn polls_of(&self, id: &str) -> Vec<Instant> {
        let polls = self.polls.lock().unwrap();
        polls
            .iter()
            .filter(|(polled, _)| polled == id)
            .map(|(_, at)| *at)
            .collect()
    }
}

#[async_trait]
impl Source for Fake {
    async fn list(&self, target: &str) -> Result<Listing, PollError> {
        self.polls
            .lock()
            .unwrap()
            .push((target.to_owned(), Instant::now()));
        let (takes, rows) = (
            *self.takes.lock().unwrap(),
            self.rows.lock().unwrap().clone(),
        );
        sleep(takes).await;
        let reason = if *self.refuses.lock().unwrap() {
            Reason::Unauthorized
        } else {
            Reason::ServerError
        };
        let rows = rows.ok_or_else(|| PollError::new(reason, "list", "down"))?;
        let expiry = *self.expiry.lock().unwrap();
        let mut builder = ListingBuilder::new("list", 1000, 1000);
        builder.add_page(
            rows.iter()
                .map(|id| Connection {
                    id: (*id).into(),
                    kind: "oauth",
                    expiry,
                    ..<Connection>::default()
                })
                .collect(),
            true,
        )?;
        Ok(builder.finish())
    }

    async fn discover(&self) -> Result<Vec<DiscoveredTarget>, PollError> {
        *self.discoveries.lock().unwrap() += 1;
        let reason = if *self.refuses.lock().unwrap() {
            Reason::Forbidden
        } else {
            Reason::ServerError
        };
        let (takes, found) = (
            *self.takes.lock().unwrap(),
            self.found.lock().unwrap().clone(),
        );
        sleep(takes).await;
        found.ok_or_else(|| PollError::new(reason, "entities", "no"))
    }

    fn jobs(&self) -> &'static [&'static str] {
        if self.jobs.lock().unwrap().there {
            &["question"]
        } else {
            &[]
        }
    }

    async fn run_job(&self, job: &str, target: &str) -> Result<Option<Duration>, PollError> {
        assert_eq!(job, "question");
        let (takes, fails, again) = {
            let mut jobs = self.jobs.lock().unwrap();
            jobs.runs.push((target.to_owned(), Instant::now()));
            (jobs.takes, jobs.fails, jobs.again)
        };
        sleep(takes).await;
        match fails {
            Some(reason) => Err(PollError::new(reason, "question", "no")),
            None => Ok(again),
        }
    }

    async fn credential(&self, _: &str) -> Option<u64> {
        *self.credential.lock().unwrap()
    }

    fn matches_expected<'a>(&self, _: &str, connection: Row<'a>) -> Option<&'a str> {
        Some(connection.id)
    }
}

struct Harness {
    inventory: Arc<Inventory>,
    source: Arc<Fake>,
    config: AccountConfig,
    poll: PollConfig,
    changes: mpsc::Sender<Box<AccountChange>>,
    _task: AbortOnDropHandle<()>,
}

const MINUTE: Duration = Duration::from_mins(1);

fn target(id: &str) -> TargetConfig {
    TargetConfig {
        id: id.to_owned(),
        name: None,
        expect: vec!["a".to_owned()],
    }
}

/// Starts an account that polls every minute, with first polls spread over `within`.
fn start(
    targets: Vec<TargetConfig>,
    discovery: DiscoveryMode,
    within: Duration,
    prepare: impl FnOnce(&Fake),
) -> Harness {
    start_with_budget(1000, targets, discovery, within, prepare)
}

fn start_with_budget(
    requests_per_minute: u32,
    targets: Vec<TargetConfig>,
    discovery: DiscoveryMode,
    within: Duration,
    prepare: impl FnOnce(&Fake),
) -> Harness {
    let source = Arc::new(Fake::default());
    prepare(&source);
    let clock = Clock::from_tokio("2026-01-02T03:04:05Z".parse().unwrap());
    let state_dir = StateDir::default();
    start_on(
        &state_dir,
        requests_per_minute,
        targets,
        discovery,
        within,
        source,
        clock,
    )
}

/// Starts an account on this state directory and clock.
fn start_on(
    state_dir: &StateDir,
    requests_per_minute: u32,
    targets: Vec<TargetConfig>,
    discovery: DiscoveryMode,
    within: Duration,
    source: Arc<Fake>,
    clock: Clock,
) -> Harness {
    let requests_per_minute = NonZeroU32::new(requests_per_minute).unwrap();
    let inventory = Arc::new(Inventory::new(
        ExporterMetrics::new(clock.now()),
        clock.clone(),
    ));
    let config = AccountConfig {
        system: &TEST,
        name: "acme".to_owned(),
        base_url: "https://example.test".parse().unwrap(),
        requests_per_minute,
        interval: MINUTE,
        stale_after: None,
        certificates: Vec::new(),
        ca_file: None,
        targets,
        discovery,
        connect: Arc::new(NoConnect),
        written: SourceFingerprint::default(),
    };
    let poll = PollConfig {
        first_poll_within: within,
        ..PollConfig::default()
    };
    let limiter = Arc::new(RequestLimiter::new(requests_per_minute, 1));
    let durations = inventory.exporter_metrics().durations();
    let metrics = Arc::new(AccountMetrics::new(
        "test",
        "acme",
        limiter.clone(),
        durations,
    ));
    let state_dir = state_dir.account("test", "acme", "");
    let parts = AccountParts {
        limiter,
        metrics,
        state_dir,
        observer: None,
        clock,
    };
    let account = Account::with_source(config.clone(), &poll, &inventory, source.clone(), parts);
    inventory.opening(0);
    let (changes, received) = mpsc::channel(1);
    Harness {
        inventory,
        source,
        config,
        poll,
        changes,
        _task: AbortOnDropHandle::new(tokio::spawn(
            account.run(received, TaskTracker::new().token()),
        )),
    }
}

impl Harness {
    fn page(&self) -> String {
        let page = self.inventory.page(Encoding::Plain);
        String::from_utf8(page.body()).unwrap()
    }

    /// Returns the value of the only sample whose line contains all of these parts.
    fn value(&self, parts: &[&str]) -> Option<f64> {
        let page = self.page();
        let mut lines = page
            .lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        let line = lines.next()?;
        assert_eq!(lines.next(), None, "{parts:?} is ambiguous");
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Returns the number of accounts and of targets that readiness is waiting for.
    fn missing(&self) -> (usize, usize) {
        let missing = self.inventory.pending();
        missing.map_or((0, 0), |missing| (missing.accounts, missing.targets))
    }

    fn targets(&self) -> BTreeSet<String> {
        let page = self.page();
        let lines = page
            .lines()
            .filter(|line| line.starts_with("connections_exporter_target_next_poll"));
        lines
            .map(|line| {
                line.split("target=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failed_poll_keeps_the_listing_until_it_is_stale_and_the_freshness_for_ever() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| source.lists(&["a", "b"]),
    );
    assert_eq!(harness.missing(), (1, 0), "nothing began yet");
    sleep(MINUTE / 2).await;
    assert_eq!(
        harness.value(&["saas_connection_expected_present{"]),
        Some(1.0)
    );
    harness.source.fails();
    sleep(MINUTE * 2).await;
    assert_eq!(harness.value(&["saas_connections{"]), Some(2.0));
    assert_eq!(harness.value(&["target_up{"]), Some(0.0));
    assert_eq!(
        harness.value(&["target_failing{", "reason=\"server_error\""]),
        Some(1.0)
    );
    assert_eq!(harness.value(&["target_consecutive_failures{"]), Some(2.0));
    let success = harness.value(&["last_success_timestamp"]);
    sleep(MINUTE).await;
    assert_eq!(
        harness.value(&["saas_connections{"]),
        None,
        "older than stale_after"
    );
    assert_eq!(harness.value(&["saas_connection_expected_present{"]), None);
    assert_eq!(harness.value(&["last_success_timestamp"]), success);

    harness.source.lists(&["a"]);
    sleep(MINUTE).await;
    assert_eq!(harness.value(&["saas_connections{"]), Some(1.0));
    assert_eq!(harness.value(&["target_failing{"]), None);
    assert_eq!(
        harness.value(&["changes_total{", "removed"]),
        Some(1.0),
        "seen over the failure"
    );
    assert_eq!(harness.value(&["polls_total{", "failure"]), Some(3.0));
}

/// Returns the minutes, counted from the first poll, at which a target was polled.
fn minutes(harness: &Harness, id: &str) -> Vec<u64> {
    let polls = harness.source.polls_of(id);
    polls
        .iter()
        .map(|at| (*at - polls[0]).as_secs() / 60)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_credential_a_target_waits_twice_as_long_each_time() {
    let harness = start(
        vec![target("1")],
        DiscoveryMode::Never,
        Duration::ZERO,
        |source| {
            *source.refuses.lock().unwrap() = true;
        },
    );
    sleep(MINUTE / 2).await;
    let start = jiff::Timestamp::from_second(1_767_323_045).unwrap();
    let next =
        harness.value(&["next_poll_timestamp_seconds{"]).unwrap() - crate::clock::seconds(start);
    assert!(
        (119.0..121.0).contains(&next),
        "the next poll is announced as it will be: in {next} s"
    );
    sleep(MINUTE * 200).await;
    assert_eq!(minutes(&harness, "1"), [0, 2, 6, 14, 30, 62, 122, 182]);
    // Another credential is tried at the next interval, and a success ends the back-off.
    *harness.source.credential.lock().unwrap() = Some(1);
    sleep(MINUTE).await;
    harness.source.lists(&["a"]);
    *harness.source.credential.lock().unwrap() = Some(2);
    sleep(MINUTE * 3).await;
    assert_eq!(minutes(&harness, "1")[8..], [201, 202, 203, 204]);
}
