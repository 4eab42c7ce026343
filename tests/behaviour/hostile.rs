//! Attacks by a vendor, or by a server in its place, that must fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_util::task::AbortOnDropHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{ONCE, Page, page_when, serve_text};

/// Returns the page after one poll of an integration; `more` is added to the account's entry.
async fn poll(base_url: &str, more: &str) -> Page {
    let text = format!(
        "poll:\n{ONCE}zis:\n  - account: a\n    base_url: {base_url}\n{more}    \
            integrations:\n      - name: n\n        token_env: T\n"
    );
    let (address, _end) = serve_text(&text).await;
    page_when(address, |page| page.value(&["target_up{"]).is_some()).await
}

fn fails_with(page: &Page, reason: &str) {
    let failing = page.samples(&["target_failing{"]);
    assert!(
        failing.len() == 1 && failing[0].0.contains(&format!("reason=\"{reason}\"")),
        "{failing:?}"
    );
}

#[tokio::test]
async fn a_gzip_bomb_ends_at_the_cap() {
    // A deflate block of 1 MiB that needs no earlier data, repeated 2,048 times.
    let mut block = Vec::with_capacity(1 << 16);
    let mut deflate = Compress::new(Compression::best(), false);
    deflate
        .compress_vec(&vec![b' '; 1 << 20], &mut block, FlushCompress::Full)
        .unwrap();
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    (0..2048).for_each(|_| bomb.extend_from_slice(&block));
    let vendor = MockServer::start().await;
    let answer = ResponseTemplate::new(200)
        .set_body_raw(bomb, "application/json")
        .insert_header("content-encoding", "gzip");
    Mock::given(any()).respond_with(answer).mount(&vendor).await;
    fails_with(&poll(&vendor.uri(), "").await, "too_large");
    let peak = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap();
    assert!(peak < 1 << 20, "2 GiB were promised, and {peak} kB held");
}

#[tokio::test]
async fn gzip_that_is_none_is_not_an_answer() {
    let vendor = MockServer::start().await;
    let answer = ResponseTemplate::new(200)
        .set_body_raw("{}", "application/json")
        .insert_header("content-encoding", "gzip");
    Mock::given(any()).respond_with(answer).mount(&vendor).await;
    fails_with(&poll(&vendor.uri(), "").await, "decode");
}

/// Starts a server that sends `first` on each connection, then `again` without end.
async fn babbler(first: &'static str, again: &'static str) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let mut sent = stream.write_all(first.as_bytes()).await;
                while sent.is_ok() && !again.is_empty() {
                    sent = stream.write_all(again.as_bytes()).await;
                }
            });
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn headers_without_end_and_heads_that_are_none_end_at_once() {
    let cases = [
        // Endless header fields, one endless field, an invalid field name, and no HTTP.
        ("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n", "too_large"),
        (
            "HTTP/1.1 200 OK\r\nx-long: ",
            "and more and more ",
            "too_large",
        ),
        ("HTTP/1.1 200 OK\r\n\u{1}: x\r\n\r\n", "", "decode"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "", "decode"),
    ];
    for (first, again, reason) in cases {
        let (address, _server) = babbler(first, again).await;
        fails_with(&poll(&format!("http://{address}"), "").await, reason);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let (vendor, thief) = (MockServer::start().await, MockServer::start().await);
    for status in [301, 302, 303, 307, 308] {
        vendor.reset().await;
        let answer = ResponseTemplate::new(status).insert_header("location", thief.uri());
        Mock::given(any()).respond_with(answer).mount(&vendor).await;
        fails_with(&poll(&vendor.uri(), "").await, "unexpected_status");
    }
    assert!(
        thief.received_requests().await.unwrap().is_empty(),
        "somebody else was asked"
    );
}

#[tokio::test]
async fn a_next_page_on_another_host_is_asked_of_our_own() {
    let (vendor, thief) = (MockServer::start().await, MockServer::start().await);
    let token = ResponseTemplate::new(200).set_body_raw(
        r#"{"access_token": "t", "expires_in": 3600}"#,
        "application/json",
    );
    Mock::given(wiremock::matchers::path("/oauth/token"))
        .respond_with(token)
        .mount(&vendor)
        .await;
    let entity = "8a808255557baba1015580e12fa5083a";
    let row = |id: &str, next: &str| {
        let body = format!(
            r#"{{"entityConnections": [{{"id": "{id}", "sourceEntityId": "{entity}", "status": "Connected"}}], "success": true{next}}}"#
        );
        ResponseTemplate::new(200).set_body_raw(body, "application/json")
    };
    let page = |number: &str| Mock::given(wiremock::matchers::query_param("page", number));
    let next = format!(
        r#", "nextPage": "{}/v1/entity-connections?page=9""#,
        thief.uri()
    );
    page("1")
        .respond_with(row("a", &next))
        .expect(1)
        .mount(&vendor)
        .await;
    page("2")
        .respond_with(row("b", ""))
        .expect(1)
        .mount(&vendor)
        .await;
    let text = format!(
        "poll:\n{ONCE}zuora:\n  - account: a\n    base_url: {}\n    client_id: i\n    \
            client_secret_env: S\n    requests_per_minute: 6000\n    entities: [{{id: \
            {entity}}}]\n",
        vendor.uri()
    );
    let (address, _end) = serve_text(&text).await;
    let page = page_when(address, |page| page.value(&["target_up{"]).is_some()).await;
    assert_eq!(page.sum(&["saas_connections{"]), 2.0);
    assert!(
        thief.received_requests().await.unwrap().is_empty(),
        "somebody else was asked"
    );
}

/// Serves empty listings over TLS, with a certificate for `name` that expires in the year `until`.
async fn tls(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    until: i32,
) -> (SocketAddr, AbortOnDropHandle<()>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await?;
                let body = r#"{"oauth": []}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(serve)))
}

#[tokio::test]
async fn only_a_certificate_that_is_trusted_current_and_of_the_right_name_gets_our_token() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let trusted = format!("    ca_file: {}\n", file.display());
    for (name, until, more, good) in [
        ("localhost", 4000, trusted.as_str(), true),
        ("localhost", 4000, "", false),
        ("localhost", 2001, trusted.as_str(), false),
        ("other.test", 4000, trusted.as_str(), false),
    ] {
        let (address, _server) = tls(&authority, name, until).await;
        let page = poll(&format!("https://localhost:{}", address.port()), more).await;
        if good {
            assert_eq!(page.value(&["target_up{"]), Some(1.0), "{}", page.0);
        } else {
            fails_with(&page, "tls");
        }
    }
}
