//! What must hold while the vendors are well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use connections_exporter::vendors::account::AccountConfig;
use tokio::time::Instant;

use crate::page::{Key, Page};
use crate::vendor::Line;
use crate::{HOUR, Seen};

/// While the vendor is well, each target is as it should be: there, and no older than its interval and what the budget
/// forces.
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
    // A process that knows nothing, or only what was before another one, has to ask first.
    let since = since.max(ledger.knows_since);
    let forced = ledger.forced() + crash_loop;
    // The longest pause, the longest wait after refusals, the next planned time.
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
    // By label, the id.
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
        // After a restart a clock that was set back makes the last poll look younger than it is.
        let intervals = if *served < set_at { 2.0 } else { 1.0 };
        let allowed = Duration::from_secs_f64(shown.interval * intervals) + forced;
        if served.elapsed() > allowed {
            let age = served.elapsed();
            broken.push(format!(
                "{key:?} is {age:?} old, and {allowed:?} is allowed"
            ));
        }
        // Unless it was served a moment ago, or to a process that left nothing to restore.
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
