//! The network between exporter and vendor: truncated bodies, firewalls, proxies, half-dead
//! connections, certificates.

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use connections_exporter::cli::FailOn;
use connections_exporter::clock::Clock;
use connections_exporter::commands::check;
use connections_exporter::commands::check::check;
use connections_simulator::{Fault, Kind, Sizes};
use futures_util::future::join_all;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use crate::configurations::taken;
use crate::daemon::{Daemon, exporter, free_port};
use crate::harness::{Harness, OFTEN, PATIENCE, Page, page_when, serve_text};

const NOTHING: &str = r#"{"oauth": []}"#;
const ENTITY: &str = "8a808255557baba1015580e12fa5083a";

/// Accepts connections, and calls `each` with the number and the stream of each one.
async fn accepting<F>(
    each: impl Fn(usize, TcpStream) -> F + Send + 'static,
) -> (SocketAddr, AbortOnDropHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(each(number, stream));
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(accept)))
}

/// Reads an HTTP/1.1 request, in lower case; `None` if the connection closes early.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    let mut some = [0; 4096];
    loop {
        let read = stream.read(&mut some).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1);
            let length = length.map_or(0, |length| length.lines().next().unwrap().parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

fn json(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: \
            {length}\r\n\r\n{body}"
    )
}

/// Returns the configuration of a ZIS account with one integration.
fn account(poll: &str, base_url: &str, more: &str) -> String {
    format!(
        "poll:\n{poll}zis:\n  - account: a\n    base_url: {base_url}\n    requests_per_minute: \
            6000\n{more}    integrations: [{{name: n, token_env: T}}]\n"
    )
}

/// Runs `check` on one integration at this address, and returns the failure of its poll.
async fn failure(base_url: &str, more: &str) -> check::TargetFailure {
    let text = account("  request_timeout: 20s\n", base_url, more);
    let config = taken(&text, |_| Some("t".to_owned())).await;
    let report = check(config, Clock::system(), PATIENCE, |_| {})
        .await
        .unwrap();
    let target = report.targets.into_iter().next().unwrap();
    target.failure.expect("it fails")
}

/// End of a response: the connection closes, stays silent, or sends data without end.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    Hangs,
    GoesOn,
}

async fn failure_of(answer: &'static str, then: Then) -> check::TargetFailure {
    let (address, _server) = accepting(move |_, mut stream| async move {
        if request(&mut stream).await.is_none() {
            return;
        }
        let mut sent = stream.write_all(answer.as_bytes()).await;
        while sent.is_ok() && then == Then::GoesOn {
            sent = stream.write_all(&[b'x'; 4096]).await;
        }
        if then == Then::Hangs {
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    failure(&format!("http://{address}"), "").await
}

#[tokio::test]
async fn a_status_counts_whatever_becomes_of_its_body() {
    let cases = [
        (
            "HTTP/1.1 401 U\r\ncontent-length: 500\r\n\r\n{\"errors\": [{\"code",
            Then::Ends,
            "unauthorized",
        ),
        (
            "HTTP/1.1 401 U\r\ncontent-length: 500\r\n\r\nAuthorization failed due to integration \
                mismatch",
            Then::Ends,
            "integration_mismatch",
        ),
        (
            "HTTP/1.1 401 U\r\ncontent-length: 500\r\n\r\n",
            Then::Hangs,
            "unauthorized",
        ),
        (
            "HTTP/1.1 403 F\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\nForbidden",
            Then::Ends,
            "forbidden",
        ),
        (
            "HTTP/1.1 403 F\r\ncontent-encoding: br\r\ncontent-length: 9\r\n\r\nForbidden",
            Then::Ends,
            "forbidden",
        ),
        ("HTTP/1.1 403 F\r\n\r\n", Then::GoesOn, "forbidden"),
        (
            "HTTP/1.1 404 N\r\ntransfer-encoding: chunked\r\n\r\nno chunk",
            Then::Ends,
            "not_found",
        ),
        (
            "HTTP/1.1 429 T\r\ncontent-length: 500\r\n\r\n",
            Then::Ends,
            "rate_limited",
        ),
        (
            "HTTP/1.1 503 S\r\ncontent-length: 500\r\n\r\nx",
            Then::Ends,
            "server_error",
        ),
        (
            "HTTP/1.1 503 S\r\ncontent-length: 500\r\n\r\nx",
            Then::Hangs,
            "server_error",
        ),
    ];
    let failures = cases.map(async |(answer, then, reason)| {
        let failure = failure_of(answer, then).await;
        assert_eq!(failure.reason, reason, "{answer}: {}", failure.error);
        assert!(failure.status.is_some());
    });
    join_all(failures).await;
}

#[tokio::test]
async fn an_answer_that_ends_early_is_unreachable_and_one_in_an_unknown_encoding_names_it() {
    let failure = failure_of(
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"oauth\": [",
        Then::Ends,
    )
    .await;
    assert_eq!(failure.reason, "unreachable");
    let said = "the connection ended before the answer did";
    assert!(failure.error.contains(said), "{}", failure.error);
    let failure = failure_of(
        "HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 4\r\n\r\n1234",
        Then::Ends,
    )
    .await;
    assert_eq!(failure.reason, "decode");
    assert!(failure.error.contains("zstd"), "{}", failure.error);
}

#[tokio::test]
async fn a_revoked_zuora_token_is_replaced_although_its_401_breaks_off() {
    static MINTED: AtomicUsize = AtomicUsize::new(0);
    let (address, _server) = accepting(|_, mut stream| async move {
        let Some(request) = request(&mut stream).await else {
            return;
        };
        let answer = if request.starts_with("post /oauth/token") {
            let token = MINTED.fetch_add(1, Relaxed);
            json(&format!(
                r#"{{"access_token": "token-{token}", "expires_in": 3600}}"#
            ))
        } else if request.contains("bearer token-0") {
            "HTTP/1.1 401 U\r\ncontent-length: 500\r\n\r\n{\"succ".to_owned()
        } else {
            json(r#"{"entityConnections": [], "success": true}"#)
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let text = format!(
        "zuora:\n  - account: a\n    base_url: http://{address}\n    client_id: i\n    \
            client_secret_env: S\n    requests_per_minute: 6000\n    entities: [{{id: {ENTITY}, \
            name: e}}]\n"
    );
    let config = taken(&text, |_| Some("t".to_owned())).await;
    let report = check(config, Clock::system(), PATIENCE, |_| {})
        .await
        .unwrap();
    assert_eq!(report.problem(&[FailOn::Unlisted]), None, "{report}");
}

#[tokio::test]
async fn a_page_of_a_firewall_is_no_refusal_of_the_vendor() {
    for status in [401, 403] {
        let harness = Harness::start(Sizes::default(), OFTEN).await;
        harness.ready().await;
        for endpoint in ["entity_connections", "connections_all"] {
            harness.simulator.fail(Fault {
                endpoint: Some(endpoint.to_owned()),
                code: Some(status),
                ..Fault::new(Kind::Html)
            });
        }
        // A refused credential would be retried after 1, 2, 4, 8, 16 and 32 s.
        let page = harness
            .page_when(|page| {
                page.sum(&["polls_total{", "zis", "failure"]) >= 18.0
                    && page.sum(&["polls_total{", "zuora", "failure"]) >= 24.0
            })
            .await;
        let failing = page.samples(&["target_failing{"]);
        assert!(
            failing
                .iter()
                .all(|(name, _)| name.contains("unexpected_status")),
            "{failing:?}"
        );
        assert_eq!(harness.simulator.requests("oauth_token"), 1, "no new token");
    }
}

#[tokio::test]
async fn a_page_is_named_with_the_firewalls_own_id_whatever_its_status() {
    for (answer, reason) in [
        (
            "HTTP/1.1 403 F\r\ncontent-type: text/html\r\ncf-ray: 8c1e2f3a-FRA\r\ncontent-length: \
                6\r\n\r\n<html>",
            "unexpected_status",
        ),
        (
            "HTTP/1.1 401 U\r\ncf-ray: 8c1e2f3a-FRA\r\ncontent-length: 6\r\n\r\n<html>",
            "unexpected_status",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncf-ray: 8c1e2f3a-FRA\r\ncontent-length: \
                6\r\n\r\n<html>",
            "decode",
        ),
        (
            "HTTP/1.1 502 B\r\ncontent-type: text/html\r\ncf-ray: 8c1e2f3a-FRA\r\ncontent-length: \
                6\r\n\r\n<html>",
            "server_error",
        ),
        (
            "HTTP/1.1 407 P\r\ncontent-type: text/html\r\ncf-ray: 8c1e2f3a-FRA\r\ncontent-length: \
                500\r\n\r\n",
            "unexpected_status",
        ),
    ] {
        let failure = failure_of(answer, Then::Ends).await;
        assert_eq!(failure.reason, reason, "{answer}: {}", failure.error);
        let said = "an HTML page answered, not the API: a firewall or proxy (cf-ray 8c1e2f3a-FRA)";
        assert!(failure.error.contains(said), "{}", failure.error);
    }
    // The vendor's own name of the header, but not its id.
    let page = "HTTP/1.1 403 F\r\ncontent-type: text/html\r\nx-request-id: \
        fw-17\r\nzuora-request-id: fw-17\r\ncontent-length: 6\r\n\r\n<html>";
    let failure = failure_of(page, Then::Ends).await;
    assert!(
        failure.error.ends_with("(x-request-id fw-17)"),
        "{}",
        failure.error
    );
    assert_eq!(failure.request_id, None);
    let plain = "HTTP/1.1 401 U\r\ncontent-type: text/plain\r\ncontent-length: \
        21\r\n\r\nAuthentication failed";
    assert_eq!(failure_of(plain, Then::Ends).await.reason, "unauthorized");
}

/// Runs the binary with this configuration and environment; returns exit code, standard output and
/// standard error.
async fn said(command: &str, text: &str, env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, text).unwrap();
    let mut binary = exporter(&[command, "--config.file", file.to_str().unwrap()]);
    if command == "check" {
        binary.arg("--format=json");
    }
    clean(&mut binary).envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || binary.output().unwrap());
    let output = output.await.unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Removes the proxies and certificates of the test's own environment from a command.
fn clean(command: &mut Command) -> &mut Command {
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env(name, "/nonexistent");
    }
    command.env("T", "t")
}

/// Writes an authority's certificate to this directory; returns the `ca_file` line for it.
fn ca_file(folder: &Path) -> String {
    let file = folder.join("ca.pem");
    fs::write(&file, authority("one").pem()).unwrap();
    format!("    ca_file: {}\n", file.display())
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_without_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = ca_file(folder.path());
    let poll = "  request_timeout: 4s\n";
    let text = account(poll, "https://vendor.test", &trusted);
    let cases = [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            Then::Ends,
            "refuses the user and the password",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            Then::Ends,
            "opened no tunnel",
        ),
        ("", Then::Ends, "closed the connection"),
        ("", Then::Hangs, "no connection in time through the proxy"),
    ];
    let checks = cases.map(async |(answer, then, expected)| {
        let (address, _proxy) = accepting(move |_, mut stream| async move {
            let asked = request(&mut stream).await.unwrap_or_default();
            assert!(asked.starts_with("connect vendor.test:443 "), "{asked}");
            let _ = stream.write_all(answer.as_bytes()).await;
            if then == Then::Hangs {
                let _ = stream.read(&mut [0]).await;
            }
        })
        .await;
        let proxy = format!("http://user:s3cret@{address}");
        let (code, report, problems) = said("check", &text, &[("https_proxy", &proxy)]).await;
        assert_eq!(code, Some(1), "{problems}");
        assert!(report.contains(&format!("the proxy {address}")), "{report}");
        assert!(report.contains(expected), "{report}");
        assert!(report.contains("\"unreachable\""), "{report}");
        assert!(
            !report.contains("s3cret") && !report.contains("user:s"),
            "{report}"
        );
    });
    join_all(checks).await;

    let (address, _proxy) = accepting(move |_, mut stream| async move {
        let _ = request(&mut stream).await;
        let answer = "HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let without_user = [("HTTPS_PROXY", &*address.to_string())];
    let (_, report, _) = said("check", &text, &without_user).await;
    assert!(report.contains("answered 407"), "{report}");
    assert!(report.contains("requires a user"), "{report}");

    let unknown = [("HTTPS_PROXY", "http://proxy.test:3128")];
    let (_, report, _) = said("check", &text, &unknown).await;
    assert!(report.contains("name look-up of proxy.test"), "{report}");
    assert!(
        report.contains("check the proxy in HTTPS_PROXY"),
        "{report}"
    );

    for list in [".test", "vendor.test:443"] {
        let excluded = [("HTTPS_PROXY", "127.0.0.1:9"), ("NO_PROXY", list)];
        let (_, report, _) = said("check", &text, &excluded).await;
        assert!(report.contains("name look-up of vendor.test"), "{report}");
        assert!(!report.contains("127.0.0.1:9"), "{report}");
    }
}

#[tokio::test]
async fn a_location_of_certificates_that_has_none_is_a_warning_although_others_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let text = account("", "https://vendor.test", &ca_file(folder.path()));
    // `clean` sets both variables to a path that does not exist.
    let level = [("CONNECTIONS_EXPORTER_LOG_LEVEL", "warn")];
    let (_, _, log) = said("check", &text, &level).await;
    assert!(log.contains("SSL_CERT_FILE or SSL_CERT_DIR"), "{log}");
    assert!(log.contains("/nonexistent"), "{log}");
}

#[tokio::test]
async fn a_proxy_that_is_no_url_is_refused_at_the_start_and_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let text = account("", "https://vendor.test", &ca_file(folder.path()));
    for (name, value) in [
        ("HTTPS_PROXY", "http://user:s3cret@"),
        ("all_proxy", "socks5://s3cret:1"),
    ] {
        for command in ["--config.check", "--web.listen-address=127.0.0.1:0"] {
            let (code, _, problems) = said(command, &text, &[(name, value)]).await;
            assert_eq!(code, Some(1), "{command}");
            assert!(problems.contains(name), "{problems}");
            assert!(!problems.contains("s3cret"), "{problems}");
        }
    }
    let plain = account("", "http://127.0.0.1:9", "");
    let env = [("ALL_PROXY", "no url")];
    let (code, _, problems) = said("--config.check", &plain, &env).await;
    assert_eq!(code, Some(0), "plain HTTP goes by no proxy: {problems}");
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Issues a certificate for a server with this name, valid from the first to the second year.
fn identity(
    authority: &Issuer,
    name: &str,
    (from, until): (i32, i32),
) -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), key.serialize_der().into())
}

/// Returns the TLS acceptor of a server for `localhost`.
fn acceptor(authority: &Issuer) -> TlsAcceptor {
    let (certificate, key) = identity(authority, "localhost", (2000, 4000));
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves empty listings and tokens over HTTP/2.
async fn serve_well(stream: TlsStream<TcpStream>) {
    let answer = async |request: Request<Incoming>| {
        assert_eq!(request.version(), Version::HTTP_2);
        let body = match request.uri().path() {
            "/oauth/token" => r#"{"access_token": "t", "expires_in": 3600}"#,
            "/v1/entity-connections" => r#"{"entityConnections": [], "success": true}"#,
            _ => NOTHING,
        };
        Ok::<_, Infallible>(Response::new(body.to_owned()))
    };
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

/// Copies while `forwards` is true; otherwise waits, with both ends open.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut forwards: watch::Receiver<bool>,
) {
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut some).await {
        if !*forwards.borrow() {
            let _ = forwards.wait_for(|forwards| *forwards).await;
        }
        if to.write_all(&some[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_not_used_again() {
    let authority = authority("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let tls = acceptor(&authority);
    let (vendor, _vendor) = accepting(move |_, stream| {
        let tls = tls.clone();
        async move { serve_well(tls.accept(stream).await.unwrap()).await }
    })
    .await;
    let connections: Arc<Mutex<Vec<watch::Sender<bool>>>> = Arc::default();
    let opened = connections.clone();
    let (between, _between) = accepting(move |_, stream| {
        let (sender, forwards) = watch::channel(true);
        opened.lock().unwrap().push(sender);
        async move {
            let (from_us, to_us) = stream.into_split();
            let stream = TcpStream::connect(vendor).await.unwrap();
            let (from_vendor, to_vendor) = stream.into_split();
            tokio::join!(
                forward(from_us, to_vendor, forwards.clone()),
                forward(from_vendor, to_us, forwards),
            );
        }
    })
    .await;
    let text = account(
        "  interval: 1s\n  first_poll_within: 0s\n  request_timeout: 12s\n",
        &format!("https://localhost:{}", between.port()),
        &format!("    ca_file: {}\n", file.display()),
    );
    let (address, _end) = serve_text(&text).await;
    let good = |page: &Page| page.sum(&["polls_total{", "success"]);
    for round in 1..=2 {
        let before = page_when(address, |page| good(page) >= 2.0 * f64::from(round)).await;
        for connection in &*connections.lock().unwrap() {
            connection.send_replace(false);
        }
        let page = page_when(address, |page| good(page) >= good(&before) + 3.0).await;
        let bad = page.sum(&["polls_total{", "failure"]);
        assert!(
            bad <= f64::from(round),
            "{bad} polls were lost in round {round}"
        );
    }
    assert!(connections.lock().unwrap().len() >= 3, "one more each time");
}

/// Speaks HTTP/2 up to the first request, then sends GOAWAY with last stream 0.
///
/// The vendor has therefore processed nothing.
async fn goes_away(mut stream: TlsStream<TcpStream>) {
    const PREFACE: usize = 24;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // Last stream identifier 0 and error code `NO_ERROR`.
    const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    stream.write_all(&SETTINGS).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            stream.write_all(&GO_AWAY).await.unwrap();
            stream.flush().await.unwrap();
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            return;
        }
    }
}

/// Resets the first stream with `REFUSED_STREAM`, and serves the others.
async fn refuses_a_stream(stream: TlsStream<TcpStream>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    for number in 0.. {
        let Some(Ok((request, mut respond))) = connection.accept().await else {
            return;
        };
        if number == 0 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        let body = match request.uri().path() {
            "/oauth/token" => r#"{"access_token": "t", "expires_in": 3600}"#,
            _ => r#"{"entityConnections": [], "success": true}"#,
        };
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(body.into(), true).unwrap();
    }
}

#[tokio::test]
async fn what_a_vendor_says_it_did_nothing_for_is_sent_once_more_and_counted() {
    let authority = authority("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    for goes in [true, false] {
        let tls = acceptor(&authority);
        let (vendor, _vendor) = accepting(move |number, stream| {
            let tls = tls.clone();
            async move {
                let stream = tls.accept(stream).await.unwrap();
                match (number, goes) {
                    (0, true) => goes_away(stream).await,
                    (0, false) => refuses_a_stream(stream).await,
                    _ => serve_well(stream).await,
                }
            }
        })
        .await;
        let text = format!(
            "poll: {{interval: 1h, first_poll_within: 0s}}\nzuora:\n  - account: a\n    base_url: \
                https://localhost:{}\n    ca_file: {}\n    client_id: i\n    client_secret_env: \
                S\n    requests_per_minute: 6000\n    entities: [{{id: {ENTITY}, name: e}}]\n",
            vendor.port(),
            file.display()
        );
        let (address, _end) = serve_text(&text).await;
        let page = page_when(address, |page| page.value(&["target_up{"]).is_some()).await;
        assert_eq!(page.value(&["target_up{"]), Some(1.0), "{}", page.0);
        let sent = |code| page.value(&["api_requests_total{", "oauth_token", code]);
        assert_eq!(sent("code=\"none\""), Some(1.0), "{}", page.0);
        assert_eq!(sent("code=\"200\""), Some(1.0), "{}", page.0);
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_at_the_moment_of_reuse_costs_no_poll() {
    let (vendor, _vendor) = accepting(|_, mut stream| async move {
        // Each connection serves one request, and closes when it is used again.
        if request(&mut stream).await.is_some() {
            let _ = stream.write_all(json(NOTHING).as_bytes()).await;
            let _ = request(&mut stream).await;
        }
    })
    .await;
    let text = account(OFTEN, &format!("http://{vendor}"), "");
    let (address, _end) = serve_text(&text).await;
    let page = page_when(address, |page| {
        page.sum(&["polls_total{", "success"]) >= 5.0
    })
    .await;
    assert_eq!(page.sum(&["polls_total{", "failure"]), 0.0, "{}", page.0);
    let lost = page.value(&["api_requests_total{", "connections_all", "code=\"none\""]);
    assert!(lost >= Some(4.0), "each of them is counted: {lost:?}");
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_not_asked_again() {
    let (vendor, _vendor) = accepting(|_, mut stream| async move {
        let _ = request(&mut stream).await;
    })
    .await;
    let text = account(
        "  interval: 1h\n  first_poll_within: 0s\n",
        &format!("http://{vendor}"),
        "",
    );
    let (address, _end) = serve_text(&text).await;
    let page = page_when(address, |page| page.value(&["target_up{"]).is_some()).await;
    assert_eq!(page.samples(&["target_failing{", "unreachable"]).len(), 1);
    let sent = page.value(&["api_requests_total{", "connections_all", "code=\"none\""]);
    assert_eq!(sent, Some(1.0));
}

#[tokio::test]
async fn certificates_that_are_replaced_are_seen_without_a_reload() {
    let (earlier, later) = (authority("earlier"), authority("later"));
    let folder = tempfile::tempdir().unwrap();
    let tls = acceptor(&later);
    let (vendor, _vendor) = accepting(move |_, stream| {
        let tls = tls.clone();
        async move {
            if let Ok(stream) = tls.accept(stream).await {
                serve_well(stream).await;
            }
        }
    })
    .await;
    let replace = |name: &str, authority: &Issuer| {
        let new = folder.path().join("new.pem");
        fs::write(&new, authority.pem()).unwrap();
        fs::rename(&new, folder.path().join(name)).unwrap();
    };
    replace("ca.pem", &earlier);
    replace("machine.pem", &earlier);
    let one = |name: &str, more: &str| {
        format!(
            "  - account: {name}\n    base_url: https://localhost:{}\n{more}    integrations: \
                [{{name: n, token_env: T}}]\n",
            vendor.port()
        )
    };
    let text = format!(
        "poll:\n{OFTEN}zis:\n{}{}",
        one("own", "    ca_file: ca.pem\n"),
        one("machine", "")
    );
    fs::write(folder.path().join("config.yaml"), text).unwrap();
    let port = free_port();
    let mut command = exporter(&[
        "--config.file",
        folder.path().join("config.yaml").to_str().unwrap(),
        &format!("--web.listen-address=127.0.0.1:{port}"),
    ]);
    clean(&mut command)
        .env("SSL_CERT_FILE", folder.path().join("machine.pem"))
        .env_remove("SSL_CERT_DIR");
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let started = tokio::task::spawn_blocking(move || Daemon::start(&mut command, address));
    let _daemon = started.await.unwrap();
    page_when(address, |page| {
        page.samples(&["target_failing{", "reason=\"tls\""]).len() == 2
    })
    .await;
    replace("ca.pem", &later);
    let page = page_when(address, |page| {
        page.value(&["target_up{", "own"]) == Some(1.0)
    })
    .await;
    assert_eq!(page.value(&["target_up{", "machine"]), Some(0.0));
    // An invalid file does not change which certificates are trusted.
    fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
    replace("machine.pem", &later);
    let page = page_when(address, |page| {
        page.value(&["target_up{", "machine"]) == Some(1.0)
    })
    .await;
    assert_eq!(page.value(&["target_up{", "own"]), Some(1.0));
}

#[tokio::test]
async fn a_machine_without_certificates_polls_plain_http_and_the_check_says_what_https_needs() {
    let folder = tempfile::tempdir().unwrap();
    let text = account("", "https://vendor.test", "");
    for command in ["--config.check", "--web.listen-address=127.0.0.1:0"] {
        let (code, _, problems) = said(command, &text, &[]).await;
        assert_eq!(code, Some(1), "{command}");
        assert!(problems.contains("install ca-certificates"), "{problems}");
        assert!(problems.contains("set ca_file"), "{problems}");
    }
    let own = account("", "https://vendor.test", &ca_file(folder.path()));
    let plain = account("", "http://127.0.0.1:9", "");
    for text in [own, plain] {
        let (code, _, problems) = said("--config.check", &text, &[]).await;
        assert_eq!(code, Some(0), "{problems}");
    }
    let port = free_port();
    let mut command = exporter(&["demo", "--web.listen-address"]);
    clean(&mut command).arg(format!("127.0.0.1:{port}"));
    let address = ([127, 0, 0, 1], port).into();
    let demo = tokio::task::spawn_blocking(move || Daemon::start(&mut command, address));
    drop(demo.await.unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_said_with_what_to_do() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let folder = tempfile::tempdir().unwrap();
    let trusted = |pem: &str| {
        let (_, file) = tempfile::NamedTempFile::new_in(folder.path())
            .unwrap()
            .keep()
            .unwrap();
        fs::write(&file, pem).unwrap();
        format!("    ca_file: {}\n", file.display())
    };
    let good = (2000, 4000);
    let own = |issuer: &Issuer| {
        let key = PrivatePkcs8KeyDer::from(issuer.key().serialize_der());
        (issuer.der().clone(), key)
    };
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let itself = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    for ((certificate, key), pem, clients, what, remedy) in [
        (
            identity(&theirs, "localhost", good),
            ours.pem(),
            false,
            "an authority that this machine does not trust",
            "ca_file",
        ),
        (
            identity(&ours, "localhost", (2000, 2001)),
            ours.pem(),
            false,
            "has expired",
            "clock",
        ),
        (
            identity(&ours, "localhost", (3000, 4000)),
            ours.pem(),
            false,
            "is not valid yet",
            "clock",
        ),
        (
            identity(&ours, "other.test", good),
            ours.pem(),
            false,
            "is for another name",
            "base_url",
        ),
        (
            own(&itself),
            itself.pem(),
            false,
            "is that of an authority (CA:TRUE)",
            "CA:FALSE",
        ),
        (
            identity(&ours, "localhost", good),
            ours.pem(),
            true,
            "requires a client certificate",
            "asks for a client certificate",
        ),
    ] {
        let mut roots = RootCertStore::empty();
        roots.add(ours.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
        let builder = ServerConfig::builder();
        let builder = if clients {
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (vendor, _vendor) = accepting(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                // Read the client's alert before the connection closes.
                if let Err((_, mut stream)) = acceptor.accept(stream).into_fallible().await {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        })
        .await;
        let url = format!("https://localhost:{}", vendor.port());
        let failure = failure(&url, &trusted(&pem)).await;
        assert_eq!(failure.reason, "tls", "{what}: {}", failure.error);
        assert!(failure.error.contains(what), "{what}: {}", failure.error);
        assert!(
            failure.remedy.contains(remedy),
            "{what}: {}",
            failure.remedy
        );
    }
}

#[tokio::test]
async fn plain_http_in_place_of_tls_is_said_to_be_that() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = ca_file(folder.path());
    let (vendor, _vendor) = accepting(|_, mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            .await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let url = format!("https://localhost:{}", vendor.port());
    let failure = failure(&url, &trusted).await;
    assert_eq!(failure.reason, "tls");
    let what = "does not speak TLS at this port";
    assert!(failure.error.contains(what), "{}", failure.error);
}

/// Sends a frame repeatedly until the connection ends, then adds one to `ended`.
async fn flood(mut stream: impl AsyncWrite + Unpin, frame: &[u8], ended: &watch::Sender<usize>) {
    let some = frame.repeat(100);
    while stream.write_all(&some).await.is_ok() && stream.flush().await.is_ok() {}
    ended.send_modify(|ended| *ended += 1);
}

/// Reads and discards everything.
async fn swallow(mut stream: impl AsyncRead + Unpin) {
    let mut some = [0; 4096];
    while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_vendor_that_floods_in_place_of_an_answer_ends_with_the_time_of_the_request() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7];
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let authority = authority("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    for (name, frame) in [
        ("100 Continue", CONTINUE),
        ("PING", &PING),
        ("SETTINGS", &SETTINGS),
    ] {
        let (ended, mut floods) = watch::channel(0);
        let over_tls = frame != CONTINUE;
        let tls = acceptor(&authority);
        let (vendor, _vendor) = accepting(move |_, mut stream| {
            let (tls, ended) = (tls.clone(), ended.clone());
            async move {
                if !over_tls {
                    let _ = request(&mut stream).await;
                    return flood(stream, frame, &ended).await;
                }
                let mut stream = tls.accept(stream).await.unwrap();
                stream.write_all(&SETTINGS).await.unwrap();
                stream.flush().await.unwrap();
                let (read, write) = tokio::io::split(stream);
                tokio::join!(swallow(read), flood(write, frame, &ended));
            }
        })
        .await;
        let (base_url, more) = if over_tls {
            (
                format!("https://localhost:{}", vendor.port()),
                format!("    ca_file: {}\n", file.display()),
            )
        } else {
            (format!("http://{vendor}"), String::new())
        };
        let poll = "  interval: 1s\n  first_poll_within: 0s\n  request_timeout: 1s\n";
        let (address, _end) = serve_text(&account(poll, &base_url, &more)).await;
        let page = page_when(address, |page| {
            page.sum(&["api_errors_total{", "timeout"]) >= 2.0
        })
        .await;
        assert_eq!(page.sum(&["polls_total{", "success"]), 0.0, "{name}");
        let two = timeout(PATIENCE, floods.wait_for(|floods| *floods >= 2));
        let two = two.await.map(|two| two.is_ok());
        assert_eq!(two, Ok(true), "a flood of {name} does not end");
    }
}
