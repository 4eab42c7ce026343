//! An authority of a test's own, and certificates by it.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};

/// The name that the servers of tests have.
pub(crate) const SERVER: &str = "exporter.test";

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// As reqwest wants it.
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

    /// For a server, and for nothing else.
    pub(crate) fn server(&self) -> Identity {
        let name = SanType::DnsName(SERVER.try_into().unwrap());
        self.issue(vec![name], vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// For a server that is a client of others, too.
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
