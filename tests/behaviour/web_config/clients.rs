//! Client certificates: when one is required, and which ones are accepted.

use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use reqwest::Identity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::flags::demo;
use super::served::{Served, TLS, prepared};
use super::tls::connect;
use crate::pki::{self, Authority, SERVER};

/// Whether a client with this identity gets a page, which must not depend on the TLS version.
async fn answered(served: &Served, identity: Option<&str>) -> bool {
    let mut by_version = Vec::new();
    for version in [
        reqwest::tls::Version::TLS_1_2,
        reqwest::tls::Version::TLS_1_3,
    ] {
        let mut client = served
            .client()
            .tls_version_min(version)
            .tls_version_max(version);
        if let Some(pem) = identity {
            client = client.identity(Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let answer = client
            .build()
            .unwrap()
            .get(served.url("https", "/metrics"))
            .send()
            .await;
        by_version.push(answer.is_ok_and(|answer| answer.status() == 200));
    }
    assert_eq!(by_version[0], by_version[1]);
    by_version[0]
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[tokio::test]
async fn each_kind_of_client_authentication_lets_in_whom_it_should() {
    let ours = "  client_ca_file: ca.crt\n";
    for (kind, more, without, strange, known) in [
        ("NoClientCert", "", true, true, true),
        ("RequestClientCert", "", true, true, true),
        ("RequireAnyClientCert", "", false, true, true),
        ("RequireClientCert", "", false, true, true),
        ("VerifyClientCertIfGiven", ours, true, false, true),
        ("RequireAndVerifyClientCert", ours, false, false, true),
    ] {
        let served = Served::start(&format!("{TLS}  client_auth_type: {kind}\n{more}")).await;
        let client = served.authority.client(vec![dns("a")]).both();
        let stranger = Authority::new().client(vec![dns("a")]).both();
        assert_eq!(answered(&served, None).await, without, "{kind} without");
        assert_eq!(
            answered(&served, Some(&client)).await,
            known,
            "{kind} known"
        );
        // A client that receives the accepted authorities would not send a certificate of another
        // one. This client sends its certificate in any case.
        assert_eq!(
            answered(&served, Some(&stranger)).await,
            strange,
            "{kind} strange"
        );
    }
}

/// Returns a self-signed certificate that is marked as an authority, as from `openssl req -x509`.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> pki::Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names = vec![dns("a")];
    change(&mut params);
    pki::Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// Returns a self-signed certificate with an unknown critical extension.
///
/// A client that validates its own certificate would not send it.
fn self_signed_strangely() -> pki::Identity {
    self_signed(|params| {
        let mut odd = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        odd.set_criticality(true);
        params.custom_extensions = vec![odd];
    })
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_itself_in_the_file_is_let_in_as_by_go() {
    let uses = |uses: &[ExtendedKeyUsagePurpose]| {
        let uses = uses.to_vec();
        move |params: &mut CertificateParams| params.extended_key_usages = uses
    };
    let years = |from, to| {
        move |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }
    };
    let plain = self_signed(|_| {});
    let leaf = self_signed(|params| params.is_ca = IsCa::NoCa);
    let for_clients = self_signed(uses(&[ExtendedKeyUsagePurpose::ClientAuth]));
    let for_all = self_signed(uses(&[ExtendedKeyUsagePurpose::Any]));
    let for_servers = self_signed(uses(&[ExtendedKeyUsagePurpose::ServerAuth]));
    let expired = self_signed(years(2000, 2001));
    let early = self_signed(years(4000, 4001));
    let strange = self_signed_strangely();
    // Same contents as `plain`, with another key.
    let twin = self_signed(|_| {});
    let known = [
        &plain,
        &leaf,
        &for_clients,
        &for_all,
        &for_servers,
        &expired,
        &early,
        &strange,
    ];
    let file: String = known.iter().map(|one| one.certificate.as_str()).collect();
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    ";
    let file = file.trim_end().replace('\n', "\n    ");
    let text = format!("{TLS}{lines}{file}\n");
    let served = Served::start(&text).await;
    for (name, identity, good) in [
        ("plain", &plain, true),
        ("leaf", &leaf, true),
        ("for clients", &for_clients, true),
        ("for all", &for_all, true),
        ("for servers", &for_servers, false),
        ("expired", &expired, false),
        ("early", &early, false),
        ("twin", &twin, false),
    ] {
        assert_eq!(
            answered(&served, Some(&identity.both())).await,
            good,
            "{name}"
        );
    }
    for (what, certificate, key) in [
        // The certificate is public, so a client without its key must be rejected.
        ("without its key", &plain, &twin),
        ("with an unknown critical extension", &strange, &strange),
    ] {
        let provider = aws_lc_rs::default_provider();
        let pem = certificate.certificate.as_bytes();
        let key = PrivateKeyDer::from_pem_slice(key.key.as_bytes()).unwrap();
        let identity = rustls::sign::CertifiedKey::new(
            vec![CertificateDer::from_pem_slice(pem).unwrap()],
            provider.key_provider.load_private_key(key).unwrap(),
        );
        let identity = Arc::new(rustls::sign::SingleCertAndKey::from(identity));
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut stream = match connect_with(&served, version, identity.clone()).await {
                Ok(stream) => stream,
                Err(error) => {
                    assert!(error.to_string().contains("alert"), "{what}: {error}");
                    continue;
                }
            };
            let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let answer = stream.read_to_end(&mut Vec::new()).await;
            assert!(asked.is_err() || answer.is_err(), "{what}");
        }
    }
    // `client_allowed_sans` still applies.
    let allowed = "  client_allowed_sans: [b]\n";
    let served = Served::start(&format!("{text}{allowed}")).await;
    assert!(!answered(&served, Some(&plain.both())).await);
}

/// Connects with this client certificate.
async fn connect_with(
    served: &Served,
    version: &'static rustls::SupportedProtocolVersion,
    identity: Arc<rustls::sign::SingleCertAndKey>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(served.authority.pem().as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(identity);
    let stream = TcpStream::connect(served.address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(SERVER.try_into().unwrap(), stream).await
}

#[tokio::test]
#[ignore = "needs openssl and curl: make test"]
async fn curl_is_let_in_with_what_openssl_req_makes_and_a_refusal_is_logged_once_with_its_reason() {
    let folder = prepared(
        &Authority::new(),
        &format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: client.crt\n"
        ),
    );
    let here = |command: &str| {
        let mut command = Command::new(command);
        command.current_dir(folder.path());
        command
    };
    for name in ["client", "other"] {
        let made = here("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=client\u{1b}[31m",
                "-keyout",
                &format!("{name}.key"),
            ])
            .args(["-out", &format!("{name}.crt")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let mut daemon = demo(folder.path());
    let curl = |name: &str| {
        let port = daemon.address.port();
        let asked = here("curl")
            .args(["--silent", "--cacert", "ca.crt", "--resolve"])
            .arg(format!("{SERVER}:{port}:127.0.0.1"))
            .args([
                "--cert",
                &format!("{name}.crt"),
                "--key",
                &format!("{name}.key"),
            ])
            .arg(format!("https://{SERVER}:{port}/-/healthy"))
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    assert_eq!(curl("client"), "connections-exporter is healthy.\n");
    for _ in 0..5 {
        assert_eq!(curl("other"), "");
    }
    assert_eq!(curl("client"), "connections-exporter is healthy.\n");
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    let refusals: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a TLS connection was refused"))
        .collect();
    assert_eq!(refusals.len(), 1, "{log}");
    assert!(
        refusals[0].contains("level=warn")
            && refusals[0].contains("client=127.0.0.1")
            && refusals[0].contains("is not itself in client_ca_file")
            && !log.contains("[31m"),
        "{log}"
    );
}

#[tokio::test]
async fn a_refused_handshake_is_a_warning_with_its_reason_and_a_flood_of_them_one_line() {
    let folder = prepared(
        &Authority::new(),
        &format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"),
    );
    let mut daemon = demo(folder.path());
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true);
    let client = client.no_proxy().build().unwrap();
    for _ in 0..10 {
        let url = format!("https://{}/metrics", daemon.address);
        assert!(client.get(url).send().await.is_err());
    }
    daemon.signal("TERM");
    let (_, _, log) = daemon.end();
    let refusals: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a TLS connection was refused"))
        .collect();
    assert_eq!(refusals.len(), 1, "{log}");
    assert!(
        refusals[0].contains("level=warn")
            && refusals[0].contains("the client shows no certificate")
            && refusals[0].contains("others=0"),
        "{log}"
    );
}

#[tokio::test]
async fn a_servers_certificate_is_not_a_clients() {
    let lines = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let served = Served::start(&format!("{TLS}{lines}")).await;
    let own = served.authority.server().both();
    assert!(!answered(&served, Some(&own)).await);
}

#[tokio::test]
async fn one_of_the_allowed_names_must_be_in_the_certificate() {
    let allowed = "[prometheus.test, ops@prometheus.test, 'spiffe://ops/prometheus', 10.1.2.3, \
        '2001:db8::1']";
    let lines = format!(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
            client_allowed_sans: {allowed}\n"
    );
    let served = Served::start(&format!("{TLS}{lines}")).await;
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    let ip = |text: &str| SanType::IpAddress(text.parse().unwrap());
    for (names, good) in [
        (vec![dns("prometheus.test")], true),
        (vec![dns("other.test"), mail("ops@prometheus.test")], true),
        (vec![uri("spiffe://ops/prometheus")], true),
        (vec![ip("10.1.2.3")], true),
        (vec![ip("2001:db8::1")], true),
        (vec![dns("Prometheus.test")], false),
        (vec![dns("a.prometheus.test")], false),
        (vec![dns("*.test")], false),
        (vec![uri("spiffe://ops/prometheus/a")], false),
        (vec![ip("10.1.2.4")], false),
        (vec![], false),
    ] {
        let client = served.authority.client(names.clone()).both();
        assert_eq!(answered(&served, Some(&client)).await, good, "{names:?}");
    }
    assert!(!answered(&served, None).await);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let served = Served::start(&format!("{TLS}  client_auth_type: RequireAnyClientCert\n")).await;
    // With TLS 1.3 a client can send its request before the server rejects its certificate.
    let versions = &[&rustls::version::TLS13];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut stream = connect(&served, versions, provider, &[]).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}
