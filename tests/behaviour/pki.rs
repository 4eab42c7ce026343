//! Certificate authority for tests, and the certificates that it issues.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};

/// Host name of servers in tests.
pub(crate) const SERVER: &str = "exporter.test";

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Certificate and private key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// Returns certificate and key in one PEM text, as reqwest expects.
    pub(crate) fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }

    /// Writes `{name}.crt` and `{name}.key`.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(name).with_extension("crt"), &self.certificate).unwrap();
        fs::write(folder.join(name).with_extension("key"), &self.key).unwrap();
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, names: Vec<SanType>, uses: Vec<ExtendedKeyUsagePurpose>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = uses;
        Identity {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Issues a certificate for server authentication only.
    pub(crate) fn server(&self) -> Identity {
        let name = SanType::DnsName(SERVER.try_into().unwrap());
        self.issue(vec![name], vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// Issues a certificate for both server and client authentication.
    pub(crate) fn server_and_client(&self) -> Identity {
        let name = SanType::DnsName(SERVER.try_into().unwrap());
        let uses = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(vec![name], uses.to_vec())
    }

    pub(crate) fn client(&self, names: Vec<SanType>) -> Identity {
        self.issue(names, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }
}
