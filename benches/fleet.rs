//! A random fleet of accounts: the instances, requests and series that it needs, for
//! docs/scaling.md.
//!
//! Accounts are assigned to instances by the daemon's own sharding. The cost of an account is the
//! number of its requests and series. No data on the distribution of such accounts is published, so
//! the numbers below are assumptions with a wide spread.

#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]

use std::num::NonZeroU32;

use connections_exporter::polling::shard::owner;
use fastrand::Rng;

/// Default of `poll.interval`, in minutes.
const INTERVAL: f64 = 5.0;

/// Assumed capacity of an instance: half of what was measured to work well, see docs/scaling.md.
const SERIES_OF_AN_INSTANCE: f64 = 500_000.0;
const ACCOUNTS_OF_AN_INSTANCE: f64 = 2_500.0;

/// Number of series in a page of `demo`, for each account and for each target.
const SERIES_OF_AN_ACCOUNT: f64 = 26.0;
const SERIES_OF_A_TARGET: f64 = 18.0;

/// Distribution of the accounts of one system.
struct Kind {
    system: &'static str,
    /// Fraction of all accounts.
    share: f64,
    /// Mean number of targets beyond the first one, geometrically distributed.
    more_targets: f64,
    /// Median number of connections of a target. It is log-normally distributed, with this
    /// deviation.
    median: f64,
    deviation: f64,
    page_size: f64,
    series_of_a_connection: f64,
    /// Requests per day other than listings: of an account, and of each of its targets.
    besides: (f64, f64),
}

const KINDS: [Kind; 2] = [
    // The other requests are for tokens and for the list of entities.
    Kind {
        system: "zuora",
        share: 0.4,
        more_targets: 4.0,
        median: 4.0,
        deviation: 0.8,
        page_size: 300.0,
        series_of_a_connection: 2.0,
        besides: (27.0 + 24.0, 0.0),
    },
    // The other requests are for the administrator client's tokens, for the list of integrations,
    // and for a token of each integration.
    Kind {
        system: "zis",
        share: 0.6,
        more_targets: 3.0,
        median: 6.0,
        deviation: 1.3,
        page_size: 100.0,
        series_of_a_connection: 4.0,
        besides: (12.5 + 24.0, 12.5),
    },
];

#[derive(Debug, Clone, Copy, Default)]
struct Load {
    accounts: f64,
    targets: f64,
    connections: f64,
    series: f64,
    requests_per_minute: f64,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.accounts += other.accounts;
        self.targets += other.targets;
        self.connections += other.connections;
        self.series += other.series;
        self.requests_per_minute += other.requests_per_minute;
    }
}

/// Returns a standard normal sample, by the Box-Muller method.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

fn account(rng: &mut Rng, kind: &Kind) -> Load {
    let mut load = Load {
        accounts: 1.0,
        series: SERIES_OF_AN_ACCOUNT,
        ..Load::default()
    };
    let mut listings = 0.0;
    loop {
        let connections = (kind.median * (kind.deviation * normal(rng)).exp())
            .round()
            .min(50_000.0);
        load.targets += 1.0;
        load.connections += connections;
        load.series += SERIES_OF_A_TARGET + connections * kind.series_of_a_connection;
        listings += (connections / kind.page_size).ceil().max(1.0);
        if rng.f64() > kind.more_targets / (kind.more_targets + 1.0) {
            break;
        }
    }
    let (account, target) = kind.besides;
    load.requests_per_minute = listings / INTERVAL + (account + target * load.targets) / 1440.0;
    load
}

fn main() {
    println!(
        "| accounts | targets | connections | series | requests a minute | requests a day | an \
            account's mean, p99 and most a minute | instances | series of the fullest |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for accounts in [10_u32, 100, 1_000, 10_000, 100_000] {
        let mut rng = Rng::with_seed(1);
        let fleet: Vec<_> = (0..accounts)
            .map(|n| {
                let kind = &KINDS[usize::from(rng.f64() >= KINDS[0].share)];
                (kind.system, format!("account-{n}"), account(&mut rng, kind))
            })
            .collect();
        let mut all = Load::default();
        for (_, _, load) in &fleet {
            all.add(*load);
        }
        let mut rates: Vec<_> = fleet
            .iter()
            .map(|(_, _, load)| load.requests_per_minute)
            .collect();
        rates.sort_unstable_by(f64::total_cmp);

        let fits = |load: &Load| {
            load.series <= SERIES_OF_AN_INSTANCE && load.accounts <= ACCOUNTS_OF_AN_INSTANCE
        };
        // With fewer instances they would not fit even if distributed evenly.
        let least = |instances: &u32| {
            let share = f64::from(*instances);
            all.series <= share * SERIES_OF_AN_INSTANCE
                && all.accounts <= share * ACCOUNTS_OF_AN_INSTANCE
        };
        let (instances, fullest) = (1..)
            .filter(least)
            .filter_map(NonZeroU32::new)
            .find_map(|instances| {
                let mut shards = vec![Load::default(); instances.get() as usize];
                for (system, name, load) in &fleet {
                    shards[owner(system, name, instances) as usize].add(*load);
                }
                let fullest = shards.iter().map(|shard| shard.series).fold(0.0, f64::max);
                shards.iter().all(fits).then_some((instances, fullest))
            })
            .unwrap_or((NonZeroU32::MIN, 0.0));
        println!(
            "| {accounts} | {} | {} | {:.0} | {:.0} | {:.0} | {:.1}, {:.1}, {:.1} | {instances} | \
                {fullest:.0} |",
            all.targets,
            all.connections,
            all.series,
            all.requests_per_minute,
            all.requests_per_minute * 1440.0,
            all.requests_per_minute / f64::from(accounts),
            rates[rates.len() * 99 / 100],
            rates[rates.len() - 1],
        );
    }
}
