//! The words that a report may contain: what the vendors document, and what most APIs share.
//!
//! Everything that is not in here is described and not shown.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Paths of the calls, as the vendors document them. `{}` stands for an id or a name.
const PATHS: [&str; 8] = [
    "/oauth/token",
    "/v1/entities",
    "/v1/entity-connections",
    "/oauth/tokens",
    "/api/v2/oauth/tokens",
    "/api/v2/oauth/tokens/current.json",
    "/api/services/zis/registry/integrations",
    "/api/services/zis/integrations/{}/connections/all",
];
/// A path like those, apart so that the list above stays readable.
const CLIENTS: &str = "/api/services/zis/connections/oauth/clients/{}";

/// Stands for a segment of a path that is not shown.
const HIDDEN: &str = "{…}";

/// Returns the documented form of a path, and its segment that stands for an id or a name.
///
/// Of any other path, only the number of segments is shown.
pub(super) fn path(path: &str) -> (String, Option<&str>) {
    let segments: Vec<_> = path.split('/').collect();
    for known in PATHS.iter().chain([&CLIENTS]) {
        let parts: Vec<_> = known.split('/').collect();
        let mut pairs = parts.iter().zip(&segments);
        if parts.len() == segments.len() && pairs.all(|(part, text)| part == text || *part == "{}")
        {
            let place = parts.iter().position(|part| *part == "{}");
            return (
                known.replace("{}", HIDDEN),
                place.map(|place| segments[place]),
            );
        }
    }
    let hidden = segments.iter().skip(1).map(|_| HIDDEN);
    (format!("/{}", hidden.collect::<Vec<_>>().join("/")), None)
}

/// Keys of queries that are shown.
pub(super) const QUERY: [&str; 6] = [
    "page",
    "pageSize",
    "type",
    "page[size]",
    "page[after]",
    "page[before]",
];

/// Keys of JSON objects that the vendors document.
const DOCUMENTED: &str = "access_token accessToken after allowed_domain api_key auth_url basic_auth \
    bearer_token before client client_id client_secret clients code created_at created_by \
    default_scopes description detail displayName entities entityConnections error \
    error_description errors expires_at expires_in full_token grant_type has_more header_name id \
    identifier integration integrations jti jwt_public_key locale message meta name nextPage oauth \
    oauth_access_token_response_body oauth_client_uuid oauth_url_subdomain parentId password \
    permission_scope processId provisioned reasons refresh_token refresh_token_expires_in requestId \
    scope scopes secret sourceEntityId status success targetEntityId tenantId timezone title token \
    token_expiry token_type token_url updated_at user_id username uuid zendesk_account_id \
    zendesk_oauth_client";

/// Keys that objects of most APIs have. A name that equals one of them is as common as it.
const GENERIC: &str = "active account accountId account_id action actions activated_at address \
    after_cursor after_url allowed attributes audience authorization auth_type before_cursor \
    before_url body cause causes connection connectionId connection_id connection_type connections \
    content contentType content_type count created createdAt createdBy createdDate createdOn \
    created_by_id created_on credentials cursor data date debug default deleted deletedAt \
    deleted_at details developerMessage direction disabled display_name documentation \
    documentation_url domain email enabled endCursor end_time entity entityId entityIds entity_id \
    entries errorCode errorMessage errorType error_code error_id error_message error_type \
    error_uri exp expiration expire expired expires expiresAt expiresIn expires_on expiry field \
    fields first firstPage first_page flags global globalEntity grantType grant_types groups \
    hasMore hasNext hasNextPage has_next header headers help host href http_status iat info \
    installed instance integration_id integration_name isActive isDefault isGlobal is_active \
    is_default is_global issued issued_at issuer items jwt key keys kind label last lastModified \
    lastPage lastUsedAt last_modified last_page last_refreshed_at last_used last_used_at level \
    limit link links list location method mode modified modifiedAt modified_at more nbf next \
    nextCursor nextPageToken next_cursor next_page next_page_token next_token notes number object \
    offset options order origin owner page pageInfo pageNumber pageSize pageToken page_count \
    page_info page_number page_size page_token pages pagination parameter parameters params parent \
    parent_id path pattern payload per_page permission permissions pointer position prev prevPage \
    prev_page previous previousPage previous_page principal private properties provider public \
    query reason record records redirect_uri redirect_uris ref reference refreshToken \
    refresh_expires_in refresh_token_expiry refresh_token_expires_at region related remaining \
    request request_id requested_at resource resource_type response result results retryAfter \
    retry_after revoked revoked_at role roles rows schema self service session settings severity \
    site size sort source source_entity_id startCursor start_time state statusCode status_code \
    statusText subdomain sub subject tag tags target target_entity_id template tenant \
    tenant_id text time timestamp tokenType tokens topic total totalCount totalPages totalSize \
    total_count total_pages trace traceId trace_id type types updated updatedAt updatedBy \
    updatedDate updatedOn updated_by updated_on uri url urls user userId users valid valid_from \
    valid_to valid_until validity value values version visible warning warnings \
    zendesk_oauth_client_id";

static KEYS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let documented = DOCUMENTED.split_ascii_whitespace();
    documented.chain(GENERIC.split_ascii_whitespace()).collect()
});

/// Returns a key of a JSON object if it may be shown.
pub(super) fn key(key: &str) -> Option<&'static str> {
    KEYS.get(key).copied()
}

/// Texts that the vendors document, by their key.
const VALUES: [(&str, &[&str]); 11] = [
    (
        "status",
        &[
            "Connected",
            "Pending",
            "Disconnected",
            "Denied",
            "Provisioned",
            "Unprovisioned",
            "connected",
            "pending",
            "disconnected",
            "denied",
            "CONNECTED",
            "PENDING",
            "DISCONNECTED",
            "DENIED",
            "400",
            "401",
            "403",
            "404",
            "409",
            "422",
            "429",
            "500",
            "503",
        ],
    ),
    (
        "grant_type",
        &[
            "authorization_code",
            "client_credentials",
            "password",
            "refresh_token",
        ],
    ),
    ("token_type", &["bearer", "Bearer", "BEARER"]),
    ("type", &["inbound", "outbound"]),
    (
        "code",
        &[
            "1001",
            "BadRequest",
            "Forbidden",
            "InternalError",
            "InvalidCredentials",
            "NotFound",
            "TooManyRequests",
            "Unauthorized",
        ],
    ),
    (
        "error",
        &[
            "APIRateLimitExceeded",
            "Forbidden",
            "InvalidEndpoint",
            "RecordNotFound",
            "Unauthorized",
            "access_denied",
            "insufficient_scope",
            "invalid_client",
            "invalid_grant",
            "invalid_request",
            "invalid_scope",
            "invalid_token",
            "server_error",
            "temporarily_unavailable",
            "unauthorized_client",
            "unsupported_grant_type",
        ],
    ),
    (
        "title",
        &[
            "Cannot access this resource. Missing scope write",
            "Cannot access this resource. Missing scope read",
            "Forbidden",
            "Token is expired",
            "Token length is invalid",
            "Too many requests",
            "Unauthorized",
        ],
    ),
    ("message", &["Forbidden", "Not Found", "Unauthorized"]),
    ("detail", &["Forbidden", "Not Found", "Unauthorized"]),
    (
        "error_description",
        &[
            "Client authentication failed",
            "The access token provided is expired, revoked, malformed or invalid",
            "The access token provided is expired, revoked, malformed or invalid for other reasons.",
        ],
    ),
    (
        "reason",
        &["invalid_client", "invalid_grant", "unauthorized_client"],
    ),
];

/// Returns the texts that are documented for a key; `None` if it has no list of them.
fn values(key: &str) -> Option<&'static [&'static str]> {
    let known = VALUES.iter().find(|(known, _)| *known == key);
    known.map(|(_, values)| *values)
}

/// Returns a text of a key that has a list of documented texts: itself, if it is one of them.
///
/// Of a numeric error code, the documented parts are shown.
pub(super) fn value(key: &str, text: &str) -> Option<String> {
    let known = values(key)?;
    if let Some(known) = known.iter().find(|known| **known == text) {
        return Some((*known).to_owned());
    }
    let code = (key == "code").then(|| error_code(text)).flatten();
    Some(code.unwrap_or_else(|| format!("other ({})", super::characters(text))))
}

/// Returns the documented parts of an error code of Zuora: six digits for the resource, and two for
/// the kind. `None` if it is no such code.
pub(super) fn error_code(text: &str) -> Option<String> {
    const RESOURCES: [&str; 2] = ["500000", "900000"];
    const KINDS: [&str; 16] = [
        "10", "11", "20", "21", "22", "23", "27", "30", "40", "45", "50", "60", "61", "70", "90",
        "99",
    ];
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (resource, kind) = text.split_at(6);
    let part = |known: &[&'static str], part: &str| {
        let known = known.iter().find(|known| **known == part).copied();
        known.unwrap_or("other")
    };
    Some(format!(
        "code {} {}",
        part(&RESOURCES, resource),
        part(&KINDS, kind)
    ))
}

/// Returns a number whose value is shown: a lifetime in seconds that is short or usual.
pub(super) fn lifetime(key: &str, digits: &str) -> Option<String> {
    const KEYS: [&str; 3] = [
        "expires_in",
        "refresh_expires_in",
        "refresh_token_expires_in",
    ];
    const USUAL: [u64; 6] = [172_800, 604_800, 1_209_600, 2_592_000, 5_184_000, 7_776_000];
    let seconds: u64 = digits.parse().ok()?;
    let shown = KEYS.contains(&key) && (seconds <= 99_999 || USUAL.contains(&seconds));
    shown.then(|| seconds.to_string())
}

/// Bodies without JSON that users report from live accounts.
pub(super) const BODIES: [&str; 8] = [
    "Authentication failed",
    "Authorization failed due to integration mismatch",
    "Bad Gateway",
    "Forbidden",
    "Internal Server Error",
    "Not Found",
    "Service Unavailable",
    "Unauthorized",
];

/// Keys whose text is a list of scopes.
pub(super) const SCOPES: [&str; 4] = ["scope", "scopes", "permission_scope", "default_scopes"];

/// Scopes that are shown.
pub(super) const SCOPE_WORDS: [&str; 12] = [
    "read",
    "write",
    "zis:read",
    "zis:write",
    "impersonate",
    "openid",
    "offline_access",
    "profile",
    "email",
    "tickets:read",
    "tickets:write",
    "users:read",
];

/// Beginnings of scopes that are shown, up to their separator.
pub(super) const SCOPE_PREFIXES: [&str; 9] = [
    "entity", "tenant", "user", "service", "platform", "zis", "account", "client", "role",
];

/// Names of headers that servers, proxies and content delivery networks send.
const HEADERS: &str = "accept-ranges access-control-allow-credentials access-control-allow-headers \
    access-control-allow-methods access-control-allow-origin access-control-expose-headers \
    access-control-max-age age allow alt-svc cache-control cf-cache-status cf-ray connection \
    content-disposition content-encoding content-language content-length content-location \
    content-security-policy content-security-policy-report-only content-type \
    cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy date \
    deprecation etag expect-ct expires feature-policy keep-alive last-modified link location nel \
    origin-agent-cluster p3p permissions-policy pragma proxy-authenticate proxy-connection \
    referrer-policy report-to reporting-endpoints server server-timing set-cookie \
    strict-transport-security sunset timing-allow-origin trailer transfer-encoding upgrade vary via \
    warning www-authenticate x-amz-cf-id x-amz-cf-pop x-amzn-requestid x-amzn-trace-id x-azure-ref \
    x-b3-spanid x-b3-traceid x-cache x-cache-hits x-content-type-options \
    x-correlation-id x-dns-prefetch-control x-download-options x-envoy-upstream-service-time \
    x-frame-options x-iinfo x-permitted-cross-domain-policies x-powered-by x-request-id \
    x-robots-tag x-runtime x-served-by x-timer x-trace-id x-ua-compatible x-xss-protection \
    x-zendesk-api-version x-zendesk-api-warn x-zendesk-origin-server \
    x-zendesk-processed-host-header x-zendesk-request-id x-zendesk-user-id x-zendesk-zorg \
    zuora-request-id zuora-track-id zuora-version";

/// Names of headers about limits, whose values are shown if they are numbers.
pub(super) const LIMIT_HEADERS: [&str; 25] = [
    "concurrency-limit-limit",
    "concurrency-limit-remaining",
    "concurrency-limit-type",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-rate-limit",
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-limit-day",
    "x-ratelimit-limit-hour",
    "x-ratelimit-limit-minute",
    "x-ratelimit-limit-second",
    "x-ratelimit-remaining",
    "x-ratelimit-remaining-day",
    "x-ratelimit-remaining-hour",
    "x-ratelimit-remaining-minute",
    "x-ratelimit-remaining-second",
    "x-ratelimit-reset",
    "x-retry-after",
];

/// Beginnings of the names of further headers about limits.
pub(super) const LIMIT_PREFIXES: [&str; 4] = [
    "concurrency-limit-",
    "ratelimit-",
    "x-rate-limit-",
    "x-ratelimit-",
];

/// Returns the name of a header if it may be shown.
pub(super) fn header(name: &str) -> Option<&'static str> {
    let mut known = HEADERS.split_ascii_whitespace().chain(LIMIT_HEADERS);
    known.find(|known| *known == name)
}

/// Media types that are shown.
pub(super) const MEDIA_TYPES: [&str; 9] = [
    "application/json",
    "application/hal+json",
    "application/octet-stream",
    "application/problem+json",
    "application/vnd.api+json",
    "application/xml",
    "text/html",
    "text/plain",
    "text/xml",
];

/// Content codings that are shown.
pub(super) const CODINGS: [&str; 6] = ["br", "deflate", "gzip", "identity", "x-gzip", "zstd"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_paths_are_shown() {
        let named = "/api/services/zis/integrations/acme/connections/all";
        assert_eq!(
            path(named),
            (
                "/api/services/zis/integrations/{…}/connections/all".to_owned(),
                Some("acme")
            )
        );
        assert_eq!(path("/v1/entities").0, "/v1/entities");
        assert_eq!(path("/acme/v1/entities").0, "/{…}/{…}/{…}");
        assert_eq!(
            path("/api/services/zis/integrations/a/b/connections/all").0,
            ["/{…}"; 8].concat()
        );
    }

    #[test]
    fn of_an_error_code_only_documented_parts_are_shown() {
        assert_eq!(error_code("50000030").unwrap(), "code 500000 30");
        assert_eq!(error_code("48151623").unwrap(), "code other 23");
        assert_eq!(error_code("48151642").unwrap(), "code other other");
        assert_eq!(error_code("4815162342"), None);
        assert_eq!(value("code", "1001").unwrap(), "1001");
        assert_eq!(value("code", "ACME").unwrap(), "other (4 characters)");
        assert_eq!(value("name", "Connected"), None);
    }

    #[test]
    fn a_lifetime_is_shown_if_it_is_short_or_usual() {
        assert_eq!(lifetime("expires_in", "3599").as_deref(), Some("3599"));
        assert_eq!(lifetime("expires_in", "172800").as_deref(), Some("172800"));
        for (key, digits) in [
            ("expires_in", "481516"),
            ("expires_in", "-5"),
            ("expires_in", "3599.5"),
            ("id", "3599"),
        ] {
            assert_eq!(lifetime(key, digits), None, "{key} {digits}");
        }
    }
}
