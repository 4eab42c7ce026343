//! A month of polling in a minute: the whole program but its sockets, under paused time, among faults that are drawn
//! from a seed.
//!
//! 200 targets in 20 accounts; storms of 429, outages of hours, slow answers, revoked tokens, changed secrets,
//! targets that appear and vanish, restarts with and without the state folder, and a clock that jumps. What must
//! hold is looked at with every request and after every event. `MONTH_SEEDS` says how many seeds are run for a month,
//! and ten times as many for three days; `MONTH_SEED` and `MONTH_DAYS` replay one.

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

use configure::configure;
use events::Mend;
use look::{fresh, walk};
use page::Page;
use vendor::{Ledger, Line, Vendor};

const VENDORS: usize = 10;
/// Entities, and integrations, of each vendor.
const TARGETS: usize = 10;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One run of the daemon.
struct Process {
    inventory: Arc<Inventory>,
    clock: Clock,
    accounts: JoinSet<()>,
    changes: Vec<mpsc::Sender<AccountChange>>,
    before: Page,
}

struct Month {
    random: Rng,
    start: Timestamp,
    began: Instant,
    /// By how many seconds the daemon's clock is wrong, and since when.
    off: Arc<AtomicI64>,
    set_at: Instant,
    /// How long no process has lived through a poll for certain.
    crash_loop: Duration,
    folder: tempfile::TempDir,
    poll: PollConfig,
    accounts: Vec<(AccountConfig, Arc<Line>)>,
    vendors: Vec<Arc<Vendor>>,
    process: Option<Process>,
    /// Whether a process with the state folder was there before, and whether the last one was one.
    remembered: bool,
    up_to_date: bool,
    /// What vendors turn back to, and when.
    mends: Vec<(Instant, usize, Mend)>,
    seen: Seen,
}

/// That the month was one: how often each thing happened.
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
                // One vendor's listings have three pages.
                integration_connections: if n == 0 { 230 } else { 3 },
            };
            let clock = Clock::from_tokio(start);
            let vendor = Vendor::new(sizes, random.u64(..), clock);
            vendor.simulator.change(|world| {
                // All of them, for a whole number of targets.
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

    /// Starts a process, with the state folder or without.
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
            StateDir::open(self.folder.path(), own.state_write_failures())
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
            let mut account = Account::open(
                line.clone(),
                account.clone(),
                &self.poll,
                &inventory,
                &state_dir,
                clock.clone(),
            );
            let (change, received) = mpsc::channel(1);
            changes.push(change);
            accounts.spawn(async move {
                let due = account.start().await;
                account.run(due, received).await;
            });
        }
        self.process = Some(Process {
            inventory,
            clock,
            accounts,
            changes,
            before: Page::default(),
        });
    }

    /// Ends the process, and gives the last page that it showed.
    async fn kill(&mut self) -> Page {
        let mut last = Page::default();
        if let Some(mut process) = self.process.take() {
            last = Page::of(&process.inventory, seconds(self.start));
            process.accounts.shutdown().await;
            drop(process);
            // Until the tasks of its targets are gone, and what was being written is written.
            sleep(Duration::from_millis(10)).await;
        }
        last
    }

    async fn restart(&mut self, with_state: bool) {
        let last = self.kill().await;
        let knows = with_state && self.up_to_date;
        self.boot(with_state).await;
        self.seen.restarts += 1;
        // Dates from before a clock that was set may make a listing look stale.
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
                // What was put off after refusals is tried again, an interval after the last time.
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

    /// Whatever happened, this holds.
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
        // One for each account and each target, what ended just now, and the one that writes.
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
            // What began just now has a look at the state folder first.
            sleep(Duration::from_secs(1)).await;
            self.look();
        }
        self.mend(true);
        sleep(HOUR * 24).await;
        self.look();
        let files = walk(self.folder.path());
        assert!(files <= VENDORS * (TARGETS * 2 + 4) + 1, "{files} files");
    }
}

/// Runs a seed, and gives what was seen, and a hash of all requests and their times.
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
                            // A month in which nothing happened would prove nothing.
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
                                MONTH_DAYS={days} cargo test --test month"
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
