//! Tokens that expire: stored tokens, and the exporter's own.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::{Inbox, Rehearsal, Row, Scene, alert};
use crate::stack::hours;

/// Stored tokens.
pub(super) async fn tokens(scene: &Scene, inbox: &Inbox) -> Vec<Row> {
    let token = |connection, ends| scene.sick.token("tokens", connection, ends);
    let ends = |connection, hours| token(connection, SignedDuration::from_hours(hours));
    let of = |name: &str, severity: &str, connection: &str| {
        let target = "system=zis account=acme target=tokens";
        let labels = format!("{target} connection={connection} connection_type=oauth");
        alert(name, severity, &labels)
    };
    let refreshed = async |connection: &str, hours| {
        let date = (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
        let names = [("target", "tokens"), ("connection", connection)];
        let token = [("token_expiry", &*date), ("refresh_token", "true")];
        scene.sick.put(&[names, token].concat()).await;
    };
    let rehearsal = |cause, alerts| Rehearsal::new(inbox, cause, alerts);
    let month = 30 * 24;

    let days = rehearsal(
        "a token without a refresh token ends in 30 hours",
        vec![of("ConnectionTokenExpiring", "warning", "days")],
    )
    .run(ends("days", 30), ends("days", month));

    // Alertmanager inhibits the warning.
    let last_day = rehearsal(
        "a token without a refresh token ends in 20 hours",
        vec![of("ConnectionTokenExpiryImminent", "critical", "last_day")],
    )
    .run(ends("last_day", 20), ends("last_day", month));

    let expired = rehearsal(
        "a token without a refresh token ended 25 hours ago",
        vec![of("ConnectionTokenExpired", "warning", "expired")],
    )
    .run(ends("expired", -25), ends("expired", month));

    let idle = rehearsal(
        "a token with a refresh token ended 25 days ago",
        vec![of("ConnectionRefreshTokenIdle", "warning", "idle")],
    )
    .run(refreshed("idle", -25 * 24), refreshed("idle", 1));

    let late = rehearsal(
        "a token was refreshed every two seconds, and is not any more",
        vec![
            of("ConnectionTokenRenewalLate", "warning", "stopped"),
            of("ConnectionTokenRenewalStopped", "critical", "stopped"),
        ],
    )
    .run(
        async {
            for hours in 1..10 {
                refreshed("stopped", hours).await;
                sleep(Duration::from_secs(2)).await;
            }
        },
        scene
            .sick
            .delete(&[("target", "tokens"), ("connection", "stopped")]),
    );

    let (days, last_day, expired, idle, late) = tokio::join!(days, last_day, expired, idle, late);
    [days, last_day, expired, idle, late]
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
    let of = |name: &str, severity: &str, integration: &str| {
        let labels = format!("system=zis account=acme credential={integration}");
        vec![alert(name, severity, &labels)]
    };
    let day = 24 * 3600;
    let three_days = Rehearsal::new(
        inbox,
        "the exporter's own token, to be replaced by hand, has 3 days and 20 s left",
        of("ConnectionsCredentialExpiring", "warning", "three_days"),
    )
    // It was replaced, and has 26 hours to be replaced again.
    .needs(hours(30), hours(4))
    .run(
        replace("three_days", 3 * day + 20),
        replace("three_days", 30 * day),
    );
    let half_a_day = Rehearsal::new(
        inbox,
        "the exporter's own token, to be replaced by hand, ends in eleven hours",
        of(
            "ConnectionsCredentialExpiryImminent",
            "critical",
            "half_a_day",
        ),
    )
    .run(
        replace("half_a_day", 11 * 3600),
        replace("half_a_day", 30 * day),
    );
    let (three_days, half_a_day) = tokio::join!(three_days, half_a_day);
    three_days.into_iter().chain(half_a_day).collect()
}
