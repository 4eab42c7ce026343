//! Tokens that are renewed, expire, or stop being renewed.

use super::series::Series;
use super::target::{Target, at};
use super::{DAY, END, HOUR, MINUTE, STEP, beginning, check};
use crate::documents::hold;
use crate::model::listing::{Connection, GrantType};
use crate::vendors::{AccountSettings as _, zis};

/// A connection over time, and the alerts that it must raise.
struct Script {
    connection: &'static str,
    refresh: bool,
    grant: Option<GrantType>,
    /// Returns the expiry of the token; `None` while the connection is not listed.
    expiry: Box<dyn Fn(i64) -> Option<i64>>,
    /// Alerts, with the times from which and until which the rule returns the connection.
    alerts: Vec<(&'static str, i64, i64)>,
}

const EXPIRING: &str = "ConnectionTokenExpiring";
const IMMINENT: &str = "ConnectionTokenExpiryImminent";
const EXPIRED: &str = "ConnectionTokenExpired";
const LATE: &str = "ConnectionTokenRenewalLate";
const STOPPED: &str = "ConnectionTokenRenewalStopped";
const IDLE: &str = "ConnectionRefreshTokenIdle";

/// Returns the expiry of a token that lives for `life`, and is renewed at each multiple of `every`
/// up to `last`.
fn renewed(life: i64, every: i64, last: i64) -> Box<dyn Fn(i64) -> Option<i64>> {
    Box::new(move |now| Some(now.min(last) / every * every + life))
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn scripts() -> Vec<Script> {
    let script = |connection, refresh, grant, expiry, alerts: &[_]| Script {
        connection,
        refresh,
        grant,
        expiry,
        alerts: alerts.to_vec(),
    };
    let (code, credentials) = (
        Some(GrantType::AuthorizationCode),
        Some(GrantType::ClientCredentials),
    );
    let once = |expiry: i64| -> Box<dyn Fn(i64) -> Option<i64>> { Box::new(move |_| Some(expiry)) };
    // Six days, recreated two hours before each end.
    let cycle = 6 * DAY - 2 * HOUR;
    let by_hand: Vec<_> = (0..7)
        .map(|n| n * cycle)
        .flat_map(|issued| {
            let end = issued + 6 * DAY;
            [
                (EXPIRING, end - 2 * DAY, issued + cycle),
                (IMMINENT, end - DAY, issued + cycle),
            ]
        })
        .filter(|(_, from, _)| *from < END)
        .collect();
    let late_cycle = 10 * DAY + 3 * HOUR;
    let weekdays = |now: i64| {
        // From eight to eighteen o'clock on five days of seven, once an hour.
        let mut used = now / HOUR;
        while used > 0 && !((used / 24) % 7 < 5 && (8..=18).contains(&(used % 24))) {
            used -= 1;
        }
        Some(used * HOUR + 30 * MINUTE)
    };
    vec![
        script(
            "refreshed hourly, stops after ten days",
            true,
            code,
            renewed(30 * MINUTE, HOUR, 10 * DAY),
            &[
                (LATE, 10 * DAY + 3 * HOUR, END),
                (STOPPED, 11 * DAY + 3 * HOUR, 18 * DAY + 3 * HOUR),
                (IDLE, 30 * DAY, END),
            ],
        ),
        script(
            "renewed hourly by an unknown grant, stops",
            false,
            None,
            renewed(3 * HOUR, HOUR, 10 * DAY),
            &[
                (LATE, 10 * DAY + 3 * HOUR, END),
                (STOPPED, 11 * DAY + 3 * HOUR, 18 * DAY + 3 * HOUR),
                (EXPIRED, 11 * DAY + 3 * HOUR, END),
            ],
        ),
        script(
            "client credentials every six hours, stops",
            false,
            credentials,
            renewed(2 * HOUR, 6 * HOUR, 12 * DAY),
            &[
                (LATE, 12 * DAY + 18 * HOUR, END),
                (STOPPED, 13 * DAY + 18 * HOUR, 20 * DAY + 18 * HOUR),
            ],
        ),
        script(
            "refreshed daily, stops",
            true,
            code,
            renewed(30 * DAY, DAY, 12 * DAY),
            &[
                (LATE, 15 * DAY, END),
                (STOPPED, 16 * DAY, 23 * DAY),
                (IDLE, 32 * DAY, END),
            ],
        ),
        script(
            "refreshed, stops, and goes on",
            true,
            code,
            Box::new(|now| {
                let used = if now < 15 * DAY {
                    now.min(10 * DAY)
                } else {
                    now
                };
                Some(used / HOUR * HOUR + 30 * MINUTE)
            }),
            &[
                (LATE, 10 * DAY + 3 * HOUR, 15 * DAY),
                (STOPPED, 11 * DAY + 3 * HOUR, 15 * DAY),
            ],
        ),
        script(
            "refreshed, stops, and is deleted",
            true,
            code,
            Box::new(|now| (now < 14 * DAY).then(|| now.min(10 * DAY) / HOUR * HOUR + 30 * MINUTE)),
            &[
                (LATE, 10 * DAY + 3 * HOUR, 14 * DAY),
                (STOPPED, 11 * DAY + 3 * HOUR, 14 * DAY),
            ],
        ),
        script(
            "never used",
            true,
            code,
            once(30 * MINUTE),
            &[(IDLE, 20 * DAY, END)],
        ),
        script(
            "used once",
            true,
            code,
            Box::new(|now| Some(if now < 3 * DAY { 0 } else { 3 * DAY } + 30 * MINUTE)),
            &[(IDLE, 23 * DAY, END)],
        ),
        script(
            "unused since long before",
            true,
            code,
            once(-40 * DAY),
            &[(IDLE, -STEP, END)],
        ),
        script(
            "expired long before",
            false,
            None,
            once(-10 * DAY),
            &[(EXPIRED, -STEP, END)],
        ),
        script(
            "renewed by hand near each end",
            false,
            code,
            renewed(6 * DAY, cycle, END),
            &by_hand,
        ),
        script(
            "renewed by hand, grant unknown",
            false,
            None,
            renewed(6 * DAY, cycle, END),
            &by_hand,
        ),
        script(
            "renewed lazily after ten days each",
            false,
            None,
            renewed(10 * DAY, late_cycle, END),
            &[
                (EXPIRING, 6 * DAY + 16 * HOUR, late_cycle),
                (IMMINENT, 9 * DAY, late_cycle),
                (EXPIRING, late_cycle + 6 * DAY + 16 * HOUR, 2 * late_cycle),
                (IMMINENT, late_cycle + 9 * DAY, 2 * late_cycle),
            ],
        ),
        script(
            "first seen with thirty hours left",
            false,
            None,
            once(30 * HOUR),
            &[
                (EXPIRING, -STEP, 30 * HOUR + 7 * DAY),
                (IMMINENT, 6 * HOUR, 30 * HOUR + 7 * DAY),
                (EXPIRED, 54 * HOUR, END),
            ],
        ),
        script(
            "first seen with ten hours left",
            false,
            code,
            once(10 * HOUR),
            &[
                (EXPIRING, -STEP, 10 * HOUR + 7 * DAY),
                (IMMINENT, -STEP, 10 * HOUR + 7 * DAY),
                (EXPIRED, 34 * HOUR, END),
            ],
        ),
        script(
            "first seen with ten hours left, grant unknown",
            false,
            None,
            once(10 * HOUR),
            &[(EXPIRED, 34 * HOUR, END)],
        ),
        script(
            "client credentials of a week",
            false,
            credentials,
            renewed(7 * DAY, 7 * DAY + HOUR, END),
            &[],
        ),
        script(
            "refreshed before each end",
            true,
            code,
            renewed(65 * MINUTE, HOUR, END),
            &[],
        ),
        // Until the first night and the first weekend were seen, both look like an end.
        script(
            "used in business hours",
            true,
            code,
            Box::new(weekdays),
            &[
                (LATE, 21 * HOUR, DAY + 8 * HOUR),
                (LATE, 6 * DAY + 12 * HOUR, 7 * DAY + 8 * HOUR),
            ],
        ),
    ]
}

#[test]
fn the_life_of_each_token_raises_its_alerts_and_no_other() {
    let scripts = scripts();
    let mut target = Target::new(zis::ZisAccount::SYSTEM, "slack", STEP);
    let mut series = Series::default();
    let steps = usize::try_from(END / STEP).unwrap();
    for now in (0..END).step_by(usize::try_from(STEP).unwrap()) {
        let rows = scripts.iter().filter_map(|script| {
            Some(Connection {
                id: script.connection.into(),
                kind: "oauth",
                expiry: Some(at((script.expiry)(now)?)),
                renewable: Some(script.refresh),
                grant_type: script.grant,
                ..<Connection>::default()
            })
        });
        target.poll(now, Ok(rows.collect()));
        target.scrape(now, &mut series);
    }
    let mut text = beginning("the life of each token", STEP);
    series.write(&mut text, steps);
    text += "    promql_expr_test:\n";
    for script in &scripts {
        check(&mut text, script.connection, &script.alerts);
    }
    hold("deploy/prometheus/tests/scenarios-tokens.yaml", &text);
}
