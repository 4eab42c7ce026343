//! Client certificates: whether one is requested, how it is verified, and which names it must have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use crate::invalid::Invalid;

/// `client_auth_type`, with the names of Go's `tls.ClientAuthType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    pub(super) fn parse(name: &str) -> Result<Self, Invalid> {
        Ok(match name {
            "" | "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // exporter-toolkit accepts the second name for old files.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => {
                return Err(
                    "expected NoClientCert, RequestClientCert, RequireAnyClientCert, \
                    VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                        .into(),
                );
            }
        })
    }

    pub(super) fn requires(self) -> bool {
        matches!(
            self,
            Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert
        )
    }

    pub(super) fn verifies(self) -> bool {
        matches!(
            self,
            Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert
        )
    }
}

/// Extended key usages (RFC 5280, 4.2.1.12).
const ANY_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const CLIENT_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Critical extensions that a directly trusted certificate may have.
///
/// Key usage, alternative names, basic constraints, name constraints, policies and extended key
/// usage. Of these only extended key usage is evaluated, because the others say nothing against a
/// certificate that is itself trusted.
const KNOWN_EXTENSIONS: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Verifier of client certificates.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    /// Names of the authorities, sent to clients in the handshake.
    hints: Vec<DistinguishedName>,
    /// Verifier of the certificate chain; `None` if chains are not verified.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that are trusted directly.
    ///
    /// A client's own certificate may be listed among the authorities. webpki rejects an authority
    /// as a client, and `openssl req -x509` marks its certificates as authorities.
    trusted: Vec<CertificateDer<'static>>,
    /// Alternative names, of which a certificate must have one; `None` allows any.
    sans: Option<BTreeSet<String>>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// Creates a verifier. `trusted` are the certificates of `authorities`.
    ///
    /// Fails with the reason if the authorities cannot be used.
    pub(super) fn new(
        auth: ClientAuth,
        authorities: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        sans: Option<BTreeSet<String>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Invalid> {
        let hints = authorities.subjects();
        let authorities = auth
            .verifies()
            .then(|| {
                WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone())
                    .build()
            })
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            auth,
            hints,
            authorities,
            trusted,
            sans,
            provider,
        })
    }

    /// Whether a certificate is trusted directly.
    ///
    /// As in Go, a certificate that is itself among the authorities is accepted if it is currently
    /// valid and for client authentication; otherwise this fails. The signature of the handshake
    /// proves that the client has its key.
    fn trusts(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<bool, Error> {
        if !self.trusted.contains(certificate) {
            return Ok(false);
        }
        let certificate = Certificate::from_der(certificate).map_err(malformed)?;
        let content = certificate.tbs_certificate();
        let (now, validity) = (now.as_secs(), content.validity());
        if now < validity.not_before.to_unix_duration().as_secs() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.to_unix_duration().as_secs() {
            return Err(CertificateError::Expired.into());
        }
        let mut extensions = content.extensions().into_iter().flatten();
        if extensions
            .any(|extension| extension.critical && !KNOWN_EXTENSIONS.contains(&extension.extn_id))
        {
            return Err(CertificateError::UnhandledCriticalExtension.into());
        }
        let uses = content.get_extension::<ExtendedKeyUsage>();
        let for_clients = uses.map_err(malformed)?.is_none_or(|(_, uses)| {
            let for_clients =
                |use_: &ObjectIdentifier| [ANY_USE, CLIENT_AUTHENTICATION].contains(use_);
            uses.0.iter().any(for_clients)
        });
        if for_clients {
            Ok(true)
        } else {
            Err(CertificateError::InvalidPurpose.into())
        }
    }
}

fn malformed<E>(_: E) -> Error {
    CertificateError::BadEncoding.into()
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.auth != ClientAuth::NoClientCert
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities
            && !self.trusts(end_entity, now)?
        {
            authorities.verify_client_cert(end_entity, intermediates, now)?;
        }
        match &self.sans {
            Some(allowed) if names(end_entity)?.is_disjoint(allowed) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    super::signatures::verify_signatures!();
}

/// Returns the alternative names of a certificate: DNS names, e-mail addresses, URIs, IP addresses.
fn names(certificate: &CertificateDer<'_>) -> Result<BTreeSet<String>, Error> {
    let certificate = Certificate::from_der(certificate).map_err(malformed)?;
    let names = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .map_err(malformed)?;
    let names = names.map_or_else(Vec::new, |(_, names)| names.0);
    Ok(names.iter().filter_map(text).collect())
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            // As in Go, an IPv4-mapped IPv6 address is written as IPv4.
            address
                .ok()
                .map(|address| address.to_canonical().to_string())
        }
        _ => None,
    }
}
