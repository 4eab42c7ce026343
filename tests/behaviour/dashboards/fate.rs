//! Column "State" of the panel "Stored tokens", on hand-written series: the simulator would take
//! weeks for these states.

use super::played::Played;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Time of the query.
const NOW: i64 = 479 * HOUR;

/// What the exporter says of a token, in seconds.
#[derive(Default)]
struct Token {
    /// Time until the expiry.
    left: i64,
    refreshable: bool,
    grant: &'static str,
    lifetime: i64,
    /// Time since the last renewal, and how long before the previous expiry that was.
    renewed: Option<(i64, i64)>,
    /// Longest time between two renewals.
    gap: Option<i64>,
}

/// Returns tokens by name, each with the number of the state that the panel must show.
fn tokens() -> Vec<(&'static str, Token, i32)> {
    let token = |left, lifetime, refreshable, grant| Token {
        left,
        refreshable,
        grant,
        lifetime,
        ..Token::default()
    };
    let code = "authorization_code";
    let renewed = |token, ago, lead, gap| Token {
        renewed: Some((ago, lead)),
        gap,
        ..token
    };
    let refreshed = |ago, gap| renewed(token(HOUR, 2 * HOUR, true, code), ago, 60, gap);
    let stored = |left, lifetime| token(left, lifetime, false, code);
    let unknown = |left, lifetime| token(left, lifetime, false, "");
    vec![
        ("renewed", refreshed(HOUR, Some(2 * HOUR)), 3),
        ("renewal_late", refreshed(8 * HOUR, Some(2 * HOUR)), 7),
        ("renewal_stopped", refreshed(3 * DAY, Some(2 * HOUR)), 9),
        ("never_renewed", token(DAY, DAY, true, code), 2),
        ("idle", token(-21 * DAY, HOUR, true, code), 5),
        (
            "client_credentials",
            token(-2 * DAY, HOUR, false, "client_credentials"),
            1,
        ),
        ("far_from_its_end", stored(25 * DAY, 30 * DAY), 4),
        ("in_the_last_week", stored(4 * DAY, 30 * DAY), 6),
        ("in_the_last_third", stored(40 * HOUR, 6 * DAY), 6),
        ("before_the_last_third", stored(3 * DAY, 6 * DAY), 4),
        ("on_its_last_day", stored(10 * HOUR, 30 * DAY), 8),
        ("of_an_hour", stored(HOUR / 2, HOUR), 8),
        ("expired", stored(-HOUR, 30 * DAY), 10),
        // Nobody saw it valid: it may be of those that are renewed when they are next used.
        ("expired_before", stored(-3 * HOUR, -2 * HOUR), 4),
        ("expired_long_before", stored(-2 * DAY, -DAY), 10),
        // client_credentials tokens are mostly as short-lived.
        ("of_an_hour_by_an_unknown_grant", unknown(-HOUR, HOUR), 4),
        ("the_same_for_two_days", unknown(-2 * DAY, HOUR), 10),
        (
            "renewed_when_used",
            renewed(unknown(DAY, 10 * DAY), 9 * DAY, -HOUR, Some(11 * DAY)),
            3,
        ),
        (
            "renewed_by_hand",
            renewed(stored(12 * HOUR, 6 * DAY), 5 * DAY, HOUR, Some(6 * DAY)),
            8,
        ),
    ]
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_state_of_a_token_is_told_by_what_was_seen_of_it() {
    let mut played = Played::default();
    let target = "system=\"zis\",account=\"acme\",target=\"t\"";
    for (metric, value) in [
        ("saas_connections", 1),
        (
            "connections_exporter_target_last_success_timestamp_seconds",
            NOW,
        ),
        ("connections_exporter_target_poll_interval_seconds", 300),
    ] {
        played.series(&format!("{metric}{{{target}}}"), &format!("{value}x480"));
    }
    let mut states = Vec::new();
    for (name, token, state) in tokens() {
        let labels = format!("{target},connection=\"{name}\",connection_type=\"oauth\"");
        let mut add = |metric: &str, value: i64| {
            let series = format!("saas_connection_{metric}{{{labels}}}");
            played.series(&series, &format!("{value}x480"));
        };
        add("token_expiry_timestamp_seconds", NOW + token.left);
        add("token_expires_in_seconds", token.left);
        add("token_seen_lifetime_seconds", token.lifetime);
        add("refresh_token_stored", i64::from(token.refreshable));
        add("first_seen_timestamp_seconds", 0);
        if let Some((ago, lead)) = token.renewed {
            add("token_last_renewal_timestamp_seconds", NOW - ago);
            add("token_last_renewal_lead_seconds", lead);
        }
        if let Some(gap) = token.gap {
            add("token_longest_renewal_gap_seconds", gap);
        }
        let info = format!(
            "saas_connection_info{{{labels},grant_type=\"{}\"}}",
            token.grant
        );
        played.series(&info, "1x480");
        states.push((format!("{{{labels}}}"), state));
    }
    let all = |state: fn(i32) -> i32| -> Vec<_> {
        let states = states.iter();
        states
            .map(|(labels, is)| (labels.clone(), f64::from(state(*is))))
            .collect()
    };
    let number = |count: i32| [("{}".to_owned(), f64::from(count))];
    let count = |those: fn(i32) -> bool| {
        let those = states.iter().filter(|(_, state)| those(*state));
        number(i32::try_from(those.count()).unwrap())
    };
    let (replace, check) = ("Tokens to replace", "Tokens to check");
    played.shows("connections", "Stored tokens", &all(|state| state));
    played.shows("overview", replace, &count(|state| state >= 8));
    played.shows("overview", check, &count(|state| (5..8).contains(&state)));

    // Without the recording rules nothing is said of any of them, least of all that it is well.
    played.shows_by(&[], "connections", "Stored tokens", &all(|_| 0));
    played.shows_by(&[], "overview", replace, &number(-1));
    played.shows_by(&[], "overview", check, &number(-1));
}
