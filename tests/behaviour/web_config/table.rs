//! Good and bad web configurations, and the sentences for the bad ones, beside what promtool says of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use connections_exporter::web_config::WebConfig;

use crate::pki::Authority;

/// A hash of the password `builder`, made by crypt(3); and a password that no message may hold.
const HASH: &str = "$2y$04$N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";
const PLANTED: &str = "planted-password-7d1c";

const CERTIFICATE: &str = "  cert_file: server.crt\n  key_file: server.key\n";
const SPOKEN: &str = "expected one of TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, \
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
const CURVES: &str = "expected X25519, CurveP256 or CurveP384";
const BCRYPT: &str = "expected a bcrypt hash of 60 letters that begins with $2a$, $2b$ or $2y$, such as htpasswd -nBC 10 prints";
const LONG: &str = "expected 4 to 18; above that a check takes longer than Prometheus waits";
const HTTP_2: &str = "HTTP/2 over TLS 1.2 needs TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: add one, or set min_version: TLS13, or http2: false in http_server_config";
const REFERENCE: &str = "see docs/web-configuration.md for every key there is";

/// What Debian's promtool says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promtool {
    Accepts,
    Refuses,
    /// It is older than this part of the format.
    TooOld,
}
use Promtool::{Accepts, Refuses, TooOld};

struct Row {
    text: String,
    promtool: Promtool,
    /// The problems; none: it loads.
    problems: Vec<String>,
}

fn row(promtool: Promtool, text: impl Into<String>, problems: &[&str]) -> Row {
    Row {
        text: text.into(),
        promtool,
        problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
    }
}

/// With a certificate, and these lines beside it.
fn tls(lines: &str) -> String {
    format!("tls_server_config:\n{CERTIFICATE}{lines}")
}

fn user(hash: &str) -> String {
    format!("basic_auth_users:\n  alice: {hash}\n")
}

fn headers(lines: &str) -> String {
    format!("http_server_config:\n  headers:\n{lines}")
}

/// What loads.
fn good(authority: &str) -> Vec<Row> {
    let inline = |key: &str, pem: &str| {
        format!(
            "  {key}: |\n    {}\n",
            pem.trim_end().replace('\n', "\n    ")
        )
    };
    let names = "    Content-Security-Policy: default-src 'none'\n    Strict-Transport-Security: max-age=31536000\n    X-Content-Type-Options: nosniff\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: ''\n";
    let texts = [
        String::new(),
        "# nothing yet\n".into(),
        "tls_server_config:\n".into(),
        "tls_server_config: {}\nhttp_server_config: {}\nbasic_auth_users: {}\n".into(),
        tls(""),
        tls("  min_version: TLS13\n"),
        tls("  min_version: TLS12\n  max_version: TLS12\n"),
        // Nothing below TLS 1.2 is spoken, so these hold, too.
        tls("  min_version: TLS10\n"),
        tls("  min_version: TLS11\n  max_version: TLS13\n"),
        tls("  cipher_suites: []\n  curve_preferences: []\n"),
        tls(
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n",
        ),
        // Without HTTP/2, or without TLS 1.2, whatever suites there are will do.
        tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n")
            + "http_server_config:\n  http2: false\n",
        tls("  min_version: TLS13\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n"),
        tls("  curve_preferences: [CurveP384, X25519, CurveP256]\n"),
        tls("  prefer_server_cipher_suites: false\n"),
        tls("  client_auth_type: NoClientCert\n"),
        tls("  client_auth_type: ''\n"),
        tls("  client_auth_type: RequestClientCert\n"),
        tls("  client_auth_type: RequireClientCert\n"),
        tls("  client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.crt\n"),
        tls("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"),
        tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"),
        "http_server_config:\n  http2: false\n".into(),
        headers(names),
        user(HASH),
        user(&HASH.replace("$2y$", "$2a$")) + &format!("  'bob@host': {HASH}\n"),
        tls("") + &user(&HASH.replace("$2y$", "$2b$")),
    ];
    let mut rows: Vec<_> = texts
        .into_iter()
        .map(|text| row(Accepts, text, &[]))
        .collect();
    let newer = [
        tls(
            "  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: ['spiffe://a/b', 10.0.0.1]\n",
        ) + &inline("client_ca", authority),
        "rate_limit:\n  interval: 1s\n  burst: 20\n".into(),
        "rate_limit:\n  interval: 0s\n  burst: 0\n".into(),
        "rate_limit: {}\n".into(),
    ];
    rows.extend(newer.into_iter().map(|text| row(TooOld, text, &[])));
    rows
}

/// What promtool accepts, and cannot be honoured here.
fn refused() -> Vec<Row> {
    let weak = |name: &str| {
        format!(
            "tls_server_config.cipher_suites[0]: {name} is not spoken here, since it lacks forward secrecy or authenticated encryption: {SPOKEN}"
        )
    };
    let old = "this program speaks TLS 1.2 and 1.3 only: expected TLS12 or TLS13";
    let missing = "is missing: client_auth_type verifies clients, and Go would take the certificates of every public authority; name those whose clients may come in";
    let kind = "is of a kind that cannot be used: expected RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";
    let suite = |name: &str| tls(&format!("  cipher_suites: [{name}]\n"));
    let place = |path: &str, what: &str| format!("tls_server_config.{path}: {what}");
    let mut rows: Vec<(String, String)> = [
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    ]
    .map(|name| (suite(name), weak(name)))
    .into();
    rows.extend([
        // Go would take nobody's handshake.
        (tls("  min_version: TLS13\n  max_version: TLS12\n"), place("min_version", "is above max_version: no version is left")),
        (tls("  max_version: TLS11\n"), place("max_version", old)),
        (tls("  max_version: TLS10\n"), place("max_version", old)),
        (tls("  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"), place("cipher_suites", "leave nothing to speak: unexpected error: no usable cipher suites configured")),
        // Go would not begin to serve.
        (tls("  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"), place("cipher_suites", HTTP_2)),
        (suite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"), place("cipher_suites", HTTP_2)),
        (tls("  curve_preferences: [CurveP521]\n"), place("curve_preferences[0]", &format!("CurveP521 is not among the key exchanges of this program: {CURVES}"))),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n"), place("client_ca_file", missing)),
        (tls("  client_auth_type: VerifyClientCertIfGiven\n"), place("client_ca_file", missing)),
        // Go would let nobody in.
        (tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem\n"), place("client_ca_file", "holds no certificate in PEM form")),
        ("tls_server_config:\n  cert_file: small.crt\n  key_file: small.key\n".into(), place("key_file", kind)),
        // Go would speak no TLS at all.
        ("tls_server_config:\n  min_version: TLS13\n".into(), place("cert_file", "is missing")),
        (user(&HASH.replace("$04$", "$19$")), format!("basic_auth_users.alice: the cost of the hash is 19: {LONG}")),
        (user(&HASH.replace("$2y$", "$2z$")), format!("basic_auth_users.alice: {BCRYPT}")),
        // Go would let alice in never.
        (user(&HASH.replace('N', "!")), format!("basic_auth_users.alice: {BCRYPT}")),
        (format!("basic_auth_users:\n  'a:b': {HASH}\n"), "basic_auth_users[0]: the name of a user cannot hold a colon: it ends the name in a request".into()),
        (format!("basic_auth_users:\n  7: {HASH}\n"), "basic_auth_users[0]: the name of a user must be text: put quotes around it".into()),
        ("http_server_config:\n  http2: yes\n".into(), "http_server_config.http2: expected a boolean".into()),
        (headers("    Content-Security-Policy: \"a\\nb\"\n"), "http_server_config.headers.Content-Security-Policy: expected one line of visible characters".into()),
    ]);
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(text, problem)| row(Accepts, text, &[&problem]))
        .collect();
    // Without a minimum of its own, this one lacks its key, too.
    for row in rows
        .iter_mut()
        .filter(|row| row.text == "tls_server_config:\n  min_version: TLS13\n")
    {
        row.problems.push(place("key_file", "is missing"));
    }
    rows
}

/// What nobody takes.
fn bad() -> Vec<Row> {
    let place = |path: &str, what: &str| format!("tls_server_config.{path}: {what}");
    let gone = "cannot be read: No such file or directory (os error 2)";
    let unverified = "needs client_auth_type RequireAndVerifyClientCert: anybody can write any name into a certificate that nobody verifies";
    let auth = "expected NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
    let versions = "expected TLS10, TLS11, TLS12 or TLS13";
    let only = |lines: &str| format!("tls_server_config:\n{lines}");
    let rows = [
        ("tls_server_config: [".to_owned(), "line 2, column 1: not YAML that can be read: did not find expected node content at line 2 column 1, while parsing a flow node".to_owned()),
        ("tls_server_config: yes, please\n".into(), "tls_server_config: expected a mapping of keys to values".into()),
        ("tls_config: {}\n".into(), format!("tls_config: unknown key: {REFERENCE}")),
        (tls("  ca_file: ca.crt\n"), place("ca_file", &format!("unknown key: {REFERENCE}"))),
        (tls("  key_file: server.key\n"), "line 2, column 3: not YAML that can be read: tls_server_config: duplicate entry with key (not quoted here)".into()),
        (only("  cert_file: server.crt\n"), place("key_file", "is missing")),
        (only("  key_file: server.key\n"), place("cert_file", "is missing")),
        (only("  cert_file: nowhere.crt\n  key_file: server.key\n"), place("cert_file", &format!("nowhere.crt {gone}"))),
        (only("  cert_file: server.crt\n  key_file: /nowhere/server.key\n"), place("key_file", &format!("/nowhere/server.key {gone}"))),
        (only(&format!("  cert_file: server.crt\n  key_file: '-----BEGIN PRIVATE KEY-----{PLANTED}'\n")), place("key_file", &format!("the file named here (not shown: a secret may have been put in its place) {gone}"))),
        (only("  cert_file: .\n  key_file: server.key\n"), place("cert_file", ". is a folder: name the file in it")),
        (only("  cert_file: empty.pem\n  key_file: server.key\n"), place("cert_file", "holds no certificate in PEM form")),
        (only("  cert_file: server.crt\n  key_file: empty.pem\n"), place("key_file", "holds no private key in PEM form; one with a passphrase cannot be read")),
        (only("  cert_file: server.crt\n  key_file: locked.key\n"), place("key_file", "holds no private key in PEM form; one with a passphrase cannot be read")),
        (only("  cert_file: server.crt\n  key_file: ca.key\n"), place("key_file", "is not the key of the certificate")),
        (tls("  client_auth_type: Always\n"), place("client_auth_type", auth)),
        (tls("  client_ca_file: ca.crt\n"), place("client_auth_type", "asks for no certificate, so client_ca_file would check none: expected VerifyClientCertIfGiven or RequireAndVerifyClientCert")),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: nowhere.crt\n"), place("client_ca_file", &format!("nowhere.crt {gone}"))),
        (tls("  min_version: TLS1.2\n"), place("min_version", versions)),
        (tls("  max_version: SSL30\n"), place("max_version", versions)),
        (tls("  cipher_suites: [AES128]\n"), place("cipher_suites[0]", &format!("is no cipher suite of Go's: {SPOKEN}"))),
        (tls("  cipher_suites: TLS_AES_128_GCM_SHA256\n"), place("cipher_suites", "expected a list")),
        (tls("  curve_preferences: [X25519, P-256]\n"), place("curve_preferences[1]", &format!("is no curve of exporter-toolkit's: {CURVES}"))),
        (tls("  prefer_server_cipher_suites: perhaps\n"), place("prefer_server_cipher_suites", "expected a boolean")),
        (headers("    Server: x\n"), "http_server_config.headers.Server: cannot be set: expected one of Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection".into()),
        (headers("    X-Frame-Options: DENY\n"), "http_server_config.headers.X-Frame-Options: expected deny or sameorigin".into()),
        (headers("    X-Content-Type-Options: sniff\n"), "http_server_config.headers.X-Content-Type-Options: expected nosniff".into()),
        ("http_server_config:\n  http3: true\n".into(), format!("http_server_config.http3: unknown key: {REFERENCE}")),
        (format!("basic_auth_users: {PLANTED}\n"), "basic_auth_users: expected users, each with the bcrypt hash of the password".into()),
        (user(PLANTED), format!("basic_auth_users.alice: {BCRYPT}")),
        (user(""), format!("basic_auth_users.alice: {BCRYPT}")),
        (user(&HASH.replace("$04$", "$03$")), format!("basic_auth_users.alice: the cost of the hash is 3: {LONG}")),
        (user(&HASH.replace("$04$", "$32$")), format!("basic_auth_users.alice: the cost of the hash is 32: {LONG}")),
        (format!("basic_auth_users:\n  {HASH}: {PLANTED}\n"), format!("basic_auth_users[0]: {BCRYPT}")),
    ];
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(text, problem)| row(Refuses, text, &[&problem]))
        .collect();
    let newer = [
        (
            tls("  cert: x\n"),
            vec!["tls_server_config.cert: give cert or cert_file, not both".to_owned()],
        ),
        (
            tls("  client_allowed_sans: [a]\n"),
            vec![place("client_allowed_sans", unverified)],
        ),
        (
            tls("  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: []\n"),
            vec![
                place("client_allowed_sans", unverified),
                place(
                    "client_allowed_sans",
                    "is empty: nobody could connect; name at least one, or leave the key out",
                ),
            ],
        ),
        (
            "rate_limit:\n  interval: 1s\n".into(),
            vec![
                "rate_limit.burst: must be at least 1: with 0 no request would be answered".into(),
            ],
        ),
        (
            "rate_limit:\n  interval: 1\n  burst: 1\n".into(),
            vec![
                "rate_limit.interval: expected a duration with a unit, such as 30s, 5m or 1h"
                    .into(),
            ],
        ),
    ];
    rows.extend(newer.into_iter().map(|(text, problems)| Row {
        text,
        promtool: TooOld,
        problems,
    }));
    // All at once.
    rows.push(Row {
        text: format!("tls_server_config:\n  key: {PLANTED}\n  min_version: x\nhttp_server_config:\n  headers:\n    A: b\nbasic_auth_users:\n  a: {PLANTED}\n  b: {PLANTED}\n"),
        promtool: Refuses,
        problems: vec![
                place("min_version", versions),
                place("cert_file", "is missing"),
                place("key", "holds no private key in PEM form; one with a passphrase cannot be read"),
                "http_server_config.headers.A: cannot be set: expected one of Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection".into(),
                format!("basic_auth_users.a: {BCRYPT}"),
                format!("basic_auth_users.b: {BCRYPT}"),
            ],
    });
    rows
}

/// The files that the rows name, and the rows.
fn table(folder: &Path) -> Vec<Row> {
    let authority = Authority::new();
    authority.server().write(folder, "server");
    authority.server().write(folder, "ca");
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    fs::write(folder.join("empty.pem"), "nothing\n").unwrap();
    for name in ["small.crt", "small.key", "locked.key"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/web");
        fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let rows = [good(&authority.pem()), refused(), bad()];
    rows.into_iter().flatten().collect()
}

#[tokio::test]
async fn each_web_configuration_loads_or_is_refused_with_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    let rows = table(folder.path());
    assert!(rows.len() >= 60);
    let mut wrong = Vec::new();
    for row in rows {
        fs::write(&file, &row.text).unwrap();
        let problems = match WebConfig::load(&file).await {
            Ok(_) => Vec::new(),
            Err(problems) => {
                let text = problems.to_string();
                assert!(
                    !text.contains(PLANTED) && !text.contains(&HASH[7..20]),
                    "{text}"
                );
                let start = format!("{}: ", file.display());
                text.lines()
                    .map(|line| line.strip_prefix(&start).unwrap().to_owned())
                    .collect()
            }
        };
        if problems != row.problems {
            wrong.push(format!(
                "{}{problems:#?}, not {:#?}",
                row.text, row.problems
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn the_documented_example_loads() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    fs::copy(
        folder.path().join("ca.crt"),
        folder.path().join("clients.crt"),
    )
    .unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/web-configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, example) = page.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let file = folder.path().join("web.yaml");
    fs::write(&file, example).unwrap();
    let settings = WebConfig::load(&file).await.unwrap().current();
    assert!(settings.tls.is_some() && settings.headers.len() == 1);
}

#[test]
#[ignore = "needs promtool: make test"]
fn whatever_promtool_accepts_loads_or_is_refused_for_a_reason_of_this_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    for row in table(folder.path()) {
        fs::write(&file, &row.text).unwrap();
        let promtool = Command::new("promtool")
            .args(["check", "web-config"])
            .arg(&file)
            .output()
            .unwrap();
        let accepts = promtool.status.success();
        let said = String::from_utf8_lossy(&promtool.stderr);
        let said = format!(
            "{}\n{}{said}",
            row.text,
            String::from_utf8_lossy(&promtool.stdout)
        );
        assert_eq!(accepts, row.promtool == Accepts, "{said}");
        if row.promtool == TooOld {
            assert!(said.contains("not found in type"), "{said}");
        }
    }
}
