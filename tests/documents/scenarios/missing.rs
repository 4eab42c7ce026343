//! Exporters and accounts that are missing, and targets that cannot be listed.

use super::scene::{ONE, OTHER, Scene, TARGET, target, up, write};
use super::{DAY, HOUR, MINUTE};

const BUDGET: &str = "connections_exporter_api_budget_requests_per_second";
const ACME: [(&str, &str); 3] = [
    ("system", "zis"),
    ("account", "acme"),
    ("kind", "configured"),
];
const GLOBEX: [(&str, &str); 3] = [
    ("system", "zis"),
    ("account", "globex"),
    ("kind", "configured"),
];
const MISSING: &str = "alertname=\"ConnectionsAccountMissing\"";
const STALE: &str = "alertname=\"ConnectionsTargetStale\",severity=\"critical\"";
/// Longer than the day that rules look back.
const LENGTH: i64 = 30 * HOUR;

/// A job that service discovery does not return any more.
fn job_gone() -> Scene {
    let mut gone = Scene::new(
        "a whole job disappears from service discovery",
        MINUTE,
        LENGTH,
    );
    gone.scrapes(0, LENGTH, |_, add| {
        up(add, ONE);
        add(ONE, BUDGET, &ACME, 1.0);
    });
    gone.scrapes(0, HOUR, |_, add| {
        up(add, OTHER);
        add(OTHER, BUDGET, &GLOBEX, 1.0);
    });
    gone.fires(HOUR, MISSING, 0);
    gone.fires(HOUR + 30 * MINUTE, MISSING, 1);
    gone.fires(
        HOUR + 30 * MINUTE,
        "account=\"globex\",severity=\"critical\"",
        1,
    );
    gone.fires(20 * HOUR, MISSING, 1);
    gone.fires(LENGTH - MINUTE, MISSING, 0);
    gone
}

/// An account is removed or moved on purpose.
fn on_purpose() -> Vec<Scene> {
    let mut removed = Scene::new(
        "an account is taken out of the configuration",
        MINUTE,
        4 * HOUR,
    );
    removed.scrapes(0, 4 * HOUR, |now, add| {
        up(add, ONE);
        add(ONE, BUDGET, &ACME, 1.0);
        if now < HOUR {
            add(ONE, BUDGET, &GLOBEX, 1.0);
        }
    });
    let mut moved = Scene::new(
        "an account moves to another exporter, which replaces the first one",
        MINUTE,
        4 * HOUR,
    );
    moved.scrapes(0, HOUR, |_, add| {
        up(add, ONE);
        add(ONE, BUDGET, &ACME, 1.0);
    });
    moved.scrapes(HOUR - 5 * MINUTE, 4 * HOUR, |_, add| {
        up(add, OTHER);
        add(OTHER, BUDGET, &ACME, 1.0);
    });
    let mut scenes = vec![removed, moved];
    for scene in &mut scenes {
        for at in (HOUR..4 * HOUR).step_by(900) {
            scene.fires(at, MISSING, 0);
        }
    }
    scenes
}

/// A target that cannot be listed before and after a restart.
fn restarted() -> Scene {
    let mut restarted = Scene::new(
        "a target that cannot be polled, across a restart without state",
        MINUTE,
        6 * HOUR,
    );
    restarted.scrapes(0, 6 * HOUR, |now, add| {
        let restart = 3 * HOUR;
        if (restart..restart + 2 * MINUTE).contains(&now) {
            return;
        }
        let since = if now < restart {
            HOUR
        } else {
            restart + 2 * MINUTE
        };
        let failures = if now < HOUR { 0 } else { (now - since) / 300 };
        up(add, ONE);
        add(ONE, "connections_exporter_time_seconds", &[], now as f64);
        let mut target = target(add, &TARGET);
        if now < restart {
            target(
                "last_success_timestamp_seconds",
                (now.min(HOUR) / 300 * 300) as f64,
            );
        }
        target("poll_interval_seconds", 300.0);
        target(
            "next_poll_timestamp_seconds",
            (now / 300 * 300 + 300) as f64,
        );
        target("consecutive_failures", failures as f64);
        target("up", f64::from(u8::from(now < HOUR)));
    });
    restarted.fires(HOUR + 15 * MINUTE, STALE, 0);
    for at in (HOUR + 25 * MINUTE..6 * HOUR).step_by(300) {
        restarted.fires(at, STALE, 1);
    }
    restarted
}

/// Alerts that wait for long, with scrapes that fail.
fn gaps() -> Scene {
    let mut gaps = Scene::new(
        "alerts that wait for an hour or a day, while one scrape of twenty fails",
        MINUTE,
        LENGTH,
    );
    gaps.scrapes(0, LENGTH, |now, add| {
        if now / MINUTE % 20 == 7 {
            return;
        }
        add(ONE, BUDGET, &[ACME[0], ACME[1], ("kind", "effective")], 1.0);
        let account = &ACME[..2];
        let planned = "connections_exporter_api_planned_requests_per_second";
        add(ONE, planned, account, 2.0);
        add(ONE, "connections_exporter_targets_unreached", account, 3.0);
        let credential = [ACME[0], ACME[1], ("credential", "slack")];
        let expiry = "connections_exporter_credential_expiry_timestamp_seconds";
        add(ONE, expiry, &credential, (3 * DAY) as f64);
        let renewable = "connections_exporter_credential_renewable";
        add(ONE, renewable, &credential, 0.0);
    });
    for (alert, begins) in [
        ("ConnectionsPlanOverBudget", HOUR),
        ("ConnectionsEntitiesUnreached", HOUR),
        ("ConnectionsCredentialExpiring", DAY),
    ] {
        let alert = format!("alertname=\"{alert}\"");
        gaps.fires(begins - 2 * MINUTE, &alert, 0);
        gaps.fires(begins + 2 * MINUTE, &alert, 1);
        gaps.fires(LENGTH - MINUTE, &alert, 1);
    }
    gaps
}

/// An account that never had targets.
fn never_discovered() -> Scene {
    let mut never = Scene::new(
        "an account whose targets were never discovered",
        MINUTE,
        2 * HOUR,
    );
    never.scrapes(0, 2 * HOUR, |_, add| {
        add(ONE, "connections_exporter_discovery_up", &TARGET[..2], 0.0);
    });
    let discovery = "alertname=\"ConnectionsDiscoveryNeverSucceeded\",severity=\"critical\"";
    never.fires(14 * MINUTE, discovery, 0);
    never.fires(20 * MINUTE, discovery, 1);
    never
}

/// A vendor that fails for all accounts.
fn outage() -> Scene {
    let mut outage = Scene::new("an outage of the vendor of 40 accounts", MINUTE, 4 * HOUR);
    let names: Vec<_> = (0..40).map(|n| format!("a{n}")).collect();
    outage.scrapes(0, 4 * HOUR, |now, add| {
        for name in &names {
            let labels = [("system", "zis"), ("account", name), ("target", "slack")];
            let fails = (HOUR..2 * HOUR).contains(&now);
            if fails {
                let labels = [&labels[..], &[("reason", "server_error")]].concat();
                add(ONE, "connections_exporter_target_failing", &labels, 1.0);
            }
            let mut target = target(add, &labels);
            target("poll_interval_seconds", 300.0);
            target(
                "consecutive_failures",
                if fails {
                    ((now - HOUR) / 300 + 1) as f64
                } else {
                    0.0
                },
            );
            target(
                "last_success_timestamp_seconds",
                if fails { HOUR - 300 } else { now / 300 * 300 } as f64,
            );
        }
        add(ONE, "connections_exporter_time_seconds", &[], now as f64);
        up(add, ONE);
    });
    let vendor = "alertname=\"ConnectionsVendorOutage\",severity=\"critical\"";
    outage.fires(HOUR, vendor, 0);
    // Before the first target is stale.
    outage.fires(HOUR + 12 * MINUTE, vendor, 1);
    outage.fires(HOUR + 12 * MINUTE, STALE, 0);
    outage.fires(HOUR + 30 * MINUTE, vendor, 1);
    outage.fires(HOUR + 30 * MINUTE, STALE, 40);
    outage.fires(3 * HOUR, "alertname!=\"\"", 0);
    outage
}

#[test]
fn what_is_missing_or_failing_fires_unless_it_was_removed_on_purpose() {
    let mut scenes = vec![job_gone()];
    scenes.extend(on_purpose());
    scenes.extend([restarted(), gaps(), never_discovered(), outage()]);
    write("deploy/prometheus/tests/scenarios-missing.yaml", &scenes);
}
