//! Requests to `/simulator`: they show the contents and the request counts, and change contents and
//! faults.

use std::time::Duration;

use ::http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fault::{Fault, Kind, endpoint};
use super::http::{Reply, VendorRequest};
use super::rejected::Rejected;
use super::world::{Expiry, GRANTS, Integration, StoredConnection, World};
use super::{Simulator, zis};

/// Query of `PUT /simulator/connections`.
///
/// Absent fields stay unchanged. In a new connection they have the values of
/// [`StoredConnection::new`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    /// Integration of the connection; `None` for a Zuora connection.
    target: Option<String>,
    /// `None` for all connections of the integration, or of the tenant.
    connection: Option<String>,
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    token_expiry: Option<String>,
    /// Lifetime of a renewed token, in seconds.
    renewed_for: Option<u64>,
    refresh_token: Option<bool>,
    grant_type: Option<String>,
}

/// Query of `DELETE /simulator/connections`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    target: Option<String>,
    connection: String,
}

/// Query of `PUT /simulator/tokens`: expiry of the exporter's own token of an integration.
///
/// Without `expires_at` the API sends no date.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenChange {
    target: String,
    expires_at: Option<Timestamp>,
}

/// Query of `DELETE /simulator/faults`: ends the faults that equal it in all given fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFilter {
    kind: Option<Kind>,
    #[serde(default, deserialize_with = "endpoint")]
    endpoint: Option<String>,
    target: Option<String>,
}

impl FaultFilter {
    fn matches(&self, fault: &Fault) -> bool {
        self.kind.is_none_or(|kind| kind == fault.kind)
            && (self.endpoint.is_none() || self.endpoint == fault.endpoint)
            && (self.target.is_none() || self.target == fault.target)
    }
}

impl Simulator {
    /// Responds to a request for the simulator itself.
    pub(super) fn control(&self, request: &VendorRequest) -> Reply {
        let now = self.clock.now();
        let result = match (&request.method, request.path.as_str()) {
            (&Method::GET, "/simulator") => {
                let holds = self.with(
                    |state| json!({"requests": state.requests, "holds": state.world.describe(now)}),
                );
                return Reply::json(StatusCode::OK, &holds);
            }
            (&Method::POST, "/simulator/faults") => String::from_utf8_lossy(&request.body)
                .parse()
                .and_then(|fault| self.check(&fault).map(|()| self.fail(fault))),
            (&Method::DELETE, "/simulator/faults") => {
                parse_query(request).map(|filter: FaultFilter| {
                    self.with(|state| state.faults.retain(|fault| !filter.matches(fault)));
                })
            }
            (&Method::DELETE, "/simulator/connections") => {
                parse_query(request).and_then(|Delete { target, connection }| {
                    self.change(|world| world.remove(target.as_deref(), &connection))
                })
            }
            (&Method::PUT, "/simulator/connections") => {
                parse_query(request).and_then(|put: Put| self.change(|world| world.put(&put, now)))
            }
            (&Method::PUT, "/simulator/tokens") => parse_query(request)
                .and_then(|token| self.change(|world| world.set_token_expiry(&token))),
            _ => Err("see docs/simulator.md for the requests that are accepted here".into()),
        };
        match result {
            Ok(()) => Reply::json(StatusCode::OK, &json!({})),
            Err(problem) => Reply::json(
                StatusCode::BAD_REQUEST,
                &json!({"error": problem.to_string()}),
            ),
        }
    }
}

fn parse_query<T: DeserializeOwned>(request: &VendorRequest) -> Result<T, Rejected> {
    let pairs = serde_urlencoded::to_string(&request.query).map_err(|error| error.to_string())?;
    serde_urlencoded::from_str(&pairs).map_err(|error| {
        format!("see docs/simulator.md for the parameters of this request: {error}").into()
    })
}

impl World {
    /// Deletes a connection of an integration, or a Zuora connection if `target` is `None`.
    fn remove(&mut self, target: Option<&str>, connection: &str) -> Result<(), Rejected> {
        let gone = match target {
            None => {
                let edges = &mut self.tenant.connections;
                let before = edges.len();
                edges.retain(|edge| edge.id != connection);
                edges.len() < before
            }
            Some(target) => {
                let stored = self.stored(target)?;
                let before = stored.len();
                stored.retain(|stored| stored.name != connection);
                stored.len() < before
            }
        };
        gone.then_some(()).ok_or_else(|| unknown(connection))
    }

    /// Sets the status of Zuora connections, or changes or creates connections of an integration.
    fn put(&mut self, put: &Put, now: Timestamp) -> Result<(), Rejected> {
        let named = |name: &str| put.connection.as_ref().is_none_or(|named| named == name);
        if let Some(target) = &put.target {
            let stored = self.stored(target)?;
            // A copy, so that a rejected request changes nothing.
            let mut changed = stored.clone();
            if let Some(name) = &put.connection
                && !changed.iter().any(|stored| stored.name == *name)
            {
                changed.push(StoredConnection::new(name, now));
            }
            let mut named = changed.iter_mut().filter(|stored| named(&stored.name));
            named.try_for_each(|stored| stored.put(put))?;
            *stored = changed;
            return Ok(());
        }
        let status = put
            .status
            .as_ref()
            .ok_or("expected status= for a Zuora connection, or target= for a connection of an integration")?;
        let edges = self.tenant.connections.iter_mut();
        let mut named = edges.filter(|edge| named(&edge.id)).peekable();
        if let (None, Some(id)) = (named.peek(), &put.connection) {
            return Err(unknown(id));
        }
        named.for_each(|edge| edge.status.clone_from(status));
        Ok(())
    }

    /// Sets the expiry of an integration's token.
    fn set_token_expiry(
        &mut self,
        TokenChange { target, expires_at }: &TokenChange,
    ) -> Result<(), Rejected> {
        self.integration(target)?.token_expires_at = *expires_at;
        Ok(())
    }

    fn stored(&mut self, target: &str) -> Result<&mut Vec<StoredConnection>, Rejected> {
        Ok(&mut self.integration(target)?.connections)
    }

    fn integration(&mut self, name: &str) -> Result<&mut Integration, Rejected> {
        let mut all = self.integrations.iter_mut();
        all.find(|integration| integration.name == name)
            .ok_or_else(|| format!("there is no integration {name}").into())
    }
}

fn unknown(connection: &str) -> Rejected {
    format!("there is no connection {connection}").into()
}

impl StoredConnection {
    fn put(&mut self, put: &Put) -> Result<(), Rejected> {
        if put.status.is_some() {
            return Err("connections of integrations have no status".into());
        }
        if let Some(kind) = &put.kind {
            let documented = zis::KINDS.into_iter().find(|known| known == kind);
            self.kind = documented.ok_or_else(|| format!("type is one of {:?}", zis::KINDS))?;
        }
        if let Some(grant) = &put.grant_type {
            let documented = GRANTS.into_iter().find(|known| known == grant);
            self.grant_type =
                documented.ok_or_else(|| format!("grant_type is one of {GRANTS:?}"))?;
        }
        if let Some(refresh_token) = put.refresh_token {
            self.refresh_token = refresh_token;
        }
        if let Some(text) = &put.token_expiry {
            self.expiry = match text.parse() {
                Ok(date) => Expiry::At(date),
                Err(_) => Expiry::Odd(json!(text)),
            };
        }
        if let Some(seconds) = put.renewed_for {
            let (Expiry::At(date) | Expiry::Renewed(date, _)) = self.expiry else {
                return Err("renewed_for needs a token_expiry that is a date".into());
            };
            let life = Duration::from_secs(seconds.max(1));
            self.expiry = Expiry::Renewed(date, life);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::super::{Sizes, Tenant};
    use super::*;

    fn simulator() -> std::sync::Arc<Simulator> {
        let world = World::new(Sizes::default(), 1, Timestamp::UNIX_EPOCH);
        Simulator::new(world, Vec::new(), None, Timestamp::now)
    }

    /// Returns the status and the error message of the response.
    fn ask(simulator: &Simulator, method: Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path);
        let answer = simulator.respond(request.body(Bytes::new()).unwrap());
        let answer = answer.unwrap();
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        let said = body["error"].as_str().unwrap_or_default().to_owned();
        (answer.status().as_u16(), said)
    }

    fn put(simulator: &Simulator, query: &str) -> (u16, String) {
        ask(
            simulator,
            Method::PUT,
            &format!("/simulator/connections?{query}"),
        )
    }

    fn connection(simulator: &Simulator, name: &str) -> Option<StoredConnection> {
        let first = |world: &mut World| world.integrations[0].connections.clone();
        let mut all = simulator.change(first).into_iter();
        all.find(|stored| stored.name == name)
    }

    #[test]
    fn a_put_changes_what_it_names_and_nothing_else() {
        let simulator = simulator();
        let date = "2030-01-01T00:00:00Z";
        let named = format!("target=acme_slack&connection=shopify&token_expiry={date}");
        assert_eq!(put(&simulator, &named).0, 200);
        let stored = connection(&simulator, "shopify").unwrap();
        assert!(matches!(stored.expiry, Expiry::At(at) if at.to_string() == date));
        assert!(!stored.refresh_token && stored.kind == "oauth");

        let named = "target=acme_slack&connection=shopify&renewed_for=60&refresh_token=true";
        assert_eq!(put(&simulator, named).0, 200);
        let stored = connection(&simulator, "shopify").unwrap();
        assert!(
            matches!(stored.expiry, Expiry::Renewed(at, life) if at.to_string() == date && life.as_secs() == 60)
        );
        assert!(stored.refresh_token);
    }

    #[test]
    fn a_put_without_a_connection_changes_all() {
        let simulator = simulator();
        let kinds = |world: &mut World| {
            let stored = world.integrations.iter().map(|of| &of.connections);
            stored
                .map(|all| all.iter().all(|stored| stored.kind == "api_key"))
                .collect::<Vec<_>>()
        };
        assert!(!simulator.change(kinds).contains(&true));
        assert_eq!(put(&simulator, "target=acme_slack&type=api_key").0, 200);
        let changed = simulator.change(kinds);
        assert!(changed[0] && !changed[1..].contains(&true), "{changed:?}");

        let later = "target=acme_slack&refresh_token=true&type=oauth&renewed_for=60";
        assert_eq!(put(&simulator, later).0, 400, "some have no date");
        assert_eq!(simulator.change(kinds), changed, "none was changed");

        assert_eq!(put(&simulator, "status=Disconnected").0, 200);
        let statuses = simulator.change(|world| {
            let edges = world.tenant.connections.iter();
            edges.map(|edge| edge.status.clone()).collect::<Vec<_>>()
        });
        assert!(statuses.len() > 1 && statuses.iter().all(|status| status == "Disconnected"));
    }

    #[test]
    fn a_put_makes_what_is_not_there() {
        let simulator = simulator();
        let named = "target=acme_slack&connection=new&type=basic_auth";
        assert_eq!(put(&simulator, named).0, 200);
        assert_eq!(connection(&simulator, "new").unwrap().kind, "basic_auth");
        let path = "/simulator/connections?target=acme_slack&connection=new";
        assert_eq!(ask(&simulator, Method::DELETE, path).0, 200);
        assert!(connection(&simulator, "new").is_none());
    }

    #[test]
    fn a_status_may_be_one_that_nobody_knows() {
        let simulator = simulator();
        let id = simulator.change(
            |World {
                 tenant: Tenant { connections, .. },
                 ..
             }| connections[0].id.clone(),
        );
        assert_eq!(
            put(&simulator, &format!("connection={id}&status=Suspended")).0,
            200
        );
        assert_eq!(
            simulator.change(|world| world.tenant.connections[0].status.clone()),
            "Suspended"
        );
    }

    #[test]
    fn a_delete_ends_only_the_faults_that_match() {
        let simulator = simulator();
        for fault in [
            "kind=500&target=a",
            "kind=429&target=a",
            "kind=500&target=b",
        ] {
            simulator.fail(fault.parse().unwrap());
        }
        let path = "/simulator/faults?target=a&kind=500";
        assert_eq!(ask(&simulator, Method::DELETE, path).0, 200);
        let left = simulator.with(|state| state.faults.clone());
        let expected =
            ["kind=429&target=a", "kind=500&target=b"].map(|f| f.parse::<Fault>().unwrap());
        assert_eq!(left, expected);
        assert_eq!(ask(&simulator, Method::DELETE, "/simulator/faults").0, 200);
        assert!(simulator.with(|state| state.faults.is_empty()));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let simulator = simulator();
        for (fault, said) in [
            (
                "kind=500&endpoint=connection_all",
                "endpoint is one of oauth_token, ",
            ),
            (
                "kind=500&target=x",
                "there is no target x; targets are, for example, ",
            ),
            (
                "kind=500&endpoint=entities&target=acme_slack",
                "have no target",
            ),
        ] {
            let body = Bytes::from_static(fault.as_bytes());
            let request = Request::post("/simulator/faults").body(body).unwrap();
            let response = simulator.respond(request).unwrap();
            let answer = String::from_utf8_lossy(response.body());
            assert_eq!(response.status(), 400, "{fault}");
            assert!(answer.contains(said), "{fault}: {answer}");
        }
        assert!(simulator.with(|state| state.faults.is_empty()));
        for (query, said) in [
            ("connection=x&status=Pending", "there is no connection x"),
            ("connection=x", "expected status="),
            ("target=x&connection=y", "there is no integration x"),
            (
                "target=acme_slack&connection=slack&status=Pending",
                "have no status",
            ),
            (
                "target=acme_slack&connection=slack&type=jwt",
                "type is one of",
            ),
            (
                "target=acme_slack&connection=new&renewed_for=60",
                "needs a token_expiry",
            ),
            (
                "target=acme_slack&connection=slack&expiry=x",
                "unknown field",
            ),
        ] {
            let (status, problem) = put(&simulator, query);
            assert!(
                status == 400 && problem.contains(said),
                "{query}: {status} {problem}"
            );
        }
        for (method, path, said) in [
            (Method::DELETE, "faults?knd=500", "unknown field"),
            (Method::PUT, "tokens?target=x", "there is no integration x"),
            (
                Method::PUT,
                "tokens?target=acme_slack&expires_at=soon",
                "see docs/simulator.md",
            ),
        ] {
            let (status, problem) = ask(&simulator, method, &format!("/simulator/{path}"));
            assert!(status == 400 && problem.contains(said), "{path}: {problem}");
        }
    }
}
