//! Tokens that expire: stored tokens, and the exporter's own.

use jiff::SignedDuration;

use super::{Inbox, Rehearsal, Row, Scene, alert};

/// Stored tokens.
pub(super) async fn tokens(scene: &Scene, inbox: &Inbox) -> Vec<Row> {
    let token = |connection, ends| scene.sick.token("tokens", connection, ends);
    let ends = |connection, hours| token(connection, SignedDuration::from_hours(hours));
    let of = |name: &str, severity: &str, connection: &str| {
        let target = "system=zis account=acme target=tokens";
        let labels = format!("{target} connection={connection} connection_type=oauth");
        alert(name, severity, &labels)
    };
    let rehearsal = |cause, alerts| Rehearsal::new(inbox, cause, alerts);
    let month = 30 * 24;

    let six_days = rehearsal(
        "a token without a refresh token ends in six days",
        vec![of("ConnectionTokenExpiring", "warning", "six_days")],
    )
    .run(ends("six_days", 6 * 24), ends("six_days", month));

    // Alertmanager inhibits the warning.
    let last_day = rehearsal(
        "a token without a refresh token ends in 20 hours",
        vec![of("ConnectionTokenExpiring", "critical", "last_day")],
    )
    .run(ends("last_day", 20), ends("last_day", month));

    let short = rehearsal(
        "a token that lives for less than two days ended a day ago",
        vec![of("ConnectionTokenNotRenewed", "warning", "short")],
    )
    // First seen just before its expiry is a day ago, because the alert ignores a token that is
    // first seen later.
    .run(
        token("short", SignedDuration::from_secs(15 - 86_400)),
        ends("short", 1),
    );

    let long = rehearsal(
        "a token ended eight days ago",
        vec![of("ConnectionTokenExpired", "warning", "long")],
    )
    .run(ends("long", -8 * 24), ends("long", month));

    let (six_days, last_day, short, long) = tokio::join!(six_days, last_day, short, long);
    [six_days, last_day, short, long]
        .into_iter()
        .flatten()
        .collect()
}

/// The exporter's own tokens.
pub(super) async fn own(scene: &Scene, inbox: &Inbox) -> Vec<Row> {
    let Scene { sick, polling, .. } = scene;
    let replace = async |integration: &'static str, seconds: i64| {
        let ends = SignedDuration::from_secs(seconds);
        let token = sick.another_token(integration, ends).await;
        polling.write(integration, &token);
    };
    let of = |severity: &str, integration: &str| {
        let labels = format!("system=zis account=acme credential={integration}");
        vec![alert("ConnectionsCredentialExpiring", severity, &labels)]
    };
    let day = 24 * 3600;
    let three_days = Rehearsal::new(
        inbox,
        "the exporter's own token, to be replaced by hand, has 3 days and 20 s left",
        of("warning", "three_days"),
    )
    .run(
        replace("three_days", 3 * day + 20),
        replace("three_days", 30 * day),
    );
    let half_a_day = Rehearsal::new(
        inbox,
        "the exporter's own token, to be replaced by hand, ends in eleven hours",
        of("critical", "half_a_day"),
    )
    .run(
        replace("half_a_day", 11 * 3600),
        replace("half_a_day", 30 * day),
    );
    let (three_days, half_a_day) = tokio::join!(three_days, half_a_day);
    three_days.into_iter().chain(half_a_day).collect()
}
