//! Converts `tls_server_config` into a rustls configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, RootCertStore, ServerConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use super::client_auth::{ClientAuth, Clients};
use super::files::Seen;
use super::go_tls_names::{curves, http2_suites, suites, versions};
use crate::blocking::files;
use crate::blocking::files::FileKind;
use crate::settings::pem::certificates;
use crate::settings::{FileName, Validator, filled, given};

/// The key `tls_server_config`. As in Go, an empty string means that a key is not set.
#[derive(Default, Deserialize)]
pub(super) struct RawTls {
    #[serde(default, deserialize_with = "filled")]
    cert: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    key: Option<SecretString>,
    #[serde(default, deserialize_with = "filled")]
    client_ca: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    cert_file: Option<FileName>,
    #[serde(default, deserialize_with = "filled")]
    key_file: Option<FileName>,
    #[serde(default, deserialize_with = "filled")]
    client_ca_file: Option<FileName>,
    #[serde(default, deserialize_with = "filled")]
    client_auth_type: Option<String>,
    #[serde(default, deserialize_with = "given")]
    client_allowed_sans: Option<Vec<String>>,
    #[serde(default, deserialize_with = "filled")]
    min_version: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    max_version: Option<String>,
    #[serde(default, deserialize_with = "given")]
    cipher_suites: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    curve_preferences: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    prefer_server_cipher_suites: Option<bool>,
}

/// Directory and reader of the files, and the fingerprints of those that were read.
pub(super) struct TlsFiles<'a> {
    pub(super) folder: &'a Path,
    pub(super) read: &'a files::Files,
    pub(super) seen: &'a mut Seen,
}

/// TLS settings of the server.
pub struct Tls {
    server: Arc<ServerConfig>,
    identity: CertifiedKey,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Returns the acceptor of TLS connections.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.server.clone().into()
    }

    /// Returns the server's certificate with its private key.
    pub(crate) fn identity(&self) -> &CertifiedKey {
        &self.identity
    }
}

impl RawTls {
    /// Whether no key is set, which means no TLS.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            cert,
            key,
            client_ca,
            cert_file,
            key_file,
            client_ca_file,
            client_auth_type,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            curve_preferences,
            prefer_server_cipher_suites,
        } = self;
        cert.is_none()
            && key.is_none()
            && client_ca.is_none()
            && cert_file.is_none()
            && key_file.is_none()
            && client_ca_file.is_none()
            && client_auth_type.is_none()
            && client_allowed_sans.is_none()
            && min_version.is_none()
            && max_version.is_none()
            && cipher_suites.is_none()
            && curve_preferences.is_none()
            && prefer_server_cipher_suites.is_none()
    }

    /// Builds the TLS settings; `None` if an error was reported.
    pub(super) fn check(
        self,
        http2: bool,
        files: &mut TlsFiles<'_>,
        here: &mut Validator<'_>,
    ) -> Option<Tls> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = suites(&provider, self.cipher_suites, here);
        provider.kx_groups = curves(&provider, self.curve_preferences, here);
        let provider = Arc::new(provider);
        let versions = versions(self.min_version, self.max_version, here);
        if http2 && let Some(versions) = &versions {
            http2_suites(&provider, versions, here);
        }

        let named = self.client_ca.is_some() || self.client_ca_file.is_some();
        let authorities = files.material(
            here,
            "client_ca",
            self.client_ca.as_deref(),
            self.client_ca_file,
        );
        let clients = clients(
            self.client_auth_type.as_deref().unwrap_or_default(),
            named.then(|| match authorities {
                Some(pem) => roots(&pem, here),
                None => Authorities::default(),
            }),
            self.client_allowed_sans,
            &provider,
            here,
        );

        let cert = files.material(here, "cert", self.cert.as_deref(), self.cert_file);
        let key = self.key.as_ref().map(ExposeSecret::expose_secret);
        let key = files.material(here, "key", key, self.key_file);
        let identity = identity(cert, key, &provider, here);

        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions?)
            .map_err(|error| {
                here.problem("cipher_suites", format!("leave nothing to speak: {error}"));
            })
            .ok()?;
        let identity = identity?;
        let own = SingleCertAndKey::from(identity.clone());
        let mut server = builder
            .with_client_cert_verifier(Arc::new(clients?))
            .with_cert_resolver(Arc::new(own));
        server.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            server.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Some(Tls {
            server: Arc::new(server),
            identity,
        })
    }
}

/// PEM data, and the configuration key that it comes from.
struct Material {
    key: String,
    pem: Vec<u8>,
}

impl TlsFiles<'_> {
    /// Returns the PEM data of either `{key}` or `{key}_file`.
    fn material(
        &mut self,
        here: &mut Validator<'_>,
        key: &str,
        inline: Option<&str>,
        file: Option<FileName>,
    ) -> Option<Material> {
        let file_key = format!("{key}_file");
        match (inline, file) {
            (Some(_), Some(_)) => {
                here.problem(key, format!("give {key} or {file_key}, not both"));
                None
            }
            (Some(pem), None) => Some(Material {
                key: key.to_owned(),
                pem: pem.as_bytes().to_vec(),
            }),
            (None, Some(FileName(name))) => {
                let path = self.folder.join(&name);
                let read = self.read.read(FileKind::Certificate, &path);
                self.seen.note(FileKind::Certificate, &path, &read);
                let read = read.map_err(|error| {
                    // The name is shown only if it is a path: the value may be the PEM itself or
                    // another secret.
                    let what = format!("{} {error}", here.printable(&name));
                    here.problem(&file_key, what);
                });
                Some(Material {
                    key: file_key,
                    pem: read.ok()?,
                })
            }
            (None, None) => {
                // The server's certificate and key are required. Verification of clients is
                // optional.
                if key != "client_ca" {
                    here.required::<()>(&file_key, None);
                }
                None
            }
        }
    }
}

fn identity(
    cert: Option<Material>,
    key: Option<Material>,
    provider: &CryptoProvider,
    here: &mut Validator<'_>,
) -> Option<CertifiedKey> {
    let chain = cert.and_then(|cert| {
        certificates(&cert.pem)
            .map_err(|error| here.problem(&cert.key, error))
            .ok()
    });
    let key = key.and_then(|key| {
        let private = PrivateKeyDer::from_pem_slice(&key.pem).map_err(|_| {
            here.problem(
                &key.key,
                "holds no private key in PEM form; one with a passphrase cannot be read",
            );
        });
        Some((key.key, private.ok()?))
    });
    let (chain, (key, private)) = (chain?, key?);
    CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => here.problem(&key, "is not the key of the certificate"),
            Error::InvalidCertificate(error) => {
                here.problem("", format!("the certificate cannot be used: {error}"));
            }
            _ => here.problem(
                &key,
                "is of a kind that cannot be used: expected RSA of 2048 to \
                8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
            ),
        })
        .ok()
}

/// Authorities of client certificates.
struct Authorities {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Default for Authorities {
    fn default() -> Self {
        Self {
            roots: RootCertStore::empty(),
            certificates: Vec::new(),
        }
    }
}

/// Parses the authorities of client certificates.
///
/// Go skips those that it cannot read, and thereby rejects their clients. Here they are errors.
fn roots(pem: &Material, here: &mut Validator<'_>) -> Authorities {
    let mut authorities = Authorities::default();
    let list = certificates(&pem.pem).unwrap_or_else(|error| {
        here.problem(&pem.key, error);
        Vec::new()
    });
    for (index, certificate) in list.into_iter().enumerate() {
        if let Err(error) = authorities.roots.add(certificate.clone()) {
            let what = format!("certificate {} cannot be used: {error}", index + 1);
            here.problem(&pem.key, what);
        }
        authorities.certificates.push(certificate);
    }
    authorities
}

/// Builds the verifier of client certificates.
///
/// Settings that would admit more clients than intended are errors.
fn clients(
    auth: &str,
    authorities: Option<Authorities>,
    sans: Option<Vec<String>>,
    provider: &Arc<CryptoProvider>,
    here: &mut Validator<'_>,
) -> Option<Clients> {
    let auth = ClientAuth::parse(auth)
        .map_err(|allowed| here.problem("client_auth_type", allowed))
        .ok()?;
    if auth.verifies() && authorities.is_none() {
        here.problem(
            "client_ca_file",
            "is missing: client_auth_type verifies clients, and Go \
            would take the certificates of every public authority; name those whose clients may \
            come in",
        );
        return None;
    }
    if auth == ClientAuth::NoClientCert && authorities.is_some() {
        here.problem(
            "client_auth_type",
            "asks for no certificate, so client_ca_file would check \
            none: expected VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        );
    }
    if sans.is_some() && auth != ClientAuth::RequireAndVerifyClientCert {
        here.problem(
            "client_allowed_sans",
            "needs client_auth_type RequireAndVerifyClientCert: \
            anybody can write any name into a certificate that nobody verifies",
        );
    }
    if sans.as_ref().is_some_and(Vec::is_empty) {
        here.problem(
            "client_allowed_sans",
            "is empty: nobody could connect; name at least one, or leave the key out",
        );
    }
    let sans = sans.map(BTreeSet::from_iter);
    let Authorities {
        roots,
        certificates,
    } = authorities.unwrap_or_default();
    if auth.verifies() && roots.is_empty() {
        // The reason was already reported.
        return None;
    }
    Clients::new(auth, roots, certificates, sans, provider.clone())
        .map_err(|error| here.problem("client_ca_file", error))
        .ok()
}
