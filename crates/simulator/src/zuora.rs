//! Zuora Multi-entity API, as the vendor's reference describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fault::{Fault, Kind};
use super::http::{Reply, VendorRequest};
use super::world::{Edge, Tenant};
use super::{Api, Call, RateLimit};

const LARGEST_PAGE: usize = 300;
const DEFAULT_PAGE: usize = 30;

pub(super) fn call(request: &VendorRequest) -> Option<Call<'_>> {
    let endpoint = match (&request.method, request.path.as_str()) {
        (&Method::POST, "/oauth/token") => "oauth_token",
        (&Method::GET, "/v1/entities") => "entities",
        (&Method::GET, "/v1/entity-connections") => "entity_connections",
        _ => return None,
    };
    let target = plain(request.header("zuora-entity-ids").unwrap_or_default());
    let page = request
        .query("page")
        .and_then(|page| page.parse().ok())
        .unwrap_or(1);
    Some(Call {
        api: Api::Zuora,
        endpoint,
        target,
        page,
        request,
    })
}

pub(super) fn answer(
    tenant: &Tenant,
    issued: &mut BTreeMap<String, Instant>,
    call: &Call<'_>,
    fault: Option<&Fault>,
) -> Reply {
    if let Some(Fault {
        kind: Kind::Refuse,
        code,
        ..
    }) = fault
    {
        return refused(StatusCode::OK, code.unwrap_or(50_000_030), &tenant.planted);
    }
    if matches!(
        fault,
        Some(Fault {
            kind: Kind::WrongTypes,
            ..
        })
    ) {
        let body = json!({"entityConnections": "none", "entities": 3, "access_token": false, "success": true});
        return Reply::json(StatusCode::OK, &body);
    }
    if call.endpoint == "oauth_token" {
        return token(tenant, issued, call.request);
    }
    let valid = call
        .request
        .bearer()
        .and_then(|token| issued.get(token))
        .is_some_and(|ends| *ends > Instant::now());
    if !valid {
        return refused(StatusCode::UNAUTHORIZED, 90_000_011, "Authentication error");
    }
    match call.endpoint {
        "entities" => entities(tenant),
        _ => connections(tenant, call, fault.map(|fault| fault.kind)),
    }
}

fn token(
    tenant: &Tenant,
    issued: &mut BTreeMap<String, Instant>,
    request: &VendorRequest,
) -> Reply {
    let form: BTreeMap<String, String> =
        serde_urlencoded::from_bytes(&request.body).unwrap_or_default();
    let is = |key: &str, value: &str| form.get(key).is_some_and(|given| given == value);
    if !is("grant_type", "client_credentials")
        || !is("client_id", &tenant.client_id)
        || !is("client_secret", &tenant.client_secret)
    {
        return Reply::json(
            StatusCode::UNAUTHORIZED,
            &json!({"error": "invalid_client", "error_description": "Client authentication \
                failed"}),
        );
    }
    let token = format!("{:032x}", fastrand::u128(..));
    issued.retain(|_, ends| *ends > Instant::now());
    issued.insert(
        token.clone(),
        Instant::now() + Duration::from_secs_f64(tenant.expires_in),
    );
    let entities: Vec<_> = tenant
        .entities
        .iter()
        .take(tenant.reach)
        .map(|entity| format!("entity.{}", hyphenated(&entity.id)))
        .collect();
    Reply::json(
        StatusCode::OK,
        &json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": tenant.expires_in,
            "scope": format!("user.8ad08f01 {} tenant.19 service.usage.delete", entities.join(" ")),
            "jti": format!("{:032x}", fastrand::u128(..)),
        }),
    )
}

fn entities(tenant: &Tenant) -> Reply {
    let entity = |(n, entity): (usize, &super::Entity)| {
        json!({
            "id": entity.id,
            "name": entity.name,
            "displayName": format!("{} entity", entity.name),
            "locale": "en_US",
            "timezone": "Etc/UTC",
            "status": if entity.provisioned { "Provisioned" } else { "Unprovisioned" },
            "parentId": (n > 0).then(|| &tenant.entities[0].id),
            "tenantId": "19",
        })
    };
    Reply::json(
        StatusCode::OK,
        &json!({"entities": tenant.entities.iter().enumerate().map(entity).collect::<Vec<_>>(), "success": true}),
    )
}

fn connections(tenant: &Tenant, call: &Call<'_>, fault: Option<Kind>) -> Reply {
    let request = call.request;
    let size = match request.query("pageSize").map(str::parse::<usize>) {
        None if request.query("page").is_some() => {
            return refused(StatusCode::OK, 50_000_020, "page needs pageSize");
        }
        None => DEFAULT_PAGE,
        Some(Ok(size)) if (1..=LARGEST_PAGE).contains(&size) => size,
        Some(_) => return refused(StatusCode::OK, 50_000_020, "pageSize is 1 to 300"),
    };
    // Without the header, the entity is ambiguous if the token has access to several.
    let only = call.target.is_empty() && tenant.reach.min(tenant.entities.len()) == 1;
    let known = tenant
        .entities
        .iter()
        .take(tenant.reach)
        .any(|entity| entity.id == call.target);
    if !only && !known {
        return refused(StatusCode::OK, 50_000_040, "no such entity");
    }
    let asked = if call.target.is_empty() {
        &tenant.entities[0].id
    } else {
        &call.target
    };
    let (number, shown) = match (fault, call.page as usize) {
        (Some(Kind::RepeatCursor), page) => (page, 1),
        (_, page) => (page, page),
    };
    let all: Vec<_> = tenant
        .connections
        .iter()
        .filter(|edge| match request.query("type") {
            Some("inbound") => edge.target == *asked,
            Some("outbound") => edge.source == *asked,
            _ => edge.source == *asked || edge.target == *asked,
        })
        .collect();
    let mut rows: Vec<Value> = all
        .iter()
        .skip((shown.max(1) - 1) * size)
        .take(size)
        .map(|edge| row(edge))
        .collect();
    let mut more = all.len() > shown * size;
    match fault {
        Some(Kind::Endless) => {
            let end = |n| json!({"id": format!("endless-{number}-{n}"), "sourceEntityId": asked, "targetEntityId": asked, "status": "Connected"});
            rows = (0..size).map(end).collect();
            more = true;
        }
        Some(Kind::RepeatCursor | Kind::ForeignNextPage) => more = true,
        _ => {}
    }
    let mut body = json!({"entityConnections": rows, "success": true});
    if more {
        // The examples in the vendor's reference have this host, too.
        body["nextPage"] = json!(format!(
            "http://localhost:8080/v1/entity-connections?page={}&pageSize={size}",
            number + 1
        ));
    }
    Reply::json(StatusCode::OK, &body)
}

fn row(edge: &Edge) -> Value {
    json!({"id": edge.id, "sourceEntityId": edge.source, "targetEntityId": edge.target, "status": edge.status})
}

fn refused(status: StatusCode, code: u32, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({"success": false, "processId": "3F7EA3FD706C7E7C", "reasons": [{"code": code, "message": message}]}),
    )
}

pub(super) fn limit_headers(endpoint: &str, limit: &RateLimit) -> Vec<(&'static str, String)> {
    let RateLimit {
        limit,
        remaining,
        reset,
        ..
    } = limit;
    if endpoint == "oauth_token" {
        return vec![
            ("x-ratelimit-limit-minute", limit.to_string()),
            ("x-ratelimit-remaining-minute", remaining.to_string()),
        ];
    }
    vec![
        ("ratelimit-limit", format!("{limit}, {limit};w=60")),
        ("ratelimit-remaining", remaining.to_string()),
        ("ratelimit-reset", reset.to_string()),
        ("concurrency-limit-type", "default".to_owned()),
        ("concurrency-limit-limit", "40".to_owned()),
        ("concurrency-limit-remaining", "39".to_owned()),
    ]
}

fn plain(id: &str) -> String {
    id.replace('-', "").to_ascii_lowercase()
}

fn hyphenated(id: &str) -> String {
    format!(
        "{}-{}-{}-{}-{}",
        &id[..8],
        &id[8..12],
        &id[12..16],
        &id[16..20],
        &id[20..]
    )
}
