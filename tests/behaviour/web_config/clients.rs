//! Clients' certificates: who must show one, and whose is good.

use rcgen::SanType;
use reqwest::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::served::{Served, TLS};
use super::tls::connect;
use crate::pki::Authority;

/// Whether a client with this identity is answered, by either version of TLS.
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
        // Those who are told which authorities are wanted would not show another's; so this one is asked to.
        assert_eq!(
            answered(&served, Some(&stranger)).await,
            strange,
            "{kind} strange"
        );
    }
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
    let allowed = "[prometheus.test, ops@prometheus.test, 'spiffe://ops/prometheus', 10.1.2.3, '2001:db8::1']";
    let lines = format!(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: {allowed}\n"
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
    // By TLS 1.3 a client may send its request before it knows.
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
