//! Clients' certificates: whether one is asked for, what it is checked against, and whose it must be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

/// `client_auth_type`, by the names that Go gave its kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "" | "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // exporter-toolkit keeps the second name for old files.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => {
                return Err("expected NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert".to_owned());
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

/// Uses of a certificate (RFC 5280, 4.2.1.12).
const ANY_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const CLIENT_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// The extensions that say nothing, when they are critical, that would keep out a certificate that is trusted as it is: key
/// usage, alternative names, basic and name constraints, policies and extended key usage, which is looked at.
const KNOWN_EXTENSIONS: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Who may connect.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    /// Which authorities a client is told of.
    hints: Vec<DistinguishedName>,
    /// What checks a certificate, if anything does.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that are trusted as they are. Whoever names a client's own certificate as its authority means that one; webpki
    /// takes no authority for a client, as which `openssl req -x509` marks it.
    trusted: Vec<CertificateDer<'static>>,
    /// One of these names must be in the certificate.
    sans: Option<BTreeSet<String>>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// Fails if the authorities cannot be used, with the reason. `trusted` are their certificates.
    pub(super) fn new(
        auth: ClientAuth,
        authorities: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        sans: Option<BTreeSet<String>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
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

    /// Whether it is trusted as it is: Go takes a certificate that is itself among the authorities, if it is current and for
    /// clients. That the client has its key is shown by the signature of the handshake.
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The alternative names of a certificate: DNS, e-mail, URI and IP addresses.
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
            // As Go writes it: an IPv4 address in IPv6's clothes as IPv4.
            address
                .ok()
                .map(|address| address.to_canonical().to_string())
        }
        _ => None,
    }
}
