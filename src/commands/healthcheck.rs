//! The `healthcheck` command: asks a daemon on this machine for its health, over TLS if configured.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, Error};
use tokio::time::{Instant, sleep};

use crate::vendors::http::{explain, find};
use crate::web::config::{Tls, WebConfig, verify_signatures};

/// Deadline for the response, and for the daemon to load a new certificate.
const TIMEOUT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(250);

/// TLS error if the server presents another certificate than the configured one.
const STRANGER: Error = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);

/// Remedy if the daemon rejects this check's client certificate.
const NOT_LET_IN: &str = "the daemon verifies its clients' certificates, and its own, which this \
    check shows, is not good as one: have it issued for client authentication too, by an authority \
    in client_ca_file; or look at the port instead";

/// Requests `/-/healthy` at `address`, as the web configuration prescribes. Fails unless the status
/// is 200.
///
/// A running daemon keeps its last valid web configuration when the file becomes invalid. The check
/// must still succeed then, so it accepts any certificate and plain HTTP.
pub(super) async fn ask(address: SocketAddr, web_config: Option<&Path>) -> anyhow::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let Some(file) = web_config else {
        return plain(address).await;
    };
    loop {
        let settings = match WebConfig::load(file).await {
            Ok(web_config) => web_config.current(),
            Err(problems) => {
                let Err(error) = over_tls(address, None).await else {
                    return Ok(());
                };
                let answer = plain(address).await;
                let error = match tls_error(&error) {
                    Some(tls) => anyhow!("no answer from {address}: {}", explain(tls).0),
                    None => error,
                };
                return answer.map_err(|_| error.context(problems));
            }
        };
        let Some(tls) = &settings.tls else {
            return plain(address).await;
        };
        let Err(error) = over_tls(address, Some(tls)).await else {
            return Ok(());
        };
        return Err(match tls_error(&error) {
            Some(tls) if *tls == STRANGER && Instant::now() + AGAIN < deadline => {
                sleep(AGAIN).await;
                continue;
            }
            Some(tls) if *tls == STRANGER => anyhow!(
                "{address} shows another certificate than {} names",
                file.display()
            ),
            // These TLS alerts concern the certificate that this check presents.
            Some(tls) => match explain(tls) {
                (what, _) if refuses_client(tls) => {
                    anyhow!("no answer from {address}: {what}: {NOT_LET_IN}")
                }
                (what, _) => anyhow!("no answer from {address}: {what}"),
            },
            None => error,
        });
    }
}

async fn plain(address: SocketAddr) -> anyhow::Result<()> {
    get(
        Client::builder(),
        &format!("http://{address}/-/healthy"),
        address,
    )
    .await
}

/// Sends the request over TLS, with the server's own certificate as client certificate.
///
/// A daemon that verifies client certificates may accept it.
async fn over_tls(address: SocketAddr, own: Option<&Tls>) -> anyhow::Result<()> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned {
        certificate: own.map(|tls| tls.identity().cert[0].clone()),
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match own {
        Some(tls) => {
            let own = SingleCertAndKey::from(tls.identity().clone());
            config.with_client_cert_resolver(Arc::new(own))
        }
        None => config.with_no_client_auth(),
    };
    let client = Client::builder().tls_backend_preconfigured(config);
    get(client, &format!("https://{address}/-/healthy"), address).await
}

/// Returns whether the daemon requires a client certificate and rejected the one presented.
fn refuses_client(error: &Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        error,
        Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::UnknownCA
                | Alert::AccessDenied
        )
    )
}

/// Returns the TLS error in the chain of an error, if there is one.
fn tls_error(error: &anyhow::Error) -> Option<&rustls::Error> {
    find(error.as_ref())
}

async fn get(client: reqwest::ClientBuilder, url: &str, address: SocketAddr) -> anyhow::Result<()> {
    let client = client
        .no_proxy()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .build()?;
    let answer = client.get(url).send().await;
    match answer
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("no answer from {address}"))?
        .status()
        .as_u16()
    {
        200 => Ok(()),
        status => bail!("{address} answered {status} at /-/healthy"),
    }
}

/// Verifier that accepts one certificate, or any if there is none.
///
/// It ignores the names in the certificate, which are those by which other clients reach the
/// server.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.certificate {
            Some(own) if own != end_entity => Err(STRANGER),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    verify_signatures!();
}
