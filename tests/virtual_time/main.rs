//! Runs the whole program without its sockets for a simulated month, in paused time, with random
//! faults.
//!
//! There are 200 targets in 20 accounts. Events are bursts of 429, outages of hours, slow
//! responses, revoked tokens, changed secrets, targets that appear and disappear, restarts with and
//! without the state directory, and clock steps. Invariants are checked with every request and
//! after every event. A month takes about a minute.
//!
//! `MONTH_SEEDS` is the number of seeds that are run for a month. Ten times as many are run for
//! three days. `MONTH_SEED` and `MONTH_DAYS` replay one seed.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]
#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod configure;
mod events;
mod look;
mod page;
mod vendor;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connections_exporter::clock::{Clock, seconds};
use connections_exporter::inventory::Inventory;
use connections_exporter::metrics::ExporterMetrics;
use connections_exporter::model::listing::LONG;
use connections_exporter::polling::account::{Account, AccountChange};
use connections_exporter::state_dir::StateDir;
use connections_exporter::vendors::account::{AccountConfig, PollConfig};
use connections_simulator::Sizes;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use configure::configure;
use events::Mend;
use look::{fresh, walk};
use page::Page;
use vendor::{Ledger, Line, SHORT_PAGE, Vendor};

const VENDORS: usize = 10;
/// Number of entities, and of integrations, of each vendor.
const TARGETS: usize = 10;
/// Number of connections on three pages. A month with longer listings could not be replayed.
const THREE_PAGES: usize = 3 * SHORT_PAGE - 1;
const _: () = assert!(THREE_PAGES <= LONG);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One run of the daemon.
struct Process {
    inventory: Arc<Inventory>,
    clock: Clock,
    accounts: JoinSet<()>,
    changes: Vec<mpsc::Sender<Box<AccountChange>>>,
    before: Page,
}

struct Month {
    random: Rng,
    start: Timestamp,
    began: Instant,
    /// Offset of the daemon's clock, in seconds; `set_at` is when it last changed.
    off: Arc<AtomicI64>,
    set_at: Instant,
    /// Duration of the last crash loop, in which polls may not have been completed.
    crash_loop: Duration,
    folder: tempfile::TempDir,
    poll: PollConfig,
    accounts: Vec<(AccountConfig, Arc<Line>)>,
    vendors: Vec<Arc<Vendor>>,
    process: Option<Process>,
    /// Whether any earlier process had the state directory, and whether the last one had it.
    remembered: bool,
    up_to_date: bool,
    /// Pending repairs: when, at which vendor, and what.
    mends: Vec<(Instant, usize, Mend)>,
    seen: Seen,
}

/// Number of times that each thing happened, as a proof that the month tested something.
#[derive(Debug, Default)]
struct Seen {
    restarts: u32,
    reloads: u32,
    faults: u32,
    restored: u32,
    fresh: u32,
    found: u32,
    failing: u32,
    kept: u32,
}

impl Month {
    fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut random = Rng::with_seed(seed);
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let began = Instant::now();
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut month = Self {
            start,
            began,
            off: Arc::default(),
            set_at: began,
            crash_loop: Duration::ZERO,
            folder: folder.unwrap(),
            poll: PollConfig::default(),
            accounts: Vec::new(),
            vendors: Vec::new(),
            process: None,
            remembered: false,
            up_to_date: false,
            mends: Vec::new(),
            seen: Seen::default(),
            random: random.fork(),
        };
        for n in 0..VENDORS {
            let sizes = Sizes {
                entities: TARGETS,
                entity_connections: 15,
                integrations: TARGETS,
                // The listings of one vendor have three pages.
                integration_connections: if n == 0 { THREE_PAGES } else { 3 },
            };
            let clock = Clock::from_tokio(start);
            let vendor = Vendor::new(sizes, random.u64(..), clock);
            vendor.simulator.change(|world| {
                // Every entity is a target, so that the number of targets is the same for all
                // vendors.
                world
                    .tenant
                    .entities
                    .iter_mut()
                    .for_each(|entity| entity.provisioned = true);
            });
            let config = configure(&vendor, n, &mut random);
            month.poll = config.poll;
            for account in config.accounts {
                let rate = usize::try_from(account.requests_per_minute.get()).unwrap();
                let line = Line {
                    vendor: vendor.clone(),
                    ledger: Arc::new(Mutex::new(Ledger::new(rate))),
                    http: http.clone(),
                    began,
                };
                month.accounts.push((account, Arc::new(line)));
            }
            month.vendors.push(vendor);
        }
        month
    }

    /// Starts a process, with or without the state directory.
    async fn boot(&mut self, with_state: bool) {
        for (_, line) in &self.accounts {
            let mut ledger = line.ledger.lock().unwrap();
            if !(with_state && self.remembered) {
                ledger.forgot_at = Some(Instant::now());
            }
            if !(with_state && self.up_to_date) {
                ledger.forget();
            }
        }
        self.remembered |= with_state;
        self.up_to_date = with_state;
        let (clock, off) = (Clock::from_tokio(self.start), self.off.clone());
        let origin = Instant::now() - self.began;
        let clock = Clock::new(move || {
            let off = SignedDuration::from_secs(off.load(Ordering::Relaxed));
            clock.now() + origin + off
        });
        let own = ExporterMetrics::new(clock.now());
        let state_dir = if with_state {
            StateDir::create_and_open(self.folder.path(), own.state_write_failures())
                .await
                .unwrap()
        } else {
            StateDir::default()
        };
        let names = self.accounts.iter();
        state_dir
            .keep_accounts(names.map(|(account, _)| (account.system.name, account.name.as_str())));
        let inventory = Arc::new(Inventory::new(own, clock.clone()));
        let mut accounts = JoinSet::new();
        let mut changes = Vec::new();
        for (account, line) in &self.accounts {
            let account = Account::open(
                line.clone(),
                account.clone(),
                &self.poll,
                &inventory,
                &state_dir,
                None,
                clock.clone(),
            );
            let (change, received) = mpsc::channel(1);
            changes.push(change);
            accounts.spawn(account.run(received, TaskTracker::new().token()));
        }
        self.process = Some(Process {
            inventory,
            clock,
            accounts,
            changes,
            before: Page::default(),
        });
    }

    /// Stops the process, and returns the last page that it served.
    async fn kill(&mut self) -> Page {
        let mut last = Page::default();
        if let Some(mut process) = self.process.take() {
            last = Page::of(&process.inventory, seconds(self.start));
            process.accounts.shutdown().await;
            drop(process);
            // Lets the tasks of the targets end, and pending state files be written.
            sleep(Duration::from_millis(10)).await;
        }
        last
    }

    async fn restart(&mut self, with_state: bool) {
        let last = self.kill().await;
        let knows = with_state && self.up_to_date;
        self.boot(with_state).await;
        self.seen.restarts += 1;
        // After a clock step, saved dates may make a listing look stale.
        if knows && (self.set_at == self.began || self.set_at.elapsed() > HOUR * 25) {
            sleep(Duration::from_millis(10)).await;
            let process = self.process.as_ref().unwrap();
            let now = Page::of(&process.inventory, seconds(self.start));
            let date = seconds(process.clock.now());
            for (key, shown) in &last.targets {
                let restored = &now.targets[key];
                assert!(
                    !restored.restored || restored.versions == shown.versions,
                    "{key:?} showed {:?} before a restart, and {:?} after it",
                    shown.versions,
                    restored.versions
                );
                // A restart ends the back-off after refusals: the next poll is one interval after
                // the last.
                let planned = shown.next.min(shown.last + shown.interval);
                assert!(
                    restored.next > planned - 2.0 || planned < date,
                    "{key:?} was due at {planned}, and is polled at {} after a restart",
                    restored.next
                );
                self.seen.kept += u32::from(!shown.versions.is_empty());
            }
        }
    }

    /// Checks the invariants.
    fn look(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let page = Page::of(&process.inventory, seconds(self.start));
        let mut broken = page.broken(&process.before);
        for (_, line) in &self.accounts {
            broken.append(&mut line.ledger.lock().unwrap().broken);
        }
        for (account, line) in &self.accounts {
            fresh(
                account,
                line,
                &page,
                self.set_at,
                self.crash_loop,
                &mut self.seen,
                &mut broken,
            );
        }
        let tasks = Handle::current().metrics().num_alive_tasks();
        // One task for each account and target. The 50 are for tasks that are ending, and for the
        // writer of state files.
        if tasks > VENDORS * 2 + VENDORS * TARGETS * 2 + 50 {
            broken.push(format!("{tasks} tasks"));
        }
        if page.bytes > 20_000_000 {
            broken.push(format!("a page of {} bytes", page.bytes));
        }
        let shown = page.targets.values();
        self.seen.restored += u32::from(shown.clone().any(|shown| shown.restored));
        self.seen.failing += u32::from(shown.clone().any(|shown| !shown.up));
        assert!(broken.is_empty(), "{broken:#?}");
        process.before = page;
    }

    async fn run(&mut self, days: u64) {
        self.boot(true).await;
        while self.began.elapsed() < HOUR * 24 * u32::try_from(days).unwrap() {
            sleep(MINUTE.mul_f64(5.0 + 90.0 * self.random.f64())).await;
            self.mend(false);
            self.event().await;
            // An account that has just started reads the state directory first.
            sleep(Duration::from_secs(1)).await;
            self.look();
        }
        self.mend(true);
        sleep(HOUR * 24).await;
        self.look();
        // Each vendor has two accounts, and each target has two files.
        let files = walk(self.folder.path());
        assert!(files <= VENDORS * (TARGETS * 4 + 4) + 1, "{files} files");
    }
}

/// Runs one seed. Returns the counts, the number of requests, and a hash of all requests with their
/// times.
fn month(seed: u64, days: u64) -> (Seen, u64, u32) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut month = Month::new(seed);
        month.run(days).await;
        month.kill().await;
        let ledgers = month
            .accounts
            .iter()
            .map(|(_, line)| line.ledger.lock().unwrap());
        let (requests, trace) = ledgers.fold((0, 0_u32), |(requests, trace), ledger| {
            (
                requests + ledger.requests,
                trace.rotate_left(1) ^ ledger.trace,
            )
        });
        (month.seen, requests, trace)
    })
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value:?} is not a number")),
    )
}

#[test]
fn whatever_happens_in_a_month_it_neither_overruns_nor_lies_nor_falls_behind() {
    let seeds: Vec<_> = if let Some(seed) = number("MONTH_SEED") {
        vec![(seed, number("MONTH_DAYS").unwrap_or(30))]
    } else {
        let months = number("MONTH_SEEDS").unwrap_or(1);
        let short = (1000..1000 + months * 10).map(|seed| (seed, 3));
        (1..=months).map(|seed| (seed, 30)).chain(short).collect()
    };
    let left = Mutex::new(seeds.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((seed, days)) = { left.lock().unwrap().next() } {
                    let begun = std::time::Instant::now();
                    match catch_unwind(AssertUnwindSafe(|| month(seed, days))) {
                        Ok((seen, requests, trace)) => {
                            println!(
                                "seed {seed}, {days} days: {requests} requests, trace \
                                {trace:08x}, {seen:?}, {:?}",
                                begun.elapsed()
                            );
                            // A month without events would prove nothing.
                            assert!(
                                days < 30
                                    || (seen.fresh > 1000
                                        && seen.restored > 20
                                        && seen.faults > 100
                                        && seen.failing > 100
                                        && seen.kept > 1000),
                                "{seen:?}"
                            );
                        }
                        Err(panic) => {
                            eprintln!(
                                "seed {seed} failed. To replay it: MONTH_SEED={seed} \
                                MONTH_DAYS={days} cargo test --test virtual_time"
                            );
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_month() {
    let (first, second) = (month(7, 2), month(7, 2));
    assert_eq!((first.1, first.2), (second.1, second.2));
}
