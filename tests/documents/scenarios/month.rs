//! A month of many healthy targets.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::series::Series;
use super::target::{Target, at};
use super::{DAY, HOUR, MINUTE, beginning};
use crate::model::error::Reason;
use crate::model::listing::{Connection, GrantType};
use crate::vendors::{AccountSettings as _, zis};

const TARGETS: i64 = 200;
const MONTH: i64 = 30 * DAY;

/// Returns a number below `below` that only depends on the other arguments.
fn chance(target: i64, time: i64, below: u64) -> u64 {
    let mut mixed = u64::from_ne_bytes((target * 1_000_003 + time).to_ne_bytes());
    // The finalizer of SplitMix64.
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

/// Time of the last use, for a flow that runs on working days from eight to eighteen o'clock.
fn last_use(target: i64, now: i64) -> i64 {
    // Each target's week begins at another time, early enough for a night before the weekend. A
    // token that was renewed hourly for less than a day is late after three hours.
    let shift = target % 13 * 7 * HOUR;
    let mut hour = (now + shift) / HOUR;
    while !(hour.div_euclid(24).rem_euclid(7) < 5 && (8..=18).contains(&hour.rem_euclid(24))) {
        hour -= 1;
    }
    hour * HOUR - shift
}

/// Returns the connections of a healthy target: renewed promptly, lazily, on working days, by
/// client credentials, and by hand two weeks before the end.
fn rows(target: i64, now: i64) -> Vec<Connection> {
    let token = |id: &str, refresh, grant, expiry| Connection {
        id: id.into(),
        kind: "oauth",
        expiry: Some(at(expiry)),
        renewable: Some(refresh),
        grant_type: Some(grant),
        ..<Connection>::default()
    };
    let (code, credentials) = (GrantType::AuthorizationCode, GrantType::ClientCredentials);
    // Between one and six hours.
    let every = (1 + target % 6) * HOUR;
    let prompt = (now + target * MINUTE) / every * every - target * MINUTE;
    let lazy = now / (every + HOUR) * (every + HOUR);
    let by_hand = (now + target * DAY) / (76 * DAY) * (76 * DAY) - target * DAY;
    vec![
        token("prompt", true, code, prompt + every + 5 * MINUTE),
        token("lazy", true, code, lazy + every),
        token(
            "working days",
            true,
            code,
            last_use(target, now) + 30 * MINUTE,
        ),
        token("client credentials", false, credentials, lazy + every / 2),
        token("by hand", false, code, by_hand + 90 * DAY),
    ]
}

#[test]
#[ignore = "needs promtool: make test"]
fn a_month_of_healthy_targets_pages_nobody() {
    let mut series = Series::default();
    let mut targets: Vec<_> = (0..TARGETS)
        .map(|n| {
            let name: &'static str = format!("target_{n}").leak();
            Target::new(zis::ZisAccount::SYSTEM, name, HOUR)
        })
        .collect();
    for (step, now) in (0..MONTH)
        .step_by(usize::try_from(HOUR).unwrap())
        .enumerate()
    {
        series.add(step, "up", &[], 1.0);
        series.add(step, "connections_exporter_build_info", &[], 1.0);
        // Two polls fail each week, for all targets.
        let out = now % (7 * DAY) < 2 * HOUR && now > DAY;
        for (n, target) in (0..).zip(&mut targets) {
            let failed = out || chance(n, now, 50) == 0;
            let rows = if failed {
                Err(Reason::ServerError)
            } else {
                Ok(rows(n, now))
            };
            target.poll(now, rows);
            target.scrape(now, &mut series);
        }
    }
    let mut text = beginning("a month of healthy targets", HOUR);
    series.write(&mut text, usize::try_from(MONTH / HOUR).unwrap());
    let fired = "count by (alertname, target, connection) (count_over_time(ALERTS{alertstate=\"firing\",severity=\"critical\"}[30d]))";
    let some = "count(count_over_time(ALERTS[30d]) > 0) > bool 0";
    let end = (MONTH - HOUR) / MINUTE;
    let _ = write!(
        text,
        "    promql_expr_test:\n      - {{expr: '{fired}', eval_time: {end}m, exp_samples: []}}\n      \
            - {{expr: '{some}', eval_time: {end}m, exp_samples: [{{labels: '{{}}', value: 1}}]}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = root.join("deploy/prometheus/alerts.yaml");
    fs::write(
        folder.path().join("month.yaml"),
        text.replace("../alerts.yaml", rules.to_str().unwrap()),
    )
    .unwrap();
    let output = Command::new("promtool")
        .args(["test", "rules", "month.yaml"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
