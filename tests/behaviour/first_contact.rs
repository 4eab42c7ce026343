//! `check --report`: the shapes of what a vendor answers, and their replay by the simulator.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use connections_simulator::{Expiry, Fault, Form, Kind, Simulator, Sizes, World};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::daemon::exporter;
use crate::harness::Env;

/// Runs `check --report` with a configuration; returns the report, and what was said.
pub(crate) async fn report(text: &str, env: &Env) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join("config.yaml"), folder.path().join("r"));
    fs::write(&file, text).unwrap();
    let (code, said) = check(&file, &to, env).await;
    assert!(code == 0 || code == 1, "{said}");
    let mode = fs::metadata(&to).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    (fs::read_to_string(to).unwrap(), said)
}

async fn check(config: &Path, to: &Path, env: &Env) -> (i32, String) {
    let mut command = exporter(&["check", "--timeout=1m"]);
    command.arg("--config.file").arg(config);
    command.arg("--report").arg(to).envs(env);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// Runs `check --report` against a simulator.
async fn report_on(simulator: &Arc<Simulator>) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (text, env) = simulator.configuration(listener.local_addr().unwrap(), "  interval: 1h\n");
    let _serving = AbortOnDropHandle::new(tokio::spawn(simulator.clone().serve(listener)));
    let (report, _) = report(&text, &env).await;
    serde_json::from_str(&report).unwrap()
}

/// Returns a simulator whose tokens expire neither during a test nor in a different class.
fn simulator(form: Form, sizes: Sizes) -> Arc<Simulator> {
    // jiff omits zeros at the end of a fraction, so the time of the start must not be in a date.
    let second = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let expiry = second + Duration::from_millis(520) + Duration::from_hours(24 * 30);
    let mut world = World::new(sizes, 1, second);
    world.form = form;
    for integration in &mut world.integrations {
        for stored in &mut integration.connections {
            if let Expiry::At(_) | Expiry::Renewed(..) = stored.expiry {
                stored.expiry = Expiry::At(expiry);
            }
        }
    }
    Simulator::new(world, Vec::new(), None, Timestamp::now)
}

/// Returns an account of a report.
fn account<'a>(report: &'a Value, system: &str) -> &'a Value {
    let mut accounts = report["accounts"].as_array().unwrap().iter();
    accounts.find(|one| one["system"] == system).unwrap()
}

/// Returns the responses of a call with this status.
fn call<'a>(account: &'a Value, name: &str, status: u16) -> &'a Value {
    let mut calls = account["calls"].as_array().unwrap().iter();
    let found = calls.find(|call| call["call"] == name && call["status"] == status);
    found.unwrap_or_else(|| panic!("no {name} with {status} in {account:#}"))
}

/// Returns the shape of a key of the elements of an array at the top of a body.
fn field<'a>(call: &'a Value, array: &str, key: &str) -> &'a Value {
    &call["body"]["json"]["keys"][array]["elements"]["keys"][key]
}

#[tokio::test]
async fn a_report_of_the_simulator_has_every_call_its_shape_and_how_it_was_read() {
    let report = report_on(&simulator(Form::Documented, Sizes::default())).await;
    assert_eq!(report["connections_exporter_report"], 1);
    let zuora = account(&report, "zuora");
    assert_eq!(
        (&zuora["account"], &zuora["discovers"]),
        (&json!("zuora account 1"), &json!("targets"))
    );
    let token = call(zuora, "oauth_token", 200);
    assert_eq!(
        (&token["method"], &token["path"]),
        (&json!("POST"), &json!("/oauth/token"))
    );
    let scopes = &token["body"]["json"]["keys"]["scope"]["scopes"];
    assert_eq!(scopes["classes"]["entity.<UUID with hyphens>"], 5);
    let rows = call(zuora, "entity_connections", 200);
    assert_eq!(rows["responses"].as_array().unwrap().len(), 4);
    assert_eq!(
        rows["responses"][0]["query"],
        json!({"page": "1", "pageSize": "300"})
    );
    let status = &field(rows, "entityConnections", "status")["values"];
    assert!(status["Connected"].as_u64() > Some(5), "{status}");
    let read = &zuora["interpretation"];
    assert_eq!(
        read["entities"],
        json!({
            "by_status": {"provisioned": 4, "unprovisioned": 1}, "with_a_name": 5,
            "with_a_parent": 4, "different_tenants": 1, "unreached": 0,
        })
    );
    let target = &read["targets"][0];
    assert_eq!(
        (&target["outcome"], &target["last_page"]),
        (
            &json!("listed"),
            &json!("no nextPage, and fewer rows than pageSize")
        )
    );

    let zis = account(&report, "zis");
    let page = call(zis, "connections_all", 200);
    assert_eq!(
        page["path"],
        "/api/services/zis/integrations/{…}/connections/all"
    );
    let paging = &page["responses"][0]["paging"];
    assert_eq!(
        paging,
        &json!({"has_more": "false", "after": "ASCII text", "before": "ASCII text"})
    );
    let clients = call(zis, "oauth_clients", 200);
    assert!(field(clients, "clients", "client_secret")["texts"]["ASCII text"].is_object());
    call(zis, "current_token", 200);
    let jobs = &zis["interpretation"]["jobs"];
    assert_eq!(
        jobs,
        &json!({"current_token": {"done": 3}, "oauth_clients": {"done": 3}})
    );
    let grants = &zis["interpretation"]["targets"][0]["listing"]["grants"];
    assert_eq!(
        (&grants["connections"], &grants["with_a_known_grant"]),
        (&json!(4), &json!(4))
    );
}

#[tokio::test]
async fn optional_fields_that_are_absent_or_null_are_told() {
    let report = report_on(&simulator(Form::Sparse, Sizes::default())).await;
    let zis = account(&report, "zis");
    let page = call(zis, "connections_all", 200);
    let expiry = field(page, "oauth", "token_expiry");
    assert_eq!(expiry["seen"], expiry["null"]);
    assert!(field(page, "oauth", "permission_scope").is_null());
    assert_eq!(
        zis["interpretation"]["targets"][0]["listing"]["expiry"],
        json!({"none": 10})
    );
    let zuora = account(&report, "zuora");
    let token = call(zuora, "oauth_token", 200);
    assert!(token["body"]["json"]["keys"]["expires_in"].is_null());
    assert_eq!(zuora["interpretation"]["targets"][0]["outcome"], "listed");
}

#[tokio::test]
async fn pages_other_dates_and_ids_with_hyphens_are_told() {
    let sizes = Sizes {
        entities: 2,
        entity_connections: 700,
        integrations: 1,
        integration_connections: 250,
    };
    let report = report_on(&simulator(Form::Varied, sizes)).await;
    let zuora = account(&report, "zuora");
    let rows = call(zuora, "entity_connections", 200);
    let responses = rows["responses"].as_array().unwrap().iter();
    let lengths: Vec<_> = responses
        .map(|one| (&one["target"], &one["arrays"]["entityConnections"]))
        .collect();
    let expected = [1, 1, 1, 2, 2, 2].map(|target| json!(target));
    let rows_of = [300, 300, 100, 300, 300, 100].map(|rows| json!(rows));
    let expected: Vec<_> = expected.iter().zip(&rows_of).collect();
    assert_eq!(lengths, expected);
    assert_eq!(
        rows["responses"][0]["paging"]["nextPage"],
        "URL on localhost"
    );
    let id = &field(rows, "entityConnections", "id")["texts"];
    assert_eq!(id["UUID with hyphens"]["count"], 1400);
    assert_eq!(zuora["interpretation"]["targets"][0]["pages_received"], 3);
    let token = call(zuora, "oauth_token", 200);
    assert_eq!(
        token["body"]["json"]["keys"]["expires_in"]["numbers"],
        json!({"fraction, digits before the point: 4": 1})
    );
    let page = call(account(&report, "zis"), "connections_all", 200);
    let pages = page["responses"].as_array().unwrap();
    assert_eq!(pages.len(), 3);
    assert_eq!(pages[0]["arrays"]["oauth"], 40);
    assert_eq!(
        pages[1]["query"]["page[after]"],
        "ASCII text (4 characters)"
    );
    let created = &field(page, "api_key", "created_at")["texts"];
    let form = "RFC 3339, fraction of 6 digits, offset, past";
    assert_eq!(created[form]["count"], 50, "{created}");
}

#[tokio::test]
async fn refusals_and_broken_answers_are_told() {
    let simulator = simulator(Form::Documented, Sizes::default());
    for (kind, endpoint) in [
        (Kind::Refuse, "entity_connections"),
        (Kind::Html, "connections_all"),
        (Kind::Reset, "current_token"),
        (Kind::Truncate, "oauth_clients"),
    ] {
        simulator.fail(Fault {
            endpoint: Some(endpoint.to_owned()),
            ..Fault::new(kind)
        });
    }
    let report = report_on(&simulator).await;
    let zuora = account(&report, "zuora");
    let refused = call(zuora, "entity_connections", 200);
    assert_eq!(
        field(refused, "reasons", "code")["numbers"],
        json!({"code 500000 30": 4})
    );
    let failure = &zuora["interpretation"]["targets"][0]["failure"];
    assert_eq!(
        failure,
        &json!({
            "call": "entity_connections", "reason": "refused", "status": 200,
            "codes": ["code 500000 30"],
        })
    );
    let zis = account(&report, "zis");
    let page = call(zis, "connections_all", 200);
    assert_eq!(page["body"]["kinds"], json!({"HTML": 3}));
    assert_eq!(
        zis["interpretation"]["targets"][0]["failure"]["reason"],
        "decode"
    );
}

#[tokio::test]
async fn what_is_there_is_not_overwritten_and_nothing_is_asked_before_that_is_told() {
    let simulator = simulator(Form::Documented, Sizes::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (text, env) = simulator.configuration(address, "  interval: 1h\n");
    let _serving = AbortOnDropHandle::new(tokio::spawn(simulator.clone().serve(listener)));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, text).unwrap();
    for (name, problem) in [
        ("config.yaml", "exists, and is not overwritten"),
        ("none/report.json", "cannot be written: No such file"),
    ] {
        let to = folder.path().join(name);
        let (code, said) = check(&config, &to, &env).await;
        let expected = format!("{} {problem}", to.display());
        assert!(code == 1 && said.starts_with(&expected), "{said}");
    }
    assert_eq!(simulator.requests("connections_all"), 0);
    let to = folder.path().join("report.json");
    let (_, said) = check(&config, &to, &env).await;
    let told = format!("{}: the report was written. Read it", to.display());
    assert!(said.contains(&told), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// What two reports must have in common: everything but times, sizes in bytes and the lengths of
/// texts that a replay makes up.
fn comparable(report: &Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => {
                for key in ["ms", "bytes", "order", "version"] {
                    members.remove(key);
                }
                if let Some(texts) = members.get_mut("texts").and_then(Value::as_object_mut) {
                    for (_, class) in texts.iter_mut().filter(|(_, class)| class.is_object()) {
                        class["lengths"] = Value::Null;
                    }
                }
                for (_, value) in members {
                    walk(value);
                }
            }
            _ => {}
        }
    }
    let mut report = report.clone();
    walk(&mut report);
    for account in report["accounts"].as_array_mut().unwrap() {
        account["interpretation"] = Value::Null;
        // The replay needs another way to send its bodies.
        for call in account["calls"].as_array_mut().unwrap() {
            if let Some(headers) = call["headers"].as_object_mut() {
                headers.remove("content_encoding");
                let names = headers["names"].as_object_mut().unwrap();
                names.remove("content-encoding");
                names.remove("content-length");
            }
            for response in call["responses"].as_array_mut().unwrap() {
                if let Some(cursor) = response["query"].get_mut("page[after]") {
                    *cursor = json!("a cursor");
                }
            }
        }
    }
    report
}

#[tokio::test]
async fn a_replay_of_a_report_has_the_same_shapes() {
    let several = Sizes {
        integration_connections: 130,
        entity_connections: 900,
        ..Sizes::default()
    };
    for (form, sizes) in [
        (Form::Documented, Sizes::default()),
        (Form::Sparse, Sizes::default()),
        (Form::Varied, several),
    ] {
        let first = report_on(&simulator(form, sizes)).await;
        let text = first.to_string();
        let replay = Simulator::replay(text.as_bytes(), Vec::new(), Timestamp::now).unwrap();
        let again = report_on(&replay).await;
        let (one, other) = (comparable(&first), comparable(&again));
        for (one, other) in one["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .zip(other["accounts"].as_array().unwrap())
        {
            let (one, other) = (&one["calls"], &other["calls"]);
            for (one, other) in one
                .as_array()
                .unwrap()
                .iter()
                .zip(other.as_array().unwrap())
            {
                assert_eq!(one, other, "{form:?}: {one:#}\n{other:#}");
            }
        }
        assert_eq!(one, other);
        let outcomes = |report: &Value| {
            let targets = account(report, "zis")["interpretation"]["targets"].clone();
            let outcome = |target: &Value| {
                let listing = &target["listing"];
                (
                    target["outcome"].clone(),
                    target["pages_received"].clone(),
                    listing["connections"].clone(),
                    listing["grants"]["with_a_known_grant"].clone(),
                )
            };
            targets
                .as_array()
                .unwrap()
                .iter()
                .map(outcome)
                .collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&first), outcomes(&again));
    }
}

#[tokio::test]
async fn a_replay_of_refusals_has_the_same_shapes() {
    let simulator = simulator(Form::Documented, Sizes::default());
    for (kind, endpoint) in [
        (Kind::Refuse, "entity_connections"),
        (Kind::Refuse, "connections_all"),
    ] {
        simulator.fail(Fault {
            endpoint: Some(endpoint.to_owned()),
            ..Fault::new(kind)
        });
    }
    let first = report_on(&simulator).await;
    let text = first.to_string();
    let replay = Simulator::replay(text.as_bytes(), Vec::new(), Timestamp::now).unwrap();
    let again = report_on(&replay).await;
    assert_eq!(comparable(&first), comparable(&again));
    let reason = |report: &Value, system: &str| {
        account(report, system)["interpretation"]["targets"][0]["failure"].clone()
    };
    for system in ["zuora", "zis"] {
        assert_eq!(reason(&first, system), reason(&again, system));
    }
}

#[test]
fn what_is_no_report_is_not_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    for (text, said) in [
        ("{", "is no report of `connections-exporter check --report`"),
        ("{}", "missing field `connections_exporter_report`"),
        (
            r#"{"connections_exporter_report": 2, "accounts": []}"#,
            "has version 2 of the format, and this simulator reads version 1",
        ),
        (
            r#"{"connections_exporter_report": 1, "accounts": []}"#,
            "has no account of a system that is simulated",
        ),
        (
            r#"{"connections_exporter_report": 1, "accounts": [{"system": "zis", "discovers":
                "nothing", "calls": [{"call": "connections_all", "status": 200, "body": {"kinds":
                {"JSON": 1}, "json": {"seen": 1, "arrays": {"count": 1, "lengths": [9999999999,
                9999999999]}, "elements": {"seen": 1, "null": 1}}}, "responses": [{}]}]}]}"#,
            "describes more values than a simulator should hold",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = exporter(&["simulate", "--simulator.listen-address=127.0.0.1:0"])
            .arg("--simulator.replay")
            .arg(&file)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let named = stderr.starts_with(&file.display().to_string());
        assert!(named && stderr.contains(said), "{text}: {stderr}");
    }
}

/// Mock of an `OpenAPI` description: it answers with its examples, and refuses every request that
/// the description does not allow.
struct OpenApi(Value);

impl Respond for OpenApi {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match self.answer(request) {
            Ok((status, example)) => ResponseTemplate::new(status).set_body_json(example),
            Err(problem) => ResponseTemplate::new(400).set_body_string(problem),
        }
    }
}

impl OpenApi {
    fn answer(&self, request: &Request) -> Result<(u16, &Value), String> {
        let paths = self.0["paths"].as_object().unwrap();
        let segments: Vec<_> = request.url.path().split('/').collect();
        let matches = |template: &str| {
            let parts: Vec<_> = template.split('/').collect();
            let mut pairs = parts.iter().zip(&segments);
            parts.len() == segments.len()
                && pairs.all(|(part, text)| part == text || part.starts_with('{'))
        };
        let found = paths.iter().find(|(template, _)| matches(template));
        let (_, operations) = found.ok_or("no such path")?;
        let operation = &operations[request.method.as_str().to_lowercase()];
        let parameters = operation["parameters"].as_array().ok_or("no such method")?;
        let named = |place: &str, name: &str| {
            let same = |one: &&Value| {
                one["in"] == place && one["name"].as_str().unwrap().eq_ignore_ascii_case(name)
            };
            parameters.iter().find(same)
        };
        let mut given = Vec::new();
        for (key, value) in request.url.query_pairs() {
            let parameter = named("query", &key).ok_or(format!("unknown parameter {key}"))?;
            allowed(&parameter["schema"], &value)?;
            given.push(key.to_lowercase());
        }
        for (key, value) in &request.headers {
            if let Some(parameter) = named("header", key.as_str()) {
                allowed(&parameter["schema"], value.to_str().unwrap())?;
                given.push(key.to_string());
            }
        }
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap().to_lowercase();
            let must = parameter["required"] == true && parameter["in"] != "path";
            if must && !given.contains(&name) {
                return Err(format!("{name} is missing"));
            }
        }
        let (status, response) = operation["responses"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap();
        Ok((status.parse().unwrap(), &response["example"]))
    }
}

fn allowed(schema: &Value, text: &str) -> Result<(), String> {
    let number = text.parse::<u64>().ok();
    let fits = match schema["type"].as_str().unwrap() {
        "integer" => number.is_some_and(|number| {
            number >= schema["minimum"].as_u64().unwrap_or(0)
                && number <= schema["maximum"].as_u64().unwrap_or(u64::MAX)
        }),
        "boolean" => matches!(text, "true" | "false"),
        _ => text.len() as u64 <= schema["maxLength"].as_u64().unwrap_or(u64::MAX),
    };
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|all| all.contains(&json!(text)));
    (fits && listed)
        .then_some(())
        .ok_or(format!("{text} is not allowed"))
}

#[tokio::test]
async fn a_report_of_the_documented_samples_is_what_they_say() {
    let api: Value = serde_json::from_str(include_str!("../fixtures/openapi.json")).unwrap();
    let server = MockServer::start().await;
    let mock = Mock::given(any()).respond_with(OpenApi(api));
    mock.mount(&server).await;
    let text = format!(
        "zuora:\n  - account: production\n    base_url: {uri}\n    client_id: c\n    \
            client_secret_env: S\n    requests_per_minute: 60000\nzis:\n  - account: acme\n    \
            base_url: {uri}\n    requests_per_minute: 60000\n    integrations:\n      - name: \
            acme_slack\n        token_env: S\n",
        uri = server.uri()
    );
    let env = Env::from([("S".to_owned(), "planted-own-secret".to_owned())]);
    let (report, said) = report(&text, &env).await;
    for secret in [
        "planted",
        "acme_slack",
        "Germany",
        "example.test",
        "8a8082",
        "foobar",
    ] {
        assert!(!report.contains(secret), "{secret}");
    }
    let report: Value = serde_json::from_str(&report).unwrap();
    let zis = account(&report, "zis");
    let page = call(zis, "connections_all", 200);
    let inside = &field(page, "oauth", "oauth_access_token_response_body")["inside_text"];
    assert_eq!(
        inside["keys"]["refresh_token_expires_in"]["numbers"],
        json!({"2592000": 1})
    );
    assert_eq!(
        field(page, "basic_auth", "username")["texts"]["like an e-mail address"]["count"],
        1
    );
    assert_eq!(
        field(page, "oauth", "permission_scope")["scopes"]["classes"],
        json!({"read": 1, "write": 1})
    );
    assert!(field(page, "oauth", "oauth_client_uuid").is_null());
    let refused = call(zis, "oauth_clients", 403);
    assert_eq!(
        field(refused, "errors", "title")["values"],
        json!({"Cannot access this resource. Missing scope write": 1})
    );
    call(zis, "current_token", 401);
    let jobs = &zis["interpretation"]["jobs"];
    assert_eq!(
        jobs,
        &json!({"current_token": {"unauthorized": 1}, "oauth_clients": {"forbidden": 1}})
    );
    let zuora = account(&report, "zuora");
    let targets = zuora["interpretation"]["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2, "{said}");
    assert!(targets.iter().all(|target| target["outcome"] == "listed"));
}

/// Page for the first operator with a live account.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/first-contact.md");

#[tokio::test]
async fn the_example_in_the_documentation_is_a_report_of_the_simulator() {
    let sizes = Sizes {
        entities: 2,
        entity_connections: 1,
        integrations: 1,
        integration_connections: 1,
    };
    let mut report = report_on(&simulator(Form::Documented, sizes)).await;
    let zis = report["accounts"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|account| account["system"] == "zis")
        .unwrap();
    let calls = zis["calls"].as_array_mut().unwrap();
    calls.retain(|call| call["call"] == "connections_all");
    for response in calls[0]["responses"].as_array_mut().unwrap() {
        response["ms"] = json!(42);
        response["order"] = json!(1);
    }
    zis["interpretation"]["targets"][0]["ms"] = json!(42);
    let shown = serde_json::to_string_pretty(&zis).unwrap();
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once("```json\n").unwrap();
    let (example, after) = rest.split_once("\n```").unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(PAGE, format!("{before}```json\n{shown}\n```{after}")).unwrap();
        return;
    }
    assert_eq!(example, shown, "to update it: UPDATE_GOLDEN=1 cargo test");
}
