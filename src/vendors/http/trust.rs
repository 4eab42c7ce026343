//! Trusted certificates, read once for all accounts that trust the same ones, and again on changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use crate::blocking::files;
use crate::blocking::files::FileKind;
use crate::blocking::{BlockingPool, DeadlineExceeded};
use crate::invalid::Invalid;
use crate::settings::pem::certificates;
use crate::vendors::account::AccountConfig;

/// Interval of checks for changed certificates.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Deadline for reading certificates, which takes milliseconds if nothing hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

const NONE: &str = "the machine has no certificates of authorities, and no server can prove itself \
    without: install ca-certificates, correct SSL_CERT_FILE and SSL_CERT_DIR if they are set, or set \
    ca_file";

type Certificates = Vec<CertificateDer<'static>>;

/// Trusted certificates of all accounts, shared by those that trust the same ones.
///
/// The machine's certificates take milliseconds to read and some hundred kB of memory. Without
/// sharing, every account would pay that.
#[derive(Debug)]
pub(super) struct Trust {
    /// Certificates of the machine, once an account needed them.
    machine: Mutex<Option<Arc<Certificates>>>,
    /// Trusted certificates by `ca_file`.
    anchors: Mutex<HashMap<Option<PathBuf>, Arc<Anchors>>>,
    /// No certificates, for accounts with plain HTTP, once there is one.
    nothing: Mutex<Option<Arc<Anchors>>>,
    pool: BlockingPool,
}

/// Certificates that some accounts trust.
#[derive(Debug)]
pub(super) struct Anchors(Mutex<TrustedRoots>);

#[derive(Debug)]
struct TrustedRoots {
    /// Certificates of `ca_file`, in addition to the machine's.
    own: Certificates,
    settings: ClientConfig,
    /// Number of changes.
    generation: u64,
    /// Error of the last check, which is logged once.
    problem: Option<Invalid>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            machine: Mutex::default(),
            anchors: Mutex::default(),
            nothing: Mutex::default(),
            pool: BlockingPool::new(1),
        }
    }
}

impl Anchors {
    /// Returns a number that changes with the trusted certificates.
    pub(super) fn generation(&self) -> u64 {
        self.0.lock().generation
    }

    /// Returns the TLS configuration of new connections, and its generation.
    pub(super) fn settings(&self) -> (ClientConfig, u64) {
        let current = self.0.lock();
        let mut settings = current.settings.clone();
        // An account connects to one host. Its sessions stay separate, and none is evicted because
        // there are many accounts.
        settings.resumption = Resumption::in_memory_sessions(1);
        (settings, current.generation)
    }

    /// Replaces the certificates; callers do so only if some changed.
    fn replace(&self, own: &Certificates, machine: &Certificates) -> Result<(), rustls::Error> {
        let settings = trusting(own, machine)?;
        let mut current = self.0.lock();
        current.own.clone_from(own);
        current.settings = settings;
        current.generation += 1;
        current.problem = None;
        Ok(())
    }
}

impl Trust {
    /// Returns what this account trusts.
    ///
    /// Fails if that is nothing, or if a certificate is invalid. Plain HTTP needs no certificates,
    /// so none are read for it.
    pub(super) fn of(&self, account: &AccountConfig) -> Result<Arc<Anchors>, Invalid> {
        if account.base_url.scheme() != "https" {
            let mut nothing = self.nothing.lock();
            if let Some(known) = &*nothing {
                return Ok(known.clone());
            }
            let settings = client_config(RootCertStore::empty()).map_err(|e| e.to_string())?;
            let made = Arc::new(Anchors::new(Vec::new(), settings));
            return Ok(nothing.insert(made).clone());
        }
        let own = &account.certificates;
        let machine = self
            .machine
            .lock()
            .get_or_insert_with(|| {
                let (certificates, problems) = with_problems();
                for problem in problems {
                    tracing::warn!(
                        problem,
                        "certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be used"
                    );
                }
                Arc::new(certificates)
            })
            .clone();
        let mut anchors = self.anchors.lock();
        // Certificates of accounts that no longer exist are dropped.
        anchors.retain(|_, anchors| Arc::strong_count(anchors) > 1);
        if let Some(known) = anchors.get(&account.ca_file) {
            if known.0.lock().own != *own {
                known.replace(own, &machine).map_err(sentence)?;
            }
            return Ok(known.clone());
        }
        let settings = trusting(own, &machine).map_err(sentence)?;
        let made = Arc::new(Anchors::new(own.clone(), settings));
        anchors.insert(account.ca_file.clone(), made.clone());
        Ok(made)
    }

    /// Checks again and again whether certificates changed, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut hangs = false;
        loop {
            sleep(CHECK_INTERVAL).await;
            let done = self.look_again().await;
            if done.is_err() && !hangs {
                tracing::warn!(
                    "certificates could not be read again in time: the earlier ones are trusted"
                );
            }
            hangs = done.is_err();
        }
    }

    async fn look_again(&self) -> Result<(), DeadlineExceeded> {
        let Some(machine) = self.machine.lock().clone() else {
            return Ok(());
        };
        let known: Vec<_> = self
            .anchors
            .lock()
            .iter()
            .map(|(file, anchors)| (file.clone(), anchors.clone()))
            .collect();
        let own = join_all(known.iter().map(|(file, _)| own(file.as_deref()))).await;
        let now = self.pool.run(READ_TIMEOUT, of_machine).await?;
        // While its package is being replaced, the machine briefly has no certificates.
        let changed = !now.is_empty() && now != *machine;
        let machine = if changed {
            tracing::info!(
                certificates = now.len(),
                "the machine's certificates of authorities changed"
            );
            let now = Arc::new(now);
            *self.machine.lock() = Some(now.clone());
            now
        } else {
            machine
        };
        for ((file, anchors), own) in known.into_iter().zip(own) {
            anchors.update(file.as_deref(), own, &machine, changed);
        }
        Ok(())
    }
}

impl Anchors {
    /// Applies certificates that were read again.
    ///
    /// Certificates that cannot be used are logged once, and change nothing.
    fn update(
        &self,
        file: Option<&Path>,
        own: Result<Certificates, Invalid>,
        machine: &Certificates,
        machine_changed: bool,
    ) {
        let file = file.map(|file| file.display().to_string());
        let result = own.and_then(|own| {
            let changed = self.0.lock().own != own;
            if changed || machine_changed {
                self.replace(&own, machine).map_err(sentence)?;
            }
            Ok(changed)
        });
        match result {
            Ok(changed) => {
                self.0.lock().problem = None;
                if changed {
                    tracing::info!(file, "ca_file changed: new connections are checked by it");
                }
            }
            Err(problem) => {
                let before = self.0.lock().problem.replace(problem.clone());
                if before.as_ref() != Some(&problem) {
                    tracing::warn!(
                        file,
                        %problem,
                        "ca_file cannot be used: its earlier certificates are trusted"
                    );
                }
            }
        }
    }

    fn new(own: Certificates, settings: ClientConfig) -> Self {
        Self(Mutex::new(TrustedRoots {
            own,
            settings,
            generation: 0,
            problem: None,
        }))
    }
}

/// Reads what the machine trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR`, or the system's location.
fn of_machine() -> Certificates {
    rustls_native_certs::load_native_certs().certs
}

/// Reads the same, with what is wrong if it is a variable that names the location.
fn with_problems() -> (Certificates, Vec<String>) {
    let read = rustls_native_certs::load_native_certs();
    let set = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let is_set = set.iter().any(|name| std::env::var_os(name).is_some());
    let mut problems = Vec::new();
    if is_set {
        problems.extend(read.errors.iter().map(ToString::to_string));
        if problems.is_empty() && read.certs.is_empty() {
            problems.push("there is no certificate".to_owned());
        }
    }
    (read.certs, problems)
}

async fn own(file: Option<&Path>) -> Result<Certificates, Invalid> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let pem = files::read(FileKind::Certificate, file).await;
    let pem = pem.map_err(|error| error.to_string())?;
    certificates(&pem)
}

fn sentence(error: rustls::Error) -> String {
    match error {
        rustls::Error::General(sentence) => sentence,
        _ => "a certificate of ca_file cannot be that of an authority".to_owned(),
    }
}

fn trusting(own: &Certificates, machine: &Certificates) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in own {
        roots.add(certificate.clone())?;
    }
    // One certificate of hundreds that cannot be read must not cost the others.
    roots.add_parsable_certificates(machine.iter().cloned());
    if roots.is_empty() {
        return Err(rustls::Error::General(NONE.to_owned()));
    }
    client_config(roots)
}

/// Creates the TLS configuration that reqwest would create for each client.
fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut settings = if roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        builder.with_webpki_verifier(verifier)
    }
    .with_no_client_auth();
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(settings)
}
