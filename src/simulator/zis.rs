//! Zendesk Integration Services, as its reference describes it and its users report it.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fault::{Fault, Kind};
use super::http::{Ask, Reply};
use super::world::{Integration, StoredConnection};
use super::{Call, Limit};

const LARGEST_PAGE: usize = 100;

pub(super) fn call(ask: &Ask) -> Option<Call<'_>> {
    let name = ask
        .path
        .strip_prefix("/api/services/zis/integrations/")?
        .strip_suffix("/connections/all")?;
    if ask.method != Method::GET {
        return None;
    }
    let page = u32::try_from(start(ask)? / size(ask)? + 1).ok()?;
    Some(Call {
        system: "zis",
        endpoint: "connections_all",
        target: name.to_owned(),
        page,
        ask,
    })
}

fn size(ask: &Ask) -> Option<usize> {
    ask.query("page[size]")
        .map_or(Some(LARGEST_PAGE), |size| size.parse().ok())
        .filter(|size| (1..=LARGEST_PAGE).contains(size))
}

/// A cursor is where the next page begins; nobody else is to know.
fn start(ask: &Ask) -> Option<usize> {
    ask.query("page[after]").map_or(Some(0), |cursor| {
        usize::from_str_radix(cursor.strip_prefix("c-")?, 16).ok()
    })
}

pub(super) fn answer(
    integrations: &[Integration],
    call: &Call<'_>,
    now: Timestamp,
    fault: Option<&Fault>,
) -> Reply {
    match fault.map(|fault| fault.kind) {
        Some(Kind::ExpiredToken) => {
            return refused(
                StatusCode::UNAUTHORIZED,
                "InvalidCredentials",
                "Token is expired",
            );
        }
        Some(Kind::RevokedToken) => {
            let body = json!({"error": "invalid_token", "error_description": "The access token provided is expired, revoked, malformed or invalid"});
            return Reply::json(StatusCode::UNAUTHORIZED, &body);
        }
        Some(Kind::Refuse) => {
            return refused(
                StatusCode::FORBIDDEN,
                "Forbidden",
                "Cannot access this resource. Missing scope write",
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
    let Some(bearer) = call.ask.bearer() else {
        return Reply::text(StatusCode::UNAUTHORIZED, "Authentication failed");
    };
    if !integrations
        .iter()
        .any(|integration| integration.token == bearer)
    {
        return refused(
            StatusCode::UNAUTHORIZED,
            "InvalidCredentials",
            "Token length is invalid",
        );
    }
    // A token belongs to one integration; one that does not exist is told apart by nothing.
    let Some(integration) = integrations
        .iter()
        .find(|i| i.name == call.target && i.token == bearer)
    else {
        return Reply::text(
            StatusCode::UNAUTHORIZED,
            "Authorization failed due to integration mismatch",
        );
    };
    page(integration, call, now, fault.map(|fault| fault.kind))
}

fn page(integration: &Integration, call: &Call<'_>, now: Timestamp, fault: Option<Kind>) -> Reply {
    // Both were valid when the call was told.
    let (size, start) = (
        size(call.ask).unwrap_or(LARGEST_PAGE),
        start(call.ask).unwrap_or(0),
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
    let mut arrays = Map::new();
    for kind in ["api_key", "basic_auth", "bearer_token", "oauth"] {
        let rows = rows.iter().take(size).filter(|stored| stored.kind == kind);
        arrays.insert(
            kind.to_owned(),
            rows.map(|stored| row(stored, now)).collect(),
        );
    }
    let more = rows.len() > size || matches!(fault, Some(Kind::Endless | Kind::RepeatCursor));
    let after = if fault == Some(Kind::RepeatCursor) {
        start
    } else {
        start + size
    };
    // The last page has a cursor, too: only has_more tells.
    arrays.insert("meta".to_owned(), json!({"has_more": more, "after": format!("c-{after:x}"), "before": format!("c-{start:x}")}));
    Reply::json(StatusCode::OK, &Value::Object(arrays))
}

fn named(stored: Option<&StoredConnection>, n: usize, now: Timestamp) -> StoredConnection {
    let expiry = super::world::Expiry::Absent;
    let new = || StoredConnection {
        name: String::new(),
        kind: "oauth",
        expiry,
        refresh_token: false,
        created: now,
    };
    StoredConnection {
        name: format!("endless_{n}"),
        ..stored.cloned().unwrap_or_else(new)
    }
}

fn row(stored: &StoredConnection, now: Timestamp) -> Value {
    let (created, updated) = (
        stored.created.to_string(),
        (stored.created + std::time::Duration::from_millis(520)).to_string(),
    );
    let mut row = match stored.kind {
        "api_key" => {
            json!({"api_key": "*****", "header_name": "x-api-key", "allowed_domain": "search.example.test", "created_at": created, "updated_at": updated})
        }
        "basic_auth" => {
            json!({"username": "user@example.test", "password": "*****", "allowed_domain": "", "created_at": created, "updated_at": updated})
        }
        "bearer_token" => {
            json!({"token": "*****", "allowed_domain": "status.example.test", "created_at": created, "updated_at": updated})
        }
        _ => {
            let access = format!("access-{}-{:016x}", stored.name, created.len());
            let mut row = json!({
                "access_token": access,
                "created_by": "test_user",
                "oauth_access_token_response_body": json!({"access_token": access}).to_string(),
                "oauth_url_subdomain": "foobar",
                "permission_scope": "read write",
                "token_type": "bearer",
                "uuid": format!("{:08x}-0c43-45f8-b221-9e085ce90418", crc32fast::hash(stored.name.as_bytes())),
                "refresh_token": if stored.refresh_token { format!("refresh-{access}") } else { String::new() },
            });
            if let Some(expiry) = stored.token_expiry(now) {
                row["token_expiry"] = expiry;
            }
            row
        }
    };
    row["name"] = json!(stored.name);
    row
}

fn refused(status: StatusCode, code: &str, title: &str) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "title": title}]}))
}

pub(super) fn limit_headers(
    Limit {
        whole, left, reset, ..
    }: &Limit,
) -> Vec<(&'static str, String)> {
    vec![
        ("x-rate-limit", whole.to_string()),
        ("x-rate-limit-remaining", left.to_string()),
        ("ratelimit-limit", whole.to_string()),
        ("ratelimit-remaining", left.to_string()),
        ("ratelimit-reset", reset.to_string()),
    ]
}
