//! How servers prove who they are, read once for all accounts that trust the same.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;

/// How servers prove who they are: one for all accounts that trust the same certificates.
///
/// The platform's certificates take milliseconds to read and some hundred kB to hold, for each account if nobody shares
/// them. They are those of when this was made.
#[derive(Debug, Default)]
pub struct Trust(HashMap<Vec<CertificateDer<'static>>, ClientConfig>);

impl Trust {
    /// The settings for an account that trusts these beside the platform's. Fails if one is none, or if the platform's
    /// cannot be loaded.
    pub(super) fn settings(
        &mut self,
        certificates: &[CertificateDer<'static>],
    ) -> Result<ClientConfig, rustls::Error> {
        let mut settings = if let Some(known) = self.0.get(certificates) {
            known.clone()
        } else {
            let made = trusting(certificates)?;
            self.0.insert(certificates.to_vec(), made.clone());
            made
        };
        // An account talks to one host. Its sessions stay its own, and none is lost because there are many accounts.
        settings.resumption = Resumption::in_memory_sessions(1);
        Ok(settings)
    }
}

/// What reqwest would make of its own for each client.
fn trusting(certificates: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(certificates.iter().cloned(), provider.clone())?;
    let mut settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(settings)
}
