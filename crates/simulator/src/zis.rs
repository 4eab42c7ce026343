//! Zendesk Integration Services API, as the vendor's reference and its users describe it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::fault::{Fault, Kind};
use super::http::{Reply, VendorRequest};
use super::world::{GRANTS, Integration, StoredConnection, World};
use super::{Api, Call, Holder, RateLimit};

const LARGEST_PAGE: usize = 100;

/// Path of an integration's OAuth clients, up to its name.
const OAUTH_CLIENTS: &str = "/api/services/zis/connections/oauth/clients/";

/// Arrays of a listing, one for each type of connection.
pub(super) const KINDS: [&str; 4] = ["api_key", "basic_auth", "bearer_token", "oauth"];

/// Returns the call of a request. A replay (`any_cursor`) gives out cursors of other forms.
pub(super) fn call(request: &VendorRequest, any_cursor: bool) -> Option<Call<'_>> {
    let call = |endpoint, target: &str, page| Call {
        api: Api::Zis,
        endpoint,
        target: target.to_owned(),
        page,
        request,
    };
    match (&request.method, request.path.as_str()) {
        (&Method::POST, "/oauth/tokens") => Some(call("admin_token", "", 1)),
        (&Method::POST, "/api/v2/oauth/tokens") => Some(call("integration_token", "", 1)),
        (&Method::GET, "/api/v2/oauth/tokens/current.json") => Some(call("current_token", "", 1)),
        (&Method::GET, "/api/services/zis/registry/integrations") => {
            Some(call("integrations", "", 1))
        }
        (&Method::GET, path) if path.starts_with(OAUTH_CLIENTS) => {
            Some(call("oauth_clients", &path[OAUTH_CLIENTS.len()..], 1))
        }
        (&Method::GET, path) => {
            let name = path
                .strip_prefix("/api/services/zis/integrations/")?
                .strip_suffix("/connections/all")?;
            let page = match (start(request), size(request)) {
                (Some(start), Some(size)) => u32::try_from(start / size + 1).ok()?,
                _ if any_cursor => 1,
                _ => return None,
            };
            Some(call("connections_all", name, page))
        }
        _ => None,
    }
}

fn size(request: &VendorRequest) -> Option<usize> {
    request
        .query("page[size]")
        .map_or(Some(LARGEST_PAGE), |size| size.parse().ok())
        .filter(|size| (1..=LARGEST_PAGE).contains(size))
}

/// Returns the index of the first row. A cursor encodes it; clients must treat cursors as opaque.
fn start(request: &VendorRequest) -> Option<usize> {
    request.query("page[after]").map_or(Some(0), |cursor| {
        usize::from_str_radix(cursor.strip_prefix("c-")?, 16).ok()
    })
}

pub(super) fn answer(
    world: &World,
    granted: &mut BTreeMap<String, (Holder, Instant)>,
    call: &Call<'_>,
    now: Timestamp,
    fault: Option<&Fault>,
) -> Reply {
    match fault.map(|fault| fault.kind) {
        Some(Kind::ExpiredToken) => {
            return refused(
                StatusCode::UNAUTHORIZED,
                "InvalidCredentials",
                &format!("Token is expired {}", world.planted),
            );
        }
        Some(Kind::RevokedToken) => {
            let body = json!({"error": "invalid_token", "error_description": format!("The access \
                token provided is expired, revoked, malformed or invalid {}", world.planted)});
            return Reply::json(StatusCode::UNAUTHORIZED, &body);
        }
        Some(Kind::Refuse) => {
            return refused(
                StatusCode::FORBIDDEN,
                "Forbidden",
                &format!(
                    "Cannot access this resource. Missing scope write {}",
                    world.planted
                ),
            );
        }
        Some(Kind::WrongTypes) => {
            return Reply::json(
                StatusCode::OK,
                &json!({"oauth": {"name": 3}, "meta": {"has_more": false}}),
            );
        }
        _ => {}
    }
    if call.endpoint == "admin_token" {
        return admin_token(world, granted, call.request);
    }
    let Some(bearer) = call.request.bearer() else {
        return Reply::text(StatusCode::UNAUTHORIZED, "Authentication failed");
    };
    let holder = granted
        .get(bearer)
        .filter(|(_, ends)| *ends > Instant::now())
        .map(|(holder, _)| holder);
    match call.endpoint {
        "integrations" if holder == Some(&Holder::Admin) => registry(&world.integrations),
        "integration_token" if holder == Some(&Holder::Admin) => {
            integration_token(&world.integrations, granted, call.request)
        }
        "current_token" => current_token(&world.integrations, bearer),
        "connections_all" | "oauth_clients" => {
            let stored = world
                .integrations
                .iter()
                .find(|integration| integration.token == bearer);
            let owner = match holder {
                Some(Holder::Integration(name)) => Some(name.as_str()),
                _ => stored.map(|integration| integration.name.as_str()),
            };
            let Some(owner) = owner else {
                return refused(
                    StatusCode::UNAUTHORIZED,
                    "InvalidCredentials",
                    "Token length is invalid",
                );
            };
            // A token belongs to one integration. The response is the same for an integration that
            // does not exist.
            match world
                .integrations
                .iter()
                .find(|i| i.name == call.target && i.name == owner)
            {
                Some(integration) if call.endpoint == "oauth_clients" => {
                    oauth_clients(integration, &world.planted)
                }
                Some(integration) => page(
                    integration,
                    &world.planted,
                    call,
                    now,
                    fault.map(|fault| fault.kind),
                ),
                None => Reply::text(
                    StatusCode::UNAUTHORIZED,
                    "Authorization failed due to integration mismatch",
                ),
            }
        }
        _ => Reply::json(
            StatusCode::UNAUTHORIZED,
            &json!({"errors": [{"code": "1001", "detail": "Unauthorized", "status": "401"}], "message": "Unauthorized"}),
        ),
    }
}

/// Responds with the properties of a static token. Issued tokens are never requested.
fn current_token(integrations: &[Integration], bearer: &str) -> Reply {
    match integrations.iter().find(|i| i.token == bearer) {
        Some(Integration {
            token_expires_at, ..
        }) => Reply::json(
            StatusCode::OK,
            &json!({"token": {"id": 1, "expires_at": token_expires_at, "scopes": ["read", "write"]}}),
        ),
        None => Reply::json(
            StatusCode::UNAUTHORIZED,
            &json!({"error": "invalid_token", "error_description": "The access token provided is \
                expired, revoked, malformed or invalid"}),
        ),
    }
}

/// Issues a token with the requested lifetime.
///
/// If none is requested, it is 30 minutes, and the response does not state it.
fn grant(
    granted: &mut BTreeMap<String, (Holder, Instant)>,
    holder: Holder,
    expires_in: Option<u64>,
) -> String {
    let token = format!("{:064x}", fastrand::u128(..));
    let life = Duration::from_secs(expires_in.unwrap_or(1800).clamp(1, 172_800));
    granted.retain(|_, (_, ends)| *ends > Instant::now());
    granted.insert(token.clone(), (holder, Instant::now() + life));
    token
}

fn admin_token(
    world: &World,
    granted: &mut BTreeMap<String, (Holder, Instant)>,
    request: &VendorRequest,
) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let (id, secret) = &world.admin;
    if body["grant_type"] != "client_credentials"
        || body["client_id"] != **id
        || body["client_secret"] != **secret
    {
        let body =
            json!({"error": "invalid_client", "error_description": "Client authentication failed"});
        return Reply::json(StatusCode::UNAUTHORIZED, &body);
    }
    let expires_in = body["expires_in"].as_u64();
    let token = grant(granted, Holder::Admin, expires_in);
    let mut answer = json!({"access_token": token, "token_type": "bearer", "scope": body["scope"]});
    if let Some(expires_in) = expires_in {
        answer["expires_in"] = json!(expires_in);
    }
    Reply::json(StatusCode::OK, &answer)
}

fn registry(integrations: &[Integration]) -> Reply {
    let entry = |integration: &Integration| {
        json!({
            "name": integration.name,
            "description": "",
            "jwt_public_key": "",
            "zendesk_oauth_client": {"id": client_id(integration), "identifier": format!("zis_{}", integration.name), "secret": "*****"},
        })
    };
    Reply::json(
        StatusCode::OK,
        &json!({"integrations": integrations.iter().map(entry).collect::<Vec<_>>()}),
    )
}

/// Returns the numeric id of an integration's own OAuth client, which depends on its name.
fn client_id(integration: &Integration) -> u64 {
    9000 + u64::from(crc32fast::hash(integration.name.as_bytes()))
}

fn integration_token(
    integrations: &[Integration],
    granted: &mut BTreeMap<String, (Holder, Instant)>,
    request: &VendorRequest,
) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let asked = &body["token"];
    let asked_for = |integration: &&Integration| asked["client_id"] == client_id(integration);
    let Some(integration) = integrations.iter().find(asked_for) else {
        return Reply::json(
            StatusCode::NOT_FOUND,
            &json!({"error": "RecordNotFound", "description": "Not found"}),
        );
    };
    let expires_in = asked["expires_in"].as_u64();
    let token = grant(
        granted,
        Holder::Integration(integration.name.clone()),
        expires_in,
    );
    let mut answer = json!({"token": {"id": 1, "client_id": asked["client_id"], "full_token": token, "scopes": asked["scopes"]}});
    if let Some(expires_in) = expires_in {
        answer["token"]["expires_in"] = json!(expires_in);
    }
    Reply::json(StatusCode::CREATED, &answer)
}

fn page(
    integration: &Integration,
    planted: &str,
    call: &Call<'_>,
    now: Timestamp,
    fault: Option<Kind>,
) -> Reply {
    // `call` has checked both.
    let (size, start) = (
        size(call.request).unwrap_or(LARGEST_PAGE),
        start(call.request).unwrap_or(0),
    );
    let endless: Vec<_>;
    let rows = match fault {
        Some(Kind::Endless) => {
            endless = (start..start + size)
                .map(|n| named(integration.connections.first(), n, now))
                .collect();
            &endless[..]
        }
        Some(Kind::RepeatCursor) => {
            &integration.connections[..size.min(integration.connections.len())]
        }
        _ => integration.connections.get(start..).unwrap_or_default(),
    };
    // If an integration has one client, rows do not name it, as in the vendor's sample.
    let has_several_clients = grants(integration).len() > 1;
    let mut arrays = Map::new();
    for kind in KINDS {
        let rows = rows.iter().take(size).filter(|stored| stored.kind == kind);
        arrays.insert(
            kind.to_owned(),
            rows.map(|stored| {
                let mut row = row(stored, planted, now);
                if has_several_clients && kind == "oauth" {
                    row["oauth_client_uuid"] = json!(client_uuid(integration, stored.grant_type));
                }
                row
            })
            .collect(),
        );
    }
    let more = rows.len() > size || matches!(fault, Some(Kind::Endless | Kind::RepeatCursor));
    let after = if fault == Some(Kind::RepeatCursor) {
        start
    } else {
        start + size
    };
    // The last page has a cursor, too. Only `has_more` marks it as the last one.
    arrays.insert("meta".to_owned(), json!({"has_more": more, "after": format!("c-{after:x}"), "before": format!("c-{start:x}")}));
    Reply::json(StatusCode::OK, &Value::Object(arrays))
}

/// Returns the grants of the integration's OAuth connections, without duplicates.
fn grants(integration: &Integration) -> Vec<&'static str> {
    let oauth = |stored: &&StoredConnection| stored.kind == "oauth";
    let stored = integration.connections.iter().filter(oauth);
    let used: Vec<_> = stored.map(|stored| stored.grant_type).collect();
    let mut grants = GRANTS.to_vec();
    grants.retain(|grant| used.contains(grant));
    grants
}

fn client_uuid(integration: &Integration, grant: &str) -> String {
    let hash = crc32fast::hash(format!("{} {grant}", integration.name).as_bytes());
    format!("{hash:08x}-5a5f-47c1-9e3b-2f7d30cbd6a1")
}

/// Responds with one client for each grant.
fn oauth_clients(integration: &Integration, planted: &str) -> Reply {
    let client = |grant: &str| {
        json!({
            "auth_url": "https://login.example.test/authorize",
            "client_id": format!("{planted}-client"),
            "client_secret": format!("{planted}-client-secret"),
            "created_at": "2026-01-05T08:00:00Z",
            "created_by": planted,
            "default_scopes": "read write",
            "grant_type": grant,
            "integration": integration.name,
            "token_url": "https://login.example.test/token",
            "updated_at": "2026-01-05T08:00:00Z",
            "uuid": client_uuid(integration, grant),
        })
    };
    let clients: Vec<_> = grants(integration).into_iter().map(client).collect();
    Reply::json(StatusCode::OK, &json!({"clients": clients}))
}

fn named(stored: Option<&StoredConnection>, n: usize, now: Timestamp) -> StoredConnection {
    StoredConnection {
        name: format!("endless_{n}"),
        ..stored
            .cloned()
            .unwrap_or_else(|| StoredConnection::new("", now))
    }
}

fn row(stored: &StoredConnection, planted: &str, now: Timestamp) -> Value {
    let created = stored.created.to_string();
    let updated = (stored.created + Duration::from_millis(520)).to_string();
    let mut row = match stored.kind {
        "api_key" => {
            json!({"api_key": "*****", "header_name": "x-api-key", "allowed_domain": "search.example.test"})
        }
        "basic_auth" => {
            json!({"username": format!("{planted}@example.test"), "password": "*****", "allowed_domain": ""})
        }
        "bearer_token" => json!({"token": "*****", "allowed_domain": "status.example.test"}),
        _ => json!({
            "access_token": format!("{planted}-access"),
            "created_by": planted,
            "oauth_access_token_response_body": json!({"access_token": format!("{planted}-access")}).to_string(),
            "oauth_url_subdomain": "foobar",
            "permission_scope": "read write",
            "token_type": "bearer",
            "uuid": format!("{:08x}-0c43-45f8-b221-9e085ce90418", crc32fast::hash(stored.name.as_bytes())),
            "refresh_token": if stored.refresh_token { format!("{planted}-refresh") } else { String::new() },
        }),
    };
    row["name"] = json!(stored.name);
    if stored.kind == "oauth" {
        if let Some(expiry) = stored.token_expiry(now) {
            row["token_expiry"] = expiry;
        }
    } else {
        row["created_at"] = json!(created);
        row["updated_at"] = json!(updated);
    }
    row
}

fn refused(status: StatusCode, code: &str, title: &str) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "title": title}]}))
}

pub(super) fn limit_headers(
    RateLimit {
        limit,
        remaining,
        reset,
        ..
    }: &RateLimit,
) -> Vec<(&'static str, String)> {
    vec![
        ("x-rate-limit", limit.to_string()),
        ("x-rate-limit-remaining", remaining.to_string()),
        ("ratelimit-limit", limit.to_string()),
        ("ratelimit-remaining", remaining.to_string()),
        ("ratelimit-reset", reset.to_string()),
    ]
}
