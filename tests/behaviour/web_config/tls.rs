//! TLS versions, cipher suites, ALPN protocols and response headers.

use std::sync::Arc;

use reqwest::{StatusCode, Version};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{
    CipherSuite, ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::served::{Served, TLS};
use crate::pki::{Authority, SERVER};

/// TLS stream of a client.
pub(super) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// Connects with these TLS versions and this provider, and offers these ALPN protocols.
pub(super) async fn connect(
    served: &Served,
    versions: &[&'static SupportedProtocolVersion],
    provider: CryptoProvider,
    protocols: &[&str],
) -> std::io::Result<Stream> {
    connect_as(served, &served.authority, versions, provider, protocols).await
}

async fn connect_as(
    served: &Served,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    provider: CryptoProvider,
    protocols: &[&str],
) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(served.address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(SERVER.try_into().unwrap(), stream).await
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

#[tokio::test]
async fn only_the_allowed_versions_are_spoken() {
    for (lines, old, new) in [
        ("", true, true),
        ("  min_version: TLS13\n", false, true),
        ("  max_version: TLS12\n", true, false),
        ("  min_version: TLS10\n", true, true),
    ] {
        let served = Served::start(&format!("{TLS}{lines}")).await;
        for (versions, spoken, version) in [
            (OLD, old, ProtocolVersion::TLSv1_2),
            (NEW, new, ProtocolVersion::TLSv1_3),
        ] {
            let stream = connect(&served, versions, aws_lc_rs::default_provider(), &[]).await;
            let seen = stream
                .ok()
                .and_then(|stream| stream.get_ref().1.protocol_version());
            assert_eq!(seen, spoken.then_some(version), "{lines}");
        }
    }
}

#[tokio::test]
async fn only_the_named_suites_and_curves_are_spoken_in_the_order_of_the_server() {
    let lines = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, \
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [CurveP384]\n";
    let chosen = async |more: &str, versions: &[&'static SupportedProtocolVersion], client| {
        let served = Served::start(&format!("{TLS}{lines}{more}")).await;
        let stream = connect(&served, versions, client, &[]).await.ok()?;
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite()?.suite();
        Some((suite, session.negotiated_key_exchange_group()?.name()))
    };
    let all = aws_lc_rs::default_provider;
    let mut reversed = all();
    reversed.cipher_suites.reverse();
    let mut aes = all();
    aes.cipher_suites
        .retain(|suite| format!("{suite:?}").contains("AES_256"));
    let chacha = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let aes_128 = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let group = NamedGroup::secp384r1;
    assert_eq!(chosen("", OLD, all()).await, Some((chacha, group)));
    assert_eq!(chosen("", OLD, reversed).await, Some((chacha, group)));
    // In the client's order AES-256 is first, which is not allowed. AES-128 is next.
    let clients = "  prefer_server_cipher_suites: false\n";
    assert_eq!(
        chosen(clients, OLD, all()).await.map(|(suite, _)| suite),
        Some(aes_128)
    );
    // A client without the named suites can only use TLS 1.3, whose suites cannot be configured.
    assert_eq!(chosen("", OLD, aes.clone()).await, None);
    let suite = chosen("", NEW, aes).await.map(|(suite, _)| suite);
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_256_GCM_SHA384));
}

#[tokio::test]
async fn http_2_is_spoken_over_tls_by_who_offers_it_unless_it_is_off() {
    for (lines, version) in [
        ("", Version::HTTP_2),
        ("http_server_config:\n  http2: false\n", Version::HTTP_11),
    ] {
        let served = Served::start(&format!("{TLS}{lines}")).await;
        for path in ["/metrics", "/-/healthy"] {
            let answer = served.tls(path).send().await.unwrap();
            assert_eq!(
                (answer.status(), answer.version()),
                (StatusCode::OK, version)
            );
            assert!(!answer.bytes().await.unwrap().is_empty());
        }
        let client = served.client().build().unwrap();
        let head = client
            .head(served.url("https", "/metrics"))
            .send()
            .await
            .unwrap();
        assert_eq!((head.status(), head.version()), (StatusCode::OK, version));
        assert!(head.bytes().await.unwrap().is_empty());
        let old = served.client().http1_only().build().unwrap();
        let answer = old
            .get(served.url("https", "/metrics"))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, Version::HTTP_11)
        );
        // A client that offers neither protocol is rejected immediately.
        let strange = connect(&served, BOTH, aws_lc_rs::default_provider(), &["spdy/3"]).await;
        assert!(strange.is_err());
    }
    let served = Served::start("").await;
    assert_eq!(
        served.plain("/metrics").send().await.unwrap().version(),
        Version::HTTP_11
    );
    let prior = served.client().http2_prior_knowledge().build().unwrap();
    assert!(
        prior
            .get(served.url("http", "/metrics"))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let served = Served::start(TLS).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("https"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_headers_are_on_every_answer_and_blank_ones_are_not() {
    let text = "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=60\n    \
        X-Frame-Options: deny\n    Content-Security-Policy: default-src 'self'\n    \
        X-XSS-Protection: ''\n";
    let users = super::served::user("alice", "s3cret", 4);
    let served = Served::start(&format!("{text}{users}")).await;
    for (path, status, password) in [
        ("/", 200, "s3cret"),
        ("/metrics", 200, "s3cret"),
        ("/nowhere", 404, "s3cret"),
        ("/metrics", 401, "x"),
        ("/-/healthy", 200, "x"),
    ] {
        let answer = served
            .plain(path)
            .basic_auth("alice", Some(password))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
        let header = |name| answer.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(header("strict-transport-security"), ["max-age=60"]);
        assert_eq!(header("x-frame-options"), ["deny"]);
        assert_eq!(header("content-security-policy"), ["default-src 'self'"]);
        assert_eq!(header("x-content-type-options"), ["nosniff"]);
        assert_eq!(header("x-xss-protection").len(), 0);
    }
}
