//! A vendor that plants markers everywhere: none of them, nor a piece of one, is in a report.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use serde_json::{Map, Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::first_contact::report;
use crate::harness::Env;

/// Length of the pieces that must not be in a report.
const PIECE: usize = 6;

/// Markers by their place. Each is made when it is first asked for.
#[derive(Default)]
struct Markers(parking_lot::Mutex<BTreeMap<String, String>>);

impl Markers {
    fn make(&self, place: &str, alphabet: &str, length: usize) -> String {
        let mut made = self.0.lock();
        let mut rng = fastrand::Rng::with_seed(u64::from(crc32fast::hash(place.as_bytes())));
        let letters: Vec<_> = alphabet.chars().collect();
        let marker = || -> String {
            (0..length)
                .map(|_| letters[rng.usize(..letters.len())])
                .collect()
        };
        made.entry(place.to_owned()).or_insert_with(marker).clone()
    }

    /// Returns a marker of letters, of which no piece is in any word.
    fn word(&self, place: &str) -> String {
        self.make(place, "qxzjkvw", 14)
    }

    fn hex(&self, place: &str) -> String {
        self.make(place, "0123456789abcdef", 32)
    }

    fn uuid(&self, place: &str) -> String {
        let mut id = self.hex(place);
        for at in [20, 16, 12, 8] {
            id.insert(at, '-');
        }
        id
    }

    /// Returns a marker of digits, longer than any number that is shown.
    fn digits(&self, place: &str) -> String {
        self.make(place, "123456789", 12)
    }

    fn number(&self, place: &str) -> Value {
        json!(self.digits(place).parse::<u64>().unwrap())
    }

    /// Asserts that no marker is in a text, in no form.
    fn assert_absent(&self, text: &str, what: &str) {
        let text: Vec<_> = text.to_lowercase().chars().collect();
        let pieces: HashSet<_> = text.windows(PIECE).collect();
        let made = self.0.lock();
        assert!(made.len() > 60, "{what}: only {} markers", made.len());
        for (place, marker) in &*made {
            let hex = marker.bytes().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            let percent = marker.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "%{byte:02x}");
                text
            });
            let reversed: String = marker.chars().rev().collect();
            let forms = [
                marker.clone(),
                reversed,
                hex,
                percent,
                BASE64_STANDARD.encode(marker),
                BASE64_URL_SAFE.encode(format!(" {marker}")),
                BASE64_STANDARD.encode(format!("  {marker}")),
            ];
            for form in forms {
                let form: Vec<_> = form.to_lowercase().chars().collect();
                for piece in form.windows(PIECE) {
                    assert!(
                        !pieces.contains(piece),
                        "{what}: {piece:?} of {place} ({marker}) is in the report"
                    );
                }
            }
        }
    }
}

/// What the vendor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Usable listings, with markers in every value.
    Lists,
    /// As above, and values of other types in every place.
    Strange,
    /// Errors in JSON.
    Refuses,
    /// `success: false` with HTTP 200.
    RefusesWith200,
    Html,
    Text,
    Redirects,
    RateLimits,
    BrokenJson,
    Binary,
    StrangeCoding,
    /// An array, a text, a number at the top.
    OtherJson,
}

const MANNERS: [Manner; 12] = [
    Manner::Lists,
    Manner::Strange,
    Manner::Refuses,
    Manner::RefusesWith200,
    Manner::Html,
    Manner::Text,
    Manner::Redirects,
    Manner::RateLimits,
    Manner::BrokenJson,
    Manner::Binary,
    Manner::StrangeCoding,
    Manner::OtherJson,
];

struct Planter {
    markers: Arc<Markers>,
    manner: Manner,
}

impl Respond for Planter {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let is_token = request.url.path().contains("oauth/token");
        let lists = matches!(self.manner, Manner::Lists | Manner::Strange);
        // The first tokens are given out, so that the other calls are made.
        let answer = if is_token || lists {
            self.lists(request)
        } else {
            self.fails(request)
        };
        self.with_headers(answer)
    }
}

impl Planter {
    fn with_headers(&self, answer: ResponseTemplate) -> ResponseTemplate {
        let word = |place: &str| self.markers.word(place);
        let number = |place: &str| self.markers.digits(place);
        let cookie = format!("{}={}; Domain={}", word("ck"), word("cv"), word("cd"));
        let mut answer = answer
            .insert_header(&*format!("x-{}", word("header name")), "1")
            .insert_header(
                &*format!("x-ratelimit-{}", word("limit name")),
                &*number("ln"),
            )
            .insert_header(
                &*format!("ratelimit-{}", word("limit name 2")),
                &*word("ln2"),
            )
            .insert_header("server", &*word("server"))
            .insert_header("via", &*format!("1.1 {}", word("via")))
            .insert_header("x-request-id", &*word("request id"))
            .insert_header("zuora-request-id", &*number("zuora request id"))
            .insert_header("zuora-track-id", &*word("track id"))
            .append_header("set-cookie", &*cookie)
            .append_header("set-cookie", &*word("other cookie"))
            .insert_header("etag", &*format!("\"{}\"", word("etag")))
            .insert_header("x-zendesk-zorg", &*word("zorg"))
            .insert_header("x-rate-limit", &*word("x-rate-limit"))
            .insert_header("x-rate-limit-remaining", &*number("remaining"))
            .insert_header("concurrency-limit-type", &*word("limit type"))
            .insert_header("ratelimit-policy", &*format!("{};w=60", word("policy")))
            .insert_header(
                "location",
                &*format!("https://{}.test/{}", word("lh"), word("lp")),
            );
        if self.manner != Manner::RateLimits {
            answer = answer
                .insert_header("ratelimit-limit", &*format!("100;w={}", word("window")))
                .insert_header("ratelimit-reset", &*word("reset"));
        }
        answer
    }

    fn json(&self, body: &Value) -> ResponseTemplate {
        let kind = format!(
            "application/{}+json; {}",
            self.markers.word("ct"),
            self.markers.word("cp")
        );
        ResponseTemplate::new(200).set_body_raw(body.to_string(), &kind)
    }

    /// Returns members with markers in keys and values, of all types.
    fn further(&self, place: &str) -> Map<String, Value> {
        let word = |what: &str| self.markers.word(&format!("{place} {what}"));
        let markers = &self.markers;
        let inside = json!({word("key in text"): word("value in text"), "id": word("id in text"),
            "access_token": word("token in text")});
        let mut further = Map::new();
        let values = [
            ("description", json!(word("description"))),
            (
                "email",
                json!(format!("{}@{}.test", word("user"), word("mail host"))),
            ),
            (
                "url",
                json!(format!(
                    "https://{}.test/{}?q={}",
                    word("url host"),
                    word("path"),
                    word("q")
                )),
            ),
            ("info", json!(inside.to_string())),
            ("number", markers.number(&format!("{place} number"))),
            ("total", json!(-1.5e300)),
            (
                "expires_at",
                json!(format!(
                    "2030-01-01T00:00:00.{}Z",
                    &markers.digits(place)[..9]
                )),
            ),
            ("date", json!(format!("2021-10-01 {}", word("date")))),
            ("type", json!(word("type"))),
            ("error", json!(word("error"))),
            ("code", json!(markers.digits(&format!("{place} code"))[..8])),
            (
                "scopes",
                json!([
                    word("scope"),
                    format!("zis:{}", word("zis")),
                    format!("entity.{}", word("entity"))
                ]),
            ),
            (
                "tags",
                json!([word("tag"), [word("nested tag")], {word("nested key"): word("nested")}]),
            ),
            (
                "region",
                json!({word("k1"): {word("k2"): {word("k3"): [word("deep")]}}}),
            ),
        ];
        for (key, value) in values {
            further.insert(key.to_owned(), value);
        }
        for style in [
            "{}", "{}_name", "{}Name", "{}-name", "{} name", "{}.name", "4{}", "é{}",
        ] {
            let key = word(&format!("key {style}"));
            further.insert(style.replace("{}", &key), json!(word(style)));
        }
        further.insert(markers.hex(&format!("{place} hex key")), json!({}));
        further.insert(markers.uuid(&format!("{place} uuid key")), json!([]));
        further
    }

    /// Adds further members to an object, and markers to those that it has.
    fn plant(&self, place: &str, mut object: Value) -> Value {
        let strange = self.manner == Manner::Strange;
        let members = object.as_object_mut().unwrap();
        for (key, value) in self.further(place) {
            members.entry(key).or_insert(value);
        }
        if strange {
            let place = format!("{place} strange");
            for key in [
                "created_by",
                "updated_at",
                "token_expiry",
                "status",
                "success",
                "header_name",
            ] {
                members.insert(key.to_owned(), json!(self.further(&place)));
            }
            members.insert(
                "allowed_domain".to_owned(),
                json!([self.markers.word(&place)]),
            );
            members.insert("permission_scope".to_owned(), self.markers.number(&place));
        }
        object
    }

    fn lists(&self, request: &Request) -> ResponseTemplate {
        let (word, markers) = (|place: &str| self.markers.word(place), &self.markers);
        let path = request.url.path();
        let body = match path {
            "/oauth/token" | "/oauth/tokens" => self.plant("token", json!({
                "access_token": word(path), "token_type": word("token type"),
                "expires_in": markers.number("expires_in"), "jti": markers.hex("jti"),
                "refresh_token": word("refresh"),
                "scope": format!("entity.{} entity.{} tenant.{} user.{} {} service.{}",
                    markers.uuid("entity 1"), markers.uuid("entity 2"), markers.digits("tenant"),
                    markers.hex("user"), word("scope"), word("service")),
            })),
            "/api/v2/oauth/tokens" => self.plant("minted", json!({"token": self.plant("in token", json!({
                "full_token": word("full token"), "id": markers.number("token id"),
            }))})),
            "/api/v2/oauth/tokens/current.json" => self.plant("current", json!({
                "token": self.plant("current token", json!({"client_id": markers.number("client")})),
            })),
            "/api/services/zis/registry/integrations" => {
                let integration = |name: &str| {
                    let client = json!({"id": markers.number("client id"),
                        "identifier": word("identifier"), "secret": word("client secret")});
                    let client = self.plant("client of it", client);
                    let integration = json!({"name": word(name), "jwt_public_key": word("jwt"),
                        "zendesk_oauth_client": client});
                    self.plant(name, integration)
                };
                let all = ["integration_a", "integration_b"].map(integration);
                self.plant("registry", json!({"integrations": all}))
            }
            "/v1/entities" => {
                let entity = |place: &str| self.plant(place, json!({"id": markers.hex(place), "name":
                    word(&format!("{place} name")), "displayName": word(&format!("{place} display")),
                    "tenantId": markers.digits("tenant id"), "parentId": markers.hex("parent"),
                    "locale": word("locale"), "timezone": word("zone"), "status": "Provisioned"}));
                let odd = self.plant("odd entity", json!({"id": markers.uuid("odd"), "status": word("es")}));
                self.plant("entities", json!({"entities": [entity("entity 1"), entity("entity 2"), odd]}))
            }
            "/v1/entity-connections" => {
                let row = |place: &str| json!({"id": markers.hex(&format!("{place} id")),
                    "sourceEntityId": markers.hex("entity 1"),
                    "targetEntityId": markers.uuid(&format!("{place} target")),
                    "status": word(&format!("{place} status"))});
                let is_first = request.url.query().is_some_and(|query| query.contains("page=1&"));
                let next = format!("https://{}.test/{}", word("next host"), word("next path"));
                let mut body = json!({"entityConnections": [
                    self.plant("row", row(if is_first { "row 1" } else { "row 2" })),
                ]});
                if is_first {
                    body["nextPage"] = json!(next);
                }
                self.plant("rows", body)
            }
            _ if path.ends_with("/connections/all") => {
                let is_first = !request.url.query().is_some_and(|query| query.contains("after"));
                let row = |kind: &str| {
                    let place = format!("{kind} {is_first}");
                    let word = |what: &str| markers.word(&format!("{place} {what}"));
                    self.plant(&place, json!({
                        "name": word("name"), "api_key": word("api key"), "token": word("token"),
                        "username": word("username"), "password": word("password"),
                        "access_token": word("access token"), "refresh_token": word("refresh token"),
                        "created_by": word("created by"), "oauth_url_subdomain": word("subdomain"),
                        "permission_scope": format!("{} {}", word("s1"), word("s2")),
                        "token_expiry": word("token expiry"), "token_type": word("token type"),
                        "uuid": markers.uuid(&place), "oauth_client_uuid": markers.uuid("client uuid"),
                        "header_name": word("header name"), "allowed_domain": word("domain"),
                        "zendesk_account_id": markers.number(&format!("{place} account")),
                        "oauth_access_token_response_body": json!(self.further("in body")).to_string(),
                        "created_at": word("created at"), "updated_at": "2021-10-01T12:44:22Z",
                    }))
                };
                let mut body = json!({
                    "api_key": [row("api_key")], "basic_auth": [row("basic_auth")],
                    "bearer_token": [row("bearer_token")], "oauth": [row("oauth"), row("oauth 2")],
                    word("strange array"): [row("strange")],
                    "meta": self.plant("meta", json!({"has_more": is_first, "after": word("cursor"),
                        "before": word("before")})),
                });
                for (key, value) in self.further("page") {
                    if !matches!(key.as_str(), "error" | "tags") {
                        body[key] = value;
                    }
                }
                body
            }
            _ => self.plant("clients", json!({"clients": [self.plant("one client", json!({
                "uuid": markers.uuid("client uuid"), "grant_type": word("grant"),
                "client_secret": word("secret of client"), "client_id": word("id of client"),
                "auth_url": format!("https://{}.test", word("auth host")),
                "integration": word("integration of client"), "created_by": word("creator"),
            }))]})),
        };
        self.json(&body)
    }

    fn fails(&self, request: &Request) -> ResponseTemplate {
        let (word, markers) = (|place: &str| self.markers.word(place), &self.markers);
        let reason = |code: Value| {
            self.plant(
                "reason",
                json!({"code": code, "message": word("message"),
            "title": word("title"), "detail": word("detail"), "status": word("status")}),
            )
        };
        let error = self.plant(
            "error",
            json!({
                "success": false, "processId": markers.hex("process"), "requestId": word("rid"),
                "reasons": [reason(markers.number("code")), reason(json!(word("code"))),
                    reason(json!(markers.digits("short code")[..8].parse::<u64>().unwrap()))],
                "errors": [reason(json!(word("code of error")))],
                "error": word("error"), "error_description": word("error description"),
                "message": word("message"), "reason": word("reason"),
            }),
        );
        let is_zis = request.url.path().starts_with("/api");
        match self.manner {
            Manner::Lists | Manner::Strange => unreachable!(),
            Manner::Refuses => {
                let status = if is_zis { 403 } else { 401 };
                ResponseTemplate::new(status).set_body_json(error)
            }
            Manner::RefusesWith200 => self.json(&error),
            Manner::Html => {
                let page = format!(
                    "<html><title>{}</title>{}</html>",
                    word("html title"),
                    word("html")
                );
                ResponseTemplate::new(503).set_body_raw(page, "text/html")
            }
            Manner::Text => {
                let text = format!("integration mismatch of {}", word("text"));
                ResponseTemplate::new(401)
                    .set_body_raw(text, &format!("text/{}", word("kind of text")))
            }
            Manner::Redirects => ResponseTemplate::new(302).set_body_string(word("moved")),
            Manner::RateLimits => ResponseTemplate::new(429)
                .insert_header("retry-after", &*format!("4000{}", word("retry")))
                .insert_header("ratelimit-limit", &*markers.digits("limit"))
                .insert_header("ratelimit-reset", &*markers.digits("reset"))
                .set_body_json(error),
            Manner::BrokenJson => {
                let body = format!("{{\"{}\": \"{}\", ", word("broken key"), word("broken"));
                self.json(&json!({})).set_body_raw(body, "application/json")
            }
            Manner::Binary => {
                let body = [vec![0xff; 200_000], word("binary").into_bytes()].concat();
                ResponseTemplate::new(200).set_body_raw(body, "application/octet-stream")
            }
            Manner::StrangeCoding => self
                .json(&error)
                .insert_header("content-encoding", &*word("coding")),
            Manner::OtherJson => {
                let deep = format!(
                    "{}\"{}\"{}",
                    "[".repeat(400),
                    word("deepest"),
                    "]".repeat(400)
                );
                let body = match request.url.path().len() % 3 {
                    0 => json!([word("top array"), {word("top key"): 1}]).to_string(),
                    1 => json!(word("top text")).to_string(),
                    _ => deep,
                };
                ResponseTemplate::new(200).set_body_raw(body, "application/json")
            }
        }
    }
}

/// Returns a configuration with markers in every name, and its secrets.
fn configuration(markers: &Markers, uri: &str) -> (String, Env) {
    let word = |place: &str| markers.word(place);
    let mut env = Env::new();
    for name in ["Z_ID", "Z_SECRET", "TOKEN", "ADMIN_SECRET"] {
        env.insert(name.to_owned(), word(name));
    }
    let text = format!(
        "zuora:
  - account: {za}
    base_url: {uri}
    client_id_env: Z_ID
    client_secret_env: Z_SECRET
    requests_per_minute: 60000
  - account: {zb}
    base_url: {uri}
    client_id: {id}
    client_secret_env: Z_SECRET
    requests_per_minute: 60000
    entities:
      - {{id: {entity}, name: {en}, expect: [{other}]}}
zis:
  - account: {sa}
    base_url: {uri}
    requests_per_minute: 60000
    integrations:
      - {{name: {sn}, token_env: TOKEN, expect: [{se}]}}
  - account: {sb}
    base_url: {uri}
    requests_per_minute: 60000
    admin_client: {{client_id: {admin}, client_secret_env: ADMIN_SECRET}}
    integrations: all
",
        za = word("zuora account"),
        zb = word("zuora account 2"),
        id = word("client id in the file"),
        entity = markers.hex("entity 1"),
        en = word("entity name in the file"),
        other = markers.hex("expected entity"),
        sa = word("zis account"),
        sn = word("integration in the file"),
        se = word("expected connection"),
        sb = word("zis account 2"),
        admin = word("admin client"),
    );
    (text, env)
}

#[tokio::test]
async fn nothing_of_an_accounts_owner_is_in_a_report() {
    for manner in MANNERS {
        let markers = Arc::new(Markers::default());
        let server = MockServer::start().await;
        let planter = Planter {
            markers: markers.clone(),
            manner,
        };
        Mock::given(any())
            .respond_with(planter)
            .mount(&server)
            .await;
        let (text, env) = configuration(&markers, &server.uri());
        let (report, said) = report(&text, &env).await;
        markers.assert_absent(&report, &format!("{manner:?}"));
        assert!(
            !report.contains("127.0.0.1") && !report.contains(&server.address().port().to_string())
        );
        let report: Value = serde_json::from_str(&report).unwrap();
        let accounts = report["accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), 4, "{said}");
        let names: Vec<_> = accounts.iter().map(|account| &account["account"]).collect();
        let expected = [
            "zis account 1",
            "zis account 2",
            "zuora account 1",
            "zuora account 2",
        ];
        assert_eq!(names, expected);
        let mut calls = 0;
        for account in accounts {
            calls += account["calls"].as_array().unwrap().len();
        }
        assert!(calls >= 6, "{manner:?}: {calls} calls: {said}");
        if manner == Manner::Lists {
            let targets = accounts
                .iter()
                .flat_map(|account| account["interpretation"]["targets"].as_array().unwrap());
            assert!(
                targets.clone().count() >= 5 && targets.clone().all(|t| t["outcome"] == "listed"),
                "{said}"
            );
        }
    }
}
