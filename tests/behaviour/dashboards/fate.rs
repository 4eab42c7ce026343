//! Column "Judgement" of the panel "Stored tokens", on hand-written series of several weeks, which
//! would take too long with the simulator.

use std::fmt::Write as _;

use super::played::Played;

#[test]
#[ignore = "needs promtool: make test"]
fn a_token_is_judged_by_what_was_seen_of_it_in_weeks_over_restarts_too() {
    // Columns, for 20 days in steps of an hour:
    // - name of the connection
    // - expiry, and the hour in which the connection was first listed
    // - expiry before a renewal, and the hour of that renewal
    // - renewals counted by two processes, of which the second replaced the first after 18 days
    // - expected judgement, by its number in the panel
    let soon = 20 * 86_400 + 3600;
    let mut played = Played::default();
    let mut expected = Vec::new();
    for (name, (expiry, since), before, counted, fate) in [
        (
            "in_time",
            (soon, 0),
            Some((soon - 86_400, 359)),
            ["0x359 1x72", "0x48"],
            0,
        ),
        (
            "long_ago",
            (soon, 0),
            Some((soon - 86_400, 100)),
            ["0x100 1x331", "0x48"],
            6,
        ),
        ("never", (soon, 0), None, ["0x432", "0x48"], 6),
        (
            "young_and_renewed",
            (soon, 450),
            None,
            ["_x432", "_x18 0x10 1x18"],
            0,
        ),
        // First listed 31 hours before the expiry, like a client_credentials token. Such a token is
        // renewed when it is next used.
        ("short_lived", (soon, 450), None, ["_x432", "_x18 0x29"], 2),
        (
            "short_lived_and_past_for_a_day",
            (soon - 2 * 86_400, 420),
            None,
            ["0x12", "0x48"],
            3,
        ),
        (
            "short_lived_and_past_for_a_week",
            (soon - 8 * 86_400, 270),
            None,
            ["0x162", "0x48"],
            7,
        ),
        // First listed 61 hours before the expiry.
        ("young", (soon, 420), None, ["_x420 0x12", "0x48"], 6),
        (
            "past_for_six_days",
            (soon - 6 * 86_400, 0),
            None,
            ["0x432", "0x48"],
            7,
        ),
    ] {
        let labels = format!(
            "system=\"zis\",account=\"acme\",target=\"t\",connection=\"{name}\",connection_type=\"oauth\""
        );
        let mut add = |metric: &str, instance: &str, values: &str| {
            played.series(
                &format!("saas_connection_token_{metric}{{{labels},instance=\"{instance}\"}}"),
                values,
            );
        };
        let mut from = since;
        let mut dates = match since {
            0 => String::new(),
            since => format!("_x{since} "),
        };
        let mut lefts = dates.clone();
        for (expiry, to) in before.into_iter().chain([(expiry, 480)]) {
            let (left, hours) = (expiry - from * 3600, to - from - 1);
            write!(dates, "{expiry}x{hours} ").unwrap();
            write!(lefts, "{left}-3600x{hours} ").unwrap();
            from = to;
        }
        add("expiry_timestamp_seconds", "b", &dates);
        add("expires_in_seconds", "b", &lefts);
        add("renewable", "b", "_x470 0x9");
        add("renewals_total", "a", &format!("{} stale", counted[0]));
        add("renewals_total", "b", &format!("_x432 {}", counted[1]));
        expected.push((format!("{{{labels}}}"), f64::from(fate)));
    }
    played.shows("connections", "Stored tokens", &expected);
}
