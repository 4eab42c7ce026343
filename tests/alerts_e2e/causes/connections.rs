//! Connections that are lost, or that are not as expected.

use super::{Inbox, Instant, Rehearsal, Row, Scene, alert, nothing};
use crate::stack::hours;

/// Connections between entities.
pub(super) async fn edges(scene: &Scene, inbox: &Inbox, began: Instant) -> Vec<Row> {
    let sick = &scene.sick;
    // In the simulator's order: the fourth is pending, and the sixth was never connected.
    let edges = sick.edges();
    let [kept, gone, _, waiting, _, never, ..] = &edges[..] else {
        panic!("{edges:?}")
    };
    let of = |name: &str, severity: &str, edge: &str| {
        let labels = format!("system=zuora account=production connection={edge}");
        vec![alert(name, severity, &labels)]
    };
    let status = async |edge: &str, status: &str| {
        sick.put(&[("connection", edge), ("status", status)]).await;
    };
    let the_gone = [("connection", gone.as_str())];
    let row = sick.edge(gone);
    let rehearsal = |cause, alerts| Rehearsal::new(inbox, cause, alerts);

    let disconnected = "ConnectionDisconnected";
    let kept = rehearsal(
        "two entities are disconnected, the row stays",
        of(disconnected, "critical", kept),
    )
    .run(status(kept, "Disconnected"), status(kept, "Connected"));

    let gone = rehearsal(
        "two entities are disconnected, the row goes",
        of(disconnected, "critical", gone),
    )
    .run(sick.delete(&the_gone), async {
        sick.connect(row);
    });

    let pending = rehearsal(
        "a connection waits to be accepted",
        of("ConnectionPending", "warning", waiting),
    )
    .since(began)
    .needs(hours(48), hours(1))
    .run(nothing(), status(waiting, "Connected"));

    let field = "system=zuora account=production field=status";
    let unknown = rehearsal(
        "a connection gets a status that nobody knows",
        vec![alert("ConnectionsUnknownValues", "info", field)],
    )
    .run(status(never, "Suspended"), status(never, "Disconnected"));

    let (kept, gone, pending, unknown) = tokio::join!(kept, gone, pending, unknown);
    [kept, gone, pending, unknown]
        .into_iter()
        .flatten()
        .collect()
}

/// Connections of integrations.
pub(super) async fn stored(scene: &Scene, inbox: &Inbox) -> Vec<Row> {
    let sick = &scene.sick;
    let of = |name: &str, severity: &str, target: &str| {
        let labels = format!("system=zis account=acme target={target}");
        vec![alert(name, severity, &labels)]
    };
    let slack = [("target", "expected"), ("connection", "slack")];
    let missing = Rehearsal::new(
        inbox,
        "an expected connection is deleted",
        of("ExpectedConnectionMissing", "critical", "expected"),
    )
    .run(sick.delete(&slack), sick.put(&slack));

    let half = ["fourth", "fifth", "sixth"].map(|name| [("target", "fell"), ("connection", name)]);
    let fell = Rehearsal::new(
        inbox,
        "three of six connections are deleted",
        of("ConnectionsFell", "warning", "fell"),
    )
    .run(
        async {
            for connection in &half {
                sick.delete(connection).await;
            }
        },
        async {
            for connection in &half {
                sick.put(connection).await;
            }
        },
    );

    let erp = [
        ("target", "basic"),
        ("connection", "erp"),
        ("type", "basic_auth"),
    ];
    let basic = Rehearsal::new(
        inbox,
        "a basic_auth connection is made",
        vec![
            alert(
                "BasicAuthConnections",
                "info",
                "system=zis account=acme target=basic",
            ),
            alert(
                "ConnectionApiTokenEnding",
                "warning",
                "system=zis account=acme target=basic connection=erp",
            ),
        ],
    )
    .run(sick.put(&erp), sick.delete(&erp[..2]));

    let (missing, fell, basic) = tokio::join!(missing, fell, basic);
    [missing, fell, basic].into_iter().flatten().collect()
}
