//! Invariants that hold while the vendors are healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use connections_exporter::vendors::account::AccountConfig;
use tokio::time::Instant;

use crate::page::{Key, Page};
use crate::vendor::Line;
use crate::{HOUR, Seen};

/// Checks all targets of an account, if its vendor has been healthy for long enough.
///
/// Each target must be present. It may be older than its interval only by what the budget forces.
pub(crate) fn fresh(
    account: &AccountConfig,
    line: &Line,
    page: &Page,
    set_at: Instant,
    crash_loop: Duration,
    seen: &mut Seen,
    broken: &mut Vec<String>,
) {
    let Some(since) = *line.vendor.healthy_since.lock().unwrap() else {
        return;
    };
    let ledger = line.ledger.lock().unwrap();
    // A process that knows nothing of earlier polls, or only of polls before another process, must
    // poll first.
    let since = since.max(ledger.knows_since);
    let forced = ledger.forced() + crash_loop;
    // The longest pause, the longest back-off after refusals, and the time until the next planned
    // poll.
    let interval = account.interval;
    let recovers = HOUR + HOUR.max(interval) + interval + forced;
    if since.elapsed() < recovers {
        return;
    }
    let (system, account) = (account.system.name, &account.name);
    let of = |key: &&Key| key.0 == system && key.1 == *account;
    let shown: BTreeSet<_> = page
        .targets
        .keys()
        .filter(of)
        .map(|key| key.2.clone())
        .collect();
    // By label: the id of the target.
    let there: BTreeMap<String, String> = line.vendor.simulator.change(|world| {
        let entities = world
            .tenant
            .entities
            .iter()
            .filter(|entity| entity.provisioned);
        let entities = entities.map(|entity| (entity.name.clone(), entity.id.clone()));
        let integrations = world.integrations.iter();
        let integrations = integrations.map(|i| (i.name.clone(), i.name.clone()));
        if system == "zuora" {
            entities.collect()
        } else {
            integrations.collect()
        }
    });
    if shown != there.keys().cloned().collect() {
        broken.push(format!("{system} {account} shows {shown:?} of {there:?}"));
        return;
    }
    seen.found += 1;
    for (label, id) in there {
        let key = (system.to_owned(), account.clone(), label);
        let shown = &page.targets[&key];
        let Some((version, served)) = ledger.served.get(&id) else {
            broken.push(format!("{key:?} was never polled"));
            continue;
        };
        // After a restart, a clock that was set back makes the last poll look more recent than it
        // is.
        let intervals = if *served < set_at { 2.0 } else { 1.0 };
        let allowed = Duration::from_secs_f64(shown.interval * intervals) + forced;
        if served.elapsed() > allowed {
            let age = served.elapsed();
            broken.push(format!(
                "{key:?} is {age:?} old, and {allowed:?} is allowed"
            ));
        }
        // The page may be behind a listing that was served just now, or to a process that left no
        // state.
        let current = shown.versions.first().is_none_or(|shown| shown == version);
        if !current && !shown.restored && served.elapsed() > forced {
            broken.push(format!("{key:?} shows {:?} of {version}", shown.versions));
        }
        seen.fresh += 1;
    }
}

pub(crate) fn walk(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| if path.is_dir() { walk(&path) } else { 1 })
        .sum()
}
