//! What happens at the simulated vendors in the first two minutes of `demo`.

use std::sync::Arc;
use std::time::Duration;

use connections_simulator::{Fault, Kind, RetryAfter, Simulator};
use tokio::time::{Instant, sleep_until};

/// Event at a time after the start.
struct Event {
    after: Duration,
    /// What happens, for the log.
    text: &'static str,
    change: fn(&Simulator),
}

const fn event(seconds: u64, text: &'static str, change: fn(&Simulator)) -> Event {
    Event {
        after: Duration::from_secs(seconds),
        text,
        change,
    }
}

/// The events, by time. Tokens expire by themselves: their dates are part of the simulated world.
const EVENTS: [Event; 6] = [
    event(
        25,
        "the token of connection slack expired, and was renewed when a flow used it",
        |_| {},
    ),
    event(
        30,
        "the entities Global and Germany are disconnected",
        |simulator| set_status(simulator, "Disconnected"),
    ),
    event(
        45,
        "the credential for acme_shopify is refused",
        |simulator| {
            let fault = Fault {
                target: Some("acme_shopify".to_owned()),
                // Polls come less often while it is refused, so this is more than half a minute.
                times: Some(2),
                ..listings(Kind::RevokedToken)
            };
            simulator.fail(fault);
        },
    ),
    event(
        80,
        "Zendesk answers 429, and asks for a pause of 20 s",
        |simulator| {
            let fault = Fault {
                times: Some(1),
                retry_after: Some(RetryAfter::Seconds(20)),
                ..listings(Kind::TooManyRequests)
            };
            simulator.fail(fault);
        },
    ),
    event(
        90,
        "the token of connection shopify expired, and nothing renews it",
        |_| {},
    ),
    event(
        120,
        "the entities Global and Germany are connected again; nothing else changes from now on",
        |simulator| set_status(simulator, "Connected"),
    ),
];

/// Returns a fault of the listings of integrations.
fn listings(kind: Kind) -> Fault {
    Fault {
        endpoint: Some("connections_all".to_owned()),
        ..Fault::new(kind)
    }
}

/// Sets the status of the connection from the first entity to the second one.
fn set_status(simulator: &Simulator, status: &str) {
    simulator.change(|world| {
        if let Some(edge) = world.tenant.connections.first_mut() {
            status.clone_into(&mut edge.status);
        }
    });
}

/// Makes the events happen, and logs each one.
pub(super) async fn tell(simulator: Arc<Simulator>) {
    let begun = Instant::now();
    for event in EVENTS {
        sleep_until(begun + event.after).await;
        (event.change)(&simulator);
        tracing::info!(seconds = event.after.as_secs(), event = event.text, "demo");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use connections_simulator::{Sizes, World};
    use http::Request;
    use jiff::Timestamp;

    use super::*;

    /// Asks the simulator, and returns status and body.
    fn ask(simulator: &Simulator, path: &str, token: &str) -> (u16, String) {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let response = simulator
            .respond(request.body(Bytes::new()).unwrap())
            .unwrap();
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status().as_u16(), body)
    }

    #[tokio::test(start_paused = true)]
    async fn in_two_minutes_everything_happens_and_ends() {
        let world = World::new(Sizes::default(), 1, Timestamp::UNIX_EPOCH);
        let simulator = Simulator::new(world, Vec::new(), None, || Timestamp::UNIX_EPOCH);
        let token = simulator.change(|world| world.integrations[1].token.clone());
        let disconnected = || {
            simulator.change(|world| {
                let edges = world.tenant.connections.iter();
                edges.filter(|edge| edge.status == "Disconnected").count()
            })
        };
        let listing = || {
            let path = "/api/services/zis/integrations/acme_shopify/connections/all";
            ask(&simulator, path, &token).0
        };
        let before = disconnected();
        let told = tokio::spawn(tell(simulator.clone()));
        let begun = Instant::now();
        let at = async |seconds| sleep_until(begun + Duration::from_secs(seconds)).await;
        at(29).await;
        assert_eq!((disconnected(), listing()), (before, 200));
        at(31).await;
        assert_eq!(disconnected(), before + 1);
        at(46).await;
        assert_eq!([listing(), listing(), listing()], [401, 401, 200]);
        at(81).await;
        assert_eq!([listing(), listing()], [429, 200]);
        told.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 120);
        assert_eq!((disconnected(), listing()), (before, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_world_is_no_problem() {
        let sizes = Sizes {
            entities: 0,
            entity_connections: 0,
            integrations: 0,
            integration_connections: 0,
        };
        let world = World::new(sizes, 1, Timestamp::UNIX_EPOCH);
        tell(Simulator::new(world, Vec::new(), None, Timestamp::now)).await;
    }
}
