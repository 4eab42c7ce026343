//! A real Prometheus scrapes over TLS, with a client certificate and with a password.

use std::fs;

use rcgen::SanType;

use super::flags::demo;
use super::served::{TLS, prepared, user};
use crate::daemon::Daemon;
use crate::pki::{Authority, SERVER};
use crate::prometheus::{scraping, until};

#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn prometheus_scrapes_with_a_certificate_and_with_a_password() {
    let authority = Authority::new();
    let with_password = prepared(
        &authority,
        &format!("{TLS}{}", user("prometheus", "s3cret", 10)),
    );
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
        client_allowed_sans: [prometheus.test]\n  min_version: TLS13\n";
    let with_certificate = prepared(&authority, &format!("{TLS}{verified}"));
    let folder = tempfile::tempdir().unwrap();
    let client = SanType::DnsName("prometheus.test".try_into().unwrap());
    authority
        .client(vec![client])
        .write(folder.path(), "client");
    fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    let daemons = [demo(with_password.path()), demo(with_certificate.path())];

    let job = |name: &str, daemon: &Daemon, more: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    static_configs: [{{targets: \
                ['{}']}}]\n    tls_config:\n      ca_file: ca.crt\n      server_name: \
                {SERVER}\n{more}",
            daemon.address
        )
    };
    let certificate = "      cert_file: client.crt\n      key_file: client.key\n";
    let password = |password: &str| {
        format!("    basic_auth: {{username: prometheus, password: {password}}}\n")
    };
    let jobs = [
        job("password", &daemons[0], &password("s3cret")),
        job("wrong", &daemons[0], &password("wrong")),
        job("certificate", &daemons[1], certificate),
        job("nobody", &daemons[1], ""),
    ];
    let prometheus = scraping(folder.path(), &jobs.concat());
    let url = format!("http://{}/api/v1/targets", prometheus.address);
    let expected = [
        ("certificate", "up", ""),
        ("nobody", "down", "certificate required"),
        ("password", "up", ""),
        ("wrong", "down", "401"),
    ];
    // Until they agree: on a busy machine a scrape can miss its deadline of one second.
    until(&url, |answer| {
        let targets = answer["data"]["activeTargets"].as_array();
        let is_as_expected = |target: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let (job, health) = (text(&target["labels"]["job"]), text(&target["health"]));
            let error = text(&target["lastError"]);
            let mut expected = expected.iter();
            expected.any(|(name, is, says)| job == *name && health == *is && error.contains(says))
        };
        targets.is_some_and(|targets| {
            targets.len() == expected.len() && targets.iter().all(is_as_expected)
        })
    })
    .await;
}
