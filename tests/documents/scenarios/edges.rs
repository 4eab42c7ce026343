//! Connections between entities that are lost.

use std::fmt::Write as _;

use super::series::Series;
use super::target::Target;
use super::{DAY, END, HOUR, STEP, beginning, check};
use crate::documents::hold;
use crate::model::error::Reason;
use crate::model::listing::{Connection, Facts};
use crate::vendors::{AccountSettings as _, zuora};

const DISCONNECTED: &str = "ConnectionDisconnected";
const PENDING: &str = "ConnectionPending";

/// A connection between two entities, by the status that a listing has at each time.
struct Edge {
    connection: &'static str,
    target: &'static str,
    entities: [&'static str; 2],
    /// Returns the status; `None` while the connection is not listed.
    status: Box<dyn Fn(i64) -> Option<&'static str>>,
    alerts: Vec<(&'static str, i64, i64)>,
}

fn edges() -> Vec<Edge> {
    let edge = |connection, target, entities, status, alerts: &[_]| Edge {
        connection,
        target,
        entities,
        status,
        alerts: alerts.to_vec(),
    };
    // Connected, and from this time on in another status.
    let until =
        |end: i64, then: Option<&'static str>| -> Box<dyn Fn(i64) -> Option<&'static str>> {
            Box::new(move |now| if now < end { Some("connected") } else { then })
        };
    let disconnected = Some("disconnected");
    vec![
        edge(
            "disconnected",
            "Global",
            ["a", "b"],
            until(DAY, disconnected),
            &[(DISCONNECTED, DAY, 8 * DAY)],
        ),
        edge(
            "gone",
            "Global",
            ["a", "c"],
            until(2 * DAY, None),
            &[(DISCONNECTED, 2 * DAY, 9 * DAY)],
        ),
        edge(
            "disconnected and deleted",
            "Global",
            ["a", "d"],
            Box::new(|now| match now {
                ..DAY => Some("connected"),
                _ if now < 3 * DAY => Some("disconnected"),
                _ => None,
            }),
            &[(DISCONNECTED, DAY, 8 * DAY)],
        ),
        edge(
            "replaced",
            "Global",
            ["a", "e"],
            until(DAY, disconnected),
            &[(DISCONNECTED, DAY, 2 * DAY)],
        ),
        edge(
            "its replacement",
            "Global",
            ["e", "a"],
            Box::new(|now| match now {
                ..DAY => None,
                _ if now < 2 * DAY => Some("pending"),
                _ => Some("connected"),
            }),
            &[],
        ),
        edge(
            "never connected",
            "Global",
            ["a", "f"],
            until(0, disconnected),
            &[],
        ),
        edge("healthy", "Global", ["a", "g"], until(END, None), &[]),
        edge(
            "accepted late",
            "Global",
            ["a", "h"],
            Box::new(|now| {
                Some(if now < 5 * DAY {
                    "pending"
                } else {
                    "connected"
                })
            }),
            &[(PENDING, 2 * DAY, 5 * DAY)],
        ),
        // Germany cannot be listed for 26 hours.
        edge(
            "disconnected unseen",
            "Germany",
            ["b", "c"],
            until(DAY + 6 * HOUR, disconnected),
            &[(DISCONNECTED, 2 * DAY + 2 * HOUR, 9 * DAY + 2 * HOUR)],
        ),
        // Japan cannot be listed for nine hours, and later for a weekend.
        edge(
            "disconnected before",
            "Japan",
            ["c", "d"],
            until(3 * DAY, disconnected),
            &[(DISCONNECTED, 3 * DAY, 10 * DAY)],
        ),
    ]
}

#[test]
fn a_lost_connection_fires_once_also_while_its_target_cannot_be_listed() {
    let edges = edges();
    let fails = |target: &str, now: i64| match target {
        "Germany" => (DAY..2 * DAY + 2 * HOUR).contains(&now),
        "Japan" => {
            (3 * DAY + HOUR..3 * DAY + 10 * HOUR).contains(&now)
                || (5 * DAY..7 * DAY + 16 * HOUR).contains(&now)
        }
        _ => false,
    };
    let end = 12 * DAY;
    let mut targets = ["Global", "Germany", "Japan"]
        .map(|name| Target::new(zuora::ZuoraAccount::SYSTEM, name, STEP));
    let mut series = Series::default();
    for now in (0..end).step_by(usize::try_from(STEP).unwrap()) {
        for target in &mut targets {
            let rows = edges
                .iter()
                .filter(|edge| edge.target == target.name)
                .filter_map(|edge| {
                    let [source, other] = edge.entities;
                    Some(Connection {
                        id: edge.connection.into(),
                        kind: "outbound",
                        status: (edge.status)(now)?,
                        facts: Facts {
                            source_entity: source.into(),
                            target_entity: other.into(),
                            ..Facts::default()
                        },
                        ..<Connection>::default()
                    })
                });
            let rows = if fails(target.name, now) {
                Err(Reason::Timeout)
            } else {
                Ok(rows.collect())
            };
            target.poll(now, rows);
            target.scrape(now, &mut series);
        }
    }
    let mut text = beginning("lost connections", STEP);
    series.write(&mut text, usize::try_from(end / STEP).unwrap());
    text += "    promql_expr_test:\n";
    for edge in &edges {
        check(&mut text, edge.connection, &edge.alerts);
    }
    // The alert stays while its target cannot be listed.
    for hours in [75, 80, 124, 150, 180, 191] {
        let _ = writeln!(
            text,
            "      - expr: count(ALERTS{{alertstate=\"firing\",alertname=\"{DISCONNECTED}\",connection=\"disconnected before\"}})\n        eval_time: {hours}h\n        exp_samples: [{{labels: '{{}}', value: 1}}]"
        );
    }
    hold("deploy/prometheus/tests/scenarios-edges.yaml", &text);
}
