//! Targets that cannot be listed, and rate limits of the vendors.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::{Inbox, Instant, Rehearsal, Row, Scene, alert, nothing};

pub(super) async fn targets(scene: &Scene, inbox: &Inbox, began: Instant) -> Vec<Row> {
    let Scene {
        sick,
        calm,
        polling,
        ..
    } = scene;
    let of = |name: &str, severity: &str, labels: &str| {
        alert(
            name,
            severity,
            &format!("system=zis account=acme target={labels}"),
        )
    };
    // A target that cannot be listed also becomes stale.
    let and_stale = |name: &str, target: &str, reason: &str| {
        let why = of(name, "warning", &format!("{target} {reason}"));
        vec![why, of("ConnectionsTargetStale", "critical", target)]
    };
    let rehearsal = |cause, alerts| Rehearsal::new(inbox, cause, alerts);
    let write = async |integration: &'static str, secret: &str| polling.write(integration, secret);
    let right = async |integration: &'static str| {
        polling.write(integration, &sick.secret(integration));
    };
    let others = sick.secret("tokens");
    let unauthorized = "ConnectionsTargetUnauthorized";

    let refused = rehearsal(
        "a token is revoked",
        and_stale(unauthorized, "refused", "reason=unauthorized"),
    )
    .run(write("refused", "revoked"), right("refused"));
    let emptied = rehearsal(
        "a secret file is emptied",
        and_stale(unauthorized, "emptied", "reason=credential"),
    )
    .run(write("emptied", ""), right("emptied"));
    let mismatched = rehearsal(
        "a secret file gets the token of another integration",
        and_stale("ConnectionsTargetMismatch", "mismatched", ""),
    )
    .run(write("mismatched", &others), right("mismatched"));
    let forbidden = rehearsal(
        "the vendor answers 403",
        and_stale("ConnectionsTargetForbidden", "forbidden", ""),
    )
    .run(
        sick.fail("kind=refuse&target=forbidden"),
        sick.heal("forbidden"),
    );
    let failing = rehearsal(
        "the vendor answers 500",
        and_stale("ConnectionsTargetFailing", "failing", ""),
    )
    .run(sick.fail("kind=500&target=failing"), sick.heal("failing"));
    let never = rehearsal(
        "a token never was the right one",
        vec![
            of("ConnectionsTargetStale", "critical", "never"),
            of(unauthorized, "warning", "never reason=unauthorized"),
        ],
    )
    .since(began)
    .run(nothing(), right("never"));
    let account = "system=zis account=globex";
    let discovery = rehearsal(
        "the list of integrations was never to be had: 500",
        vec![alert(
            "ConnectionsDiscoveryNeverSucceeded",
            "critical",
            account,
        )],
    )
    .since(began)
    .run(nothing(), calm.end_faults("endpoint", "integrations"));

    let (refused, emptied, mismatched, forbidden, failing, never, discovery) = tokio::join!(
        refused, emptied, mismatched, forbidden, failing, never, discovery
    );
    let rows = [
        refused, emptied, mismatched, forbidden, failing, never, discovery,
    ];
    rows.into_iter().flatten().collect()
}

/// A vendor that fails for every account, and entities that a credential does not reach.
pub(super) async fn vendor(scene: &Scene, inbox: &Inbox, began: Instant) -> Vec<Row> {
    let Scene { out, outage, .. } = scene;
    // Failing and stale targets are not notified: what the outage explains is inhibited.
    let system = alert(
        "ConnectionsVendorOutage",
        "critical",
        "system=zis job=outage",
    );
    let all = Rehearsal::new(
        inbox,
        "the vendor answers 500 to all accounts",
        vec![system],
    )
    .run(out.fail("kind=500&endpoint=connections_all"), async {
        out.end_faults("endpoint", "connections_all").await;
    });
    let account = alert(
        "ConnectionsEntitiesUnreached",
        "warning",
        "system=zuora account=tenant",
    );
    let names = outage
        .read("config.yaml")
        .replace("    # entities: ", "    entities: ");
    let unreached = Rehearsal::new(inbox, "a tenant has entities out of reach", vec![account])
        .since(began)
        .run(nothing(), outage.reconfigure(&names));
    let (all, unreached) = tokio::join!(all, unreached);
    [all, unreached].into_iter().flatten().collect()
}

pub(super) async fn budget(scene: &Scene, inbox: &Inbox) -> Vec<Row> {
    let Scene { sick, limited, .. } = scene;
    let account = "system=zis account=throttled";
    let target = format!("{account} target=throttled");
    let throttled = Rehearsal::new(
        inbox,
        "the vendor answers 429, with Retry-After",
        vec![
            alert("ConnectionsTargetRateLimited", "warning", &target),
            alert("ConnectionsAccountPaused", "warning", account),
            alert("ConnectionsTargetStale", "critical", &target),
        ],
    )
    .run(
        sick.fail("kind=429&retry_after=4&target=throttled"),
        sick.heal("throttled"),
    );

    let quota = "system=zis account=shared window=60";
    let quota = || alert("ConnectionsQuotaNearlyUsed", "warning", quota);
    let nearly_used = quota();
    let others = async {
        tokio::select! {
            () = use_up(limited.address) => {}
            _ = inbox.fires(&nearly_used, crate::LATE) => {}
        }
    };
    let cause = "another client uses nine tenths of the quota";
    let used = Rehearsal::new(inbox, cause, vec![quota()]).run(others, nothing());

    let (throttled, used) = tokio::join!(throttled, used);
    [throttled, used].into_iter().flatten().collect()
}

/// Acts as another client of the vendor, which leaves 80 of each minute's thousand requests.
async fn use_up(vendor: SocketAddr) {
    let client = reqwest::Client::new();
    let url = format!("http://{vendor}/api/services/zis/integrations/busy/connections/all");
    loop {
        let answer = client.get(&url).send().await.unwrap();
        let left = answer.headers()["ratelimit-remaining"].to_str().unwrap();
        if left.parse::<u32>().unwrap() <= 80 {
            sleep(Duration::from_secs(1)).await;
        }
    }
}
