//! Valid and invalid web configurations, with the exact errors, and the verdict of promtool.

use std::fs;
use std::path::Path;
use std::process::Command;

use connections_exporter::web::config::WebConfig;

use crate::configurations::with_a_secret;
use crate::pki::Authority;

/// Hash of the password `builder`, made by crypt(3). No message may contain it or [`PLANTED`].
const HASH: &str = "$2y$04$N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";
const PLANTED: &str = "planted-password-7d1c";

const CERTIFICATE: &str = "  cert_file: server.crt\n  key_file: server.key\n";
const SPOKEN: &str = "expected one of TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, \
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
const CURVES: &str = "expected X25519, CurveP256, CurveP384 or X25519MLKEM768";
const BCRYPT: &str = "expected a bcrypt hash of 60 letters that begins with $2a$, $2b$ or $2y$, \
    such as htpasswd -nBC 10 prints";
const LONG: &str = "expected 4 to 18; above that a check takes longer than Prometheus waits";
const HTTP_2: &str = "HTTP/2 over TLS 1.2 needs TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or \
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: add one, or set min_version: TLS13, or http2: false in \
    http_server_config";
const HEADERS: &str = "http_server_config.headers: an unknown key: expected Content-Security-Policy, \
    Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options or X-XSS-Protection";
const NOT_SHOWN: &str = "the file named here (not shown: a secret may have been put in its place)";

/// Verdict of Debian's promtool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promtool {
    Accepts,
    Refuses,
    /// Refuses, because it is older than this part of the format.
    TooOld,
}
use Promtool::{Accepts, Refuses, TooOld};

struct Row {
    text: String,
    promtool: Promtool,
    /// Expected errors; empty if the configuration loads.
    problems: Vec<String>,
}

fn row(promtool: Promtool, text: impl Into<String>, problems: &[&str]) -> Row {
    Row {
        text: text.into(),
        promtool,
        problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
    }
}

/// Returns a TLS configuration with a certificate and these lines.
fn tls(lines: &str) -> String {
    format!("tls_server_config:\n{CERTIFICATE}{lines}")
}

fn user(hash: &str) -> String {
    format!("basic_auth_users:\n  alice: {hash}\n")
}

fn headers(lines: &str) -> String {
    format!("http_server_config:\n  headers:\n{lines}")
}

/// Returns the configurations that load.
fn good(authority: &str) -> Vec<Row> {
    let inline = |key: &str, pem: &str| {
        format!(
            "  {key}: |\n    {}\n",
            pem.trim_end().replace('\n', "\n    ")
        )
    };
    let names = "    Content-Security-Policy: default-src 'none'\n    Strict-Transport-Security: \
        max-age=31536000\n    X-Content-Type-Options: nosniff\n    X-Frame-Options: \
        sameorigin\n    X-XSS-Protection: ''\n";
    let texts = [
        String::new(),
        "# nothing yet\n".into(),
        "tls_server_config:\n".into(),
        "tls_server_config: {}\nhttp_server_config: {}\nbasic_auth_users: {}\n".into(),
        tls(""),
        tls("  min_version: TLS13\n"),
        tls("  min_version: TLS12\n  max_version: TLS12\n"),
        // These minimums are met, because only TLS 1.2 and 1.3 are supported.
        tls("  min_version: TLS10\n"),
        tls("  min_version: TLS11\n  max_version: TLS13\n"),
        tls("  cipher_suites: []\n  curve_preferences: []\n"),
        tls(
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256, \
                TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n",
        ),
        // Without HTTP/2 or without TLS 1.2, no particular cipher suite is required.
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
        tls("  client_ca_file: ''\n  client_auth_type: ''\n"),
        "http_server_config:\n  http2: false\n".into(),
        headers(names),
        headers("    X-XSS-Protection: 0\n"),
        headers(
            "    X-XSS-Protection: 1\n    Strict-Transport-Security: 1.0\n    \
                Content-Security-Policy: true\n",
        ),
        format!("\u{feff}{}{}", tls(""), user(HASH)),
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
            "  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: \
                ['spiffe://a/b', 10.0.0.1]\n",
        ) + &inline("client_ca", authority),
        "rate_limit:\n  interval: 1s\n  burst: 20\n".into(),
        "rate_limit:\n  interval: 0s\n  burst: 0\n".into(),
        "rate_limit: {}\n".into(),
        "rate_limit: {interval: 0, burst: 0}\n".into(),
        "rate_limit: {interval: '0', burst: 3}\n".into(),
        "rate_limit: {interval: 1m30s, burst: 3}\n".into(),
        "rate_limit: {interval: 1.5s, burst: 3}\n".into(),
        tls("  cert: ''\n  key: ''\n  client_ca: ''\n"),
        tls("  curve_preferences: [X25519MLKEM768]\n"),
    ];
    rows.extend(newer.into_iter().map(|text| row(TooOld, text, &[])));
    rows
}

/// Returns the configurations that promtool accepts, but that this program cannot apply.
fn refused() -> Vec<Row> {
    let weak = |name: &str| {
        format!(
            "tls_server_config.cipher_suites[0]: {name} is not spoken here, since it lacks forward \
                secrecy or authenticated encryption: {SPOKEN}"
        )
    };
    let old = "this program speaks TLS 1.2 and 1.3 only: expected TLS12 or TLS13";
    let missing = "is missing: client_auth_type verifies clients, and Go would take the \
        certificates of every public authority; name those whose clients may come in";
    let kind = "is of a kind that cannot be used: expected RSA of 2048 to 8192 bits, ECDSA on \
        P-256, P-384 or P-521, or Ed25519";
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
        // Go would fail every handshake.
        (tls("  min_version: TLS13\n  max_version: \
            TLS12\n"), place("min_version", "is above max_version: no version is left")),
        (tls("  max_version: TLS11\n"), place("max_version", old)),
        (tls("  max_version: TLS10\n"), place("max_version", old)),
        (tls("  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"), place("cipher_suites", "leave nothing to speak: unexpected error: no usable cipher suites configured")),
        // Go would fail to start the server.
        (tls("  max_version: TLS12\n  cipher_suites: \
            [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n"), place("cipher_suites", HTTP_2)),
        (suite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"), place("cipher_suites", HTTP_2)),
        (tls("  curve_preferences: [CurveP521]\n"), place("curve_preferences[0]", &format!("CurveP521 is not among the key exchanges of this program: {CURVES}"))),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n"), place("client_ca_file", missing)),
        (tls("  client_auth_type: VerifyClientCertIfGiven\n"), place("client_ca_file", missing)),
        // Go would reject every client.
        (tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: \
            empty.pem\n"), place("client_ca_file", "holds no certificate in PEM form")),
        ("tls_server_config:\n  cert_file: small.crt\n  key_file: \
            small.key\n".into(), place("key_file", kind)),
        // Go would serve without TLS.
        ("tls_server_config:\n  min_version: TLS13\n".into(), place("cert_file", "is missing")),
        (user(&HASH.replace("$04$", "$19$")), format!("basic_auth_users[0]: the cost of the hash \
            is 19: {LONG}")),
        (user(&HASH.replace("$2y$", "$2z$")), format!("basic_auth_users[0]: {BCRYPT}")),
        // Go would never accept a password of this user.
        (user(&HASH.replace('N', "!")), format!("basic_auth_users[0]: {BCRYPT}")),
        (format!("basic_auth_users:\n  'a:b': {HASH}\n"), "basic_auth_users[0]: the name of a user \
            cannot hold a colon: it ends the name in a request".into()),
        (format!("basic_auth_users:\n  7: {HASH}\n"), "basic_auth_users[0]: the name of a user \
            must be text: put quotes around it".into()),
        ("http_server_config:\n  http2: yes\n".into(), "http_server_config.http2: expected true or \
            false".into()),
        (headers("    Content-Security-Policy: \"a\\nb\"\n"), "http_server_config.headers.Content-Security-Policy: expected one line of visible characters".into()),
    ]);
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(text, problem)| row(Accepts, text, &[&problem]))
        .collect();
    // This configuration lacks its key too, which is a second error.
    for row in rows
        .iter_mut()
        .filter(|row| row.text == "tls_server_config:\n  min_version: TLS13\n")
    {
        row.problems.push(place("key_file", "is missing"));
    }
    rows
}

/// Returns the configurations that neither promtool nor this program accepts.
#[expect(clippy::too_many_lines, reason = "a table, row by row")]
fn bad() -> Vec<Row> {
    let place = |path: &str, what: &str| format!("tls_server_config.{path}: {what}");
    let gone = "cannot be read: No such file or directory (os error 2)";
    let unverified = "needs client_auth_type RequireAndVerifyClientCert: anybody can write any \
        name into a certificate that nobody verifies";
    let auth = "expected NoClientCert, RequestClientCert, RequireAnyClientCert, \
        VerifyClientCertIfGiven or RequireAndVerifyClientCert";
    let versions = "expected TLS10, TLS11, TLS12 or TLS13";
    let only = |lines: &str| format!("tls_server_config:\n{lines}");
    let rows = [
        (
            "tls_server_config: [".to_owned(),
            "expected a value, or the bracket that closes the list or mapping before".to_owned(),
        ),
        (
            "tls_server_config: yes, please\n".into(),
            "tls_server_config: expected a mapping of keys to values".into(),
        ),
        (
            "tls_config: {}\n".into(),
            "tls_config: unknown key: did you mean tls_server_config?".into(),
        ),
        (
            tls("  ca_file: ca.crt\n"),
            place("ca_file", "unknown key: did you mean client_ca_file?"),
        ),
        (
            tls("  key_file: server.key\n"),
            place("key_file", "is there twice, first on line 3: remove one"),
        ),
        (
            only("  cert_file: server.crt\n"),
            place("key_file", "is missing"),
        ),
        (
            only("  key_file: server.key\n"),
            place("cert_file", "is missing"),
        ),
        (
            only("  cert_file: nowhere.crt\n  key_file: server.key\n"),
            place("cert_file", &format!("{NOT_SHOWN} {gone}")),
        ),
        (
            only("  cert_file: server.crt\n  key_file: /nowhere/server.key\n"),
            place("key_file", &format!("{NOT_SHOWN} {gone}")),
        ),
        (
            only(&format!(
                "  cert_file: server.crt\n  key_file: '-----BEGIN PRIVATE KEY-----{PLANTED}'\n"
            )),
            place("key_file", &format!("{NOT_SHOWN} {gone}")),
        ),
        (
            only("  cert_file: .\n  key_file: server.key\n"),
            place("cert_file", ". is a directory: name the file in it"),
        ),
        (
            only("  cert_file: empty.pem\n  key_file: server.key\n"),
            place("cert_file", "holds no certificate in PEM form"),
        ),
        (
            only("  cert_file: server.crt\n  key_file: empty.pem\n"),
            place(
                "key_file",
                "holds no private key in PEM form; one with a passphrase cannot be read",
            ),
        ),
        (
            only("  cert_file: server.crt\n  key_file: locked.key\n"),
            place(
                "key_file",
                "holds no private key in PEM form; one with a passphrase cannot be read",
            ),
        ),
        (
            only("  cert_file: server.crt\n  key_file: ca.key\n"),
            place("key_file", "is not the key of the certificate"),
        ),
        (
            tls("  client_auth_type: Always\n"),
            place("client_auth_type", auth),
        ),
        (
            tls("  client_ca_file: ca.crt\n"),
            place(
                "client_auth_type",
                "asks for no certificate, so client_ca_file would check none: expected \
                    VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            ),
        ),
        (
            tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: nowhere.crt\n"),
            place("client_ca_file", &format!("{NOT_SHOWN} {gone}")),
        ),
        (
            tls("  min_version: TLS1.2\n"),
            place("min_version", versions),
        ),
        (
            tls("  max_version: SSL30\n"),
            place("max_version", versions),
        ),
        (
            tls("  cipher_suites: [AES128]\n"),
            place(
                "cipher_suites[0]",
                &format!("is no cipher suite of Go's: {SPOKEN}"),
            ),
        ),
        (
            tls("  cipher_suites: TLS_AES_128_GCM_SHA256\n"),
            place("cipher_suites", "expected a list"),
        ),
        (
            tls("  curve_preferences: [X25519, P-256]\n"),
            place(
                "curve_preferences[1]",
                &format!("is no curve of exporter-toolkit's: {CURVES}"),
            ),
        ),
        (
            tls("  prefer_server_cipher_suites: perhaps\n"),
            place("prefer_server_cipher_suites", "expected true or false"),
        ),
        (headers("    Server: x\n"), HEADERS.into()),
        (
            headers("    X-Frame-Options: DENY\n"),
            "http_server_config.headers.X-Frame-Options: expected deny or sameorigin".into(),
        ),
        (
            headers("    X-Content-Type-Options: sniff\n"),
            "http_server_config.headers.X-Content-Type-Options: expected nosniff".into(),
        ),
        (
            "http_server_config:\n  http3: true\n".into(),
            "http_server_config.http3: unknown key: did you mean http2?".into(),
        ),
        (
            format!("basic_auth_users: {PLANTED}\n"),
            "basic_auth_users: expected users, each with the bcrypt hash of the password".into(),
        ),
        (user(PLANTED), format!("basic_auth_users[0]: {BCRYPT}")),
        (user(""), format!("basic_auth_users[0]: {BCRYPT}")),
        (
            user(&HASH.replace("$04$", "$03$")),
            format!("basic_auth_users[0]: the cost of the hash is 3: {LONG}"),
        ),
        (
            user(&HASH.replace("$04$", "$32$")),
            format!("basic_auth_users[0]: the cost of the hash is 32: {LONG}"),
        ),
        (
            format!("basic_auth_users:\n  {HASH}: {PLANTED}\n"),
            format!("basic_auth_users[0]: {BCRYPT}"),
        ),
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
                "rate_limit.interval: expected a duration with a unit, such as 30s, 5m, 1h or 1d"
                    .into(),
            ],
        ),
    ];
    rows.extend(newer.into_iter().map(|(text, problems)| Row {
        text,
        promtool: TooOld,
        problems,
    }));
    // All errors are reported at once.
    rows.push(Row {
        text: format!(
            "tls_server_config:\n  key: {PLANTED}\n  min_version: \
            x\nhttp_server_config:\n  headers:\n    A: b\nbasic_auth_users:\n  a: {PLANTED}\n  b: \
            {PLANTED}\n"
        ),
        promtool: Refuses,
        problems: vec![
            place("min_version", versions),
            place("cert_file", "is missing"),
            place(
                "key",
                "holds no private key in PEM form; one with a passphrase cannot be \
                    read",
            ),
            HEADERS.into(),
            format!("basic_auth_users[0]: {BCRYPT}"),
            format!("basic_auth_users[1]: {BCRYPT}"),
        ],
    });
    rows
}

/// Returns the configurations that exporter-toolkit's own tests load, with the errors here.
///
/// The name is that of the file in its `web/testdata`.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn toolkit() -> Vec<(&'static str, String, Vec<String>)> {
    let loads = Vec::new;
    let given = "  client_auth_type: VerifyClientCertIfGiven\n";
    // Verifies clients without authorities; docs/web-configuration.md explains the refusal.
    let open = "tls_server_config.client_ca_file: is missing: client_auth_type verifies clients, \
        and Go would take the certificates of every public authority; name those whose clients may \
        come in";
    let place = |path: &str, what: &str| format!("tls_server_config.{path}: {what}");
    let weak = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
    ];
    let p521 = "CurveP521 is not among the key exchanges of this program";
    let suites: Vec<_> = weak.iter().map(|name| format!("  - {name}\n")).collect();
    let suites = suites.concat();
    let refused_suites = weak.iter().enumerate().map(|(index, name)| {
        place(
            &format!("cipher_suites[{index}]"),
            &format!(
                "{name} is not spoken here, since it \
            lacks forward secrecy or authenticated encryption: {SPOKEN}"
            ),
        )
    });
    vec![
        ("empty", String::new(), loads()),
        (
            "headers.good",
            headers(
                "    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=31536000; \
                    includeSubDomains\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: \
                    1\n",
            ),
            loads(),
        ),
        ("noAuth.good", tls(given), vec![open.into()]),
        (
            "noAuth.good.blocking",
            tls("  client_auth_type: RequireAndVerifyClientCert\n"),
            vec![open.into()],
        ),
        (
            "noAuth.requireanyclientcert.good",
            tls("  client_auth_type: RequireAnyClientCert\n"),
            loads(),
        ),
        (
            "noAuth.requireandverifyclientcert.good",
            tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"),
            loads(),
        ),
        (
            "auth_client_san.good",
            tls(
                "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
                    client_allowed_sans:\n  - one\n  - two\n",
            ),
            loads(),
        ),
        (
            "noAuth_allCiphers.good",
            tls(&format!("  cipher_suites:\n{suites}")),
            refused_suites.collect(),
        ),
        (
            "noAuth_someCiphers.good",
            tls(
                "  cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  min_version: \
                    TLS12\n  max_version: TLS12\n",
            ),
            loads(),
        ),
        (
            "noAuth_allCurves.good",
            tls("  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519, X25519MLKEM768]\n"),
            vec![place("curve_preferences[2]", &format!("{p521}: {CURVES}"))],
        ),
        (
            "noAuth_someCurves.good",
            tls("  curve_preferences:\n  - CurveP521\n"),
            vec![place("curve_preferences[0]", &format!("{p521}: {CURVES}"))],
        ),
        (
            "noAuth_noHTTP2.good",
            tls(
                "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n  max_version: \
                    TLS12\n",
            ) + "http_server_config:\n  http2: false\n",
            loads(),
        ),
        (
            "rate_limiter_headers",
            "rate_limit:\n  interval: 1h\n  burst: 1\n".into(),
            loads(),
        ),
        (
            "rate_limiter_nonblocking",
            "rate_limit:\n  interval: 0\n  burst: 0\n".into(),
            loads(),
        ),
        // Go would respond with 429 to every request.
        (
            "rate_limiter_one_second",
            "rate_limit:\n  interval: \"1s\"\n  burst: 0\n".into(),
            vec![
                "rate_limit.burst: must be at least 1: with 0 no request would be answered".into(),
            ],
        ),
        (
            "users_noTLS.good",
            user(HASH) + &format!("  bob: {}\n", HASH.replace("$04$", "$18$")),
            loads(),
        ),
    ]
}

#[tokio::test]
async fn what_exporter_toolkit_loads_in_its_own_tests_loads_or_is_refused_for_a_documented_reason()
{
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    let file = folder.path().join("web.yaml");
    for (name, text, expected) in toolkit() {
        fs::write(&file, text).unwrap();
        assert_eq!(problems_of(&file).await, expected, "{name}");
    }
}

/// Returns the errors of a web configuration without their positions.
///
/// Asserts that each position is in the file.
async fn problems_of(file: &Path) -> Vec<String> {
    let Err(problems) = WebConfig::load(file).await else {
        return Vec::new();
    };
    let content = fs::read_to_string(file).unwrap();
    let said = problems.to_string();
    let start = format!("{}:", file.display());
    let lines = said.lines().map(|line| {
        let line = line.strip_prefix(&start).unwrap();
        let (place, what) = line.split_once(": ").unwrap();
        let (line, column) = place.split_once(':').unwrap();
        let (line, column): (usize, usize) = (line.parse().unwrap(), column.parse().unwrap());
        let text = content.lines().nth(line - 1).unwrap_or_default();
        assert!(column <= text.chars().count() + 1, "{said}");
        what.to_owned()
    });
    lines.collect()
}

#[tokio::test]
async fn each_problem_of_a_web_configuration_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    let file = folder.path().join("web.yaml");
    for (text, said) in [
        (
            tls("  min_version: TLS1\n"),
            "4:16: tls_server_config.min_version: expected TLS10, TLS11, TLS12 or TLS13",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n".into(),
            "2:3: tls_server_config.key_file: is missing",
        ),
        (
            "http_server_config:\n  htp2: true\n".into(),
            "2:3: http_server_config.htp2: unknown key: did you mean http2?",
        ),
        (
            format!("basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n"),
            "3:3: basic_auth_users: a key is there twice, first on line 2: remove one",
        ),
        (
            format!("basic_auth_users:\n  {PLANTED}: name\n"),
            &format!("2:{}: basic_auth_users[0]: {BCRYPT}", PLANTED.len() + 5),
        ),
        (
            "tls_server_config:\n\tcert_file: server.crt\n".into(),
            "2:1: tabs cannot indent YAML: use spaces",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let problems = WebConfig::load(&file).await.unwrap_err().to_string();
        assert_eq!(problems, format!("{}:{said}", file.display()));
    }
}

#[tokio::test]
async fn whatever_stands_in_place_of_a_key_or_a_value_of_it_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    let file = folder.path().join("web.yaml");
    let text = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: \
            RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [name]\n  \
            min_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  curve_preferences: \
            [X25519]\nhttp_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: \
            deny\nbasic_auth_users:\n  alice: {HASH}\nrate_limit:\n  interval: 1s\n  burst: 1\n"
    );
    let mut refused = 0;
    for secret in [
        "S3cretS3cret",
        "mysecretpassphrase",
        "/S3cret/S3cret",
        "key:S3cret",
        "key_S3cret",
    ] {
        for text in with_a_secret(&text, secret) {
            fs::write(&file, text).unwrap();
            if let Err(problems) = WebConfig::load(&file).await {
                refused += 1;
                let said = problems.to_string();
                assert!(
                    !said.contains("S3cret") && !said.contains("passphrase"),
                    "{said}"
                );
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Writes the files that the rows name, and returns the rows.
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
        let mut problems = problems_of(&file).await;
        let text = problems.join("\n");
        assert!(
            !text.contains(PLANTED) && !text.contains(&HASH[7..20]),
            "{text}"
        );
        // The errors are in the order of the file.
        problems.sort();
        let mut expected = row.problems.clone();
        expected.sort();
        if problems != expected {
            wrong.push(format!("{}{problems:#?}, not {:#?}", row.text, expected));
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
            let unknown = ["not found in type", "unknown curve"];
            assert!(unknown.iter().any(|what| said.contains(what)), "{said}");
        }
    }
}
