//! Configuration of an account of any system: its connector, its targets and its intervals.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::CertificateDer;
use serde_yaml::Value;

use super::{Connect, System};
use crate::blocking::files::FileKind;
use crate::settings::pem::certificates;
use crate::settings::{FileName, Period, Rate, Text, Validator};

/// Minimum interval between two polls of a target.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Rate limit of an account that configures none, in requests per minute.
pub(crate) const DEFAULT_REQUESTS_PER_MINUTE: NonZeroU32 =
    NonZeroU32::new(60).expect("60 is not 0");

/// The key `poll` of the configuration, with its defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollConfig {
    /// Interval between two polls of a target.
    pub interval: Duration,
    /// Period over which first polls are spread.
    ///
    /// An account spreads them over its interval, if that is shorter.
    pub first_poll_within: Duration,
    /// Timeout of one HTTP request, from headers to the end of the body.
    pub request_timeout: Duration,
    /// Age from which a listing is no longer exported.
    ///
    /// `None` means three intervals of the target plus its longest poll.
    pub stale_after: Option<Duration>,
    /// Maximum number of connections of one target.
    pub max_connections: usize,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(5),
            first_poll_within: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            stale_after: None,
            max_connections: 50_000,
        }
    }
}

/// One tenant or subdomain: the unit of rate limits and of HTTP clients.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// System of the account.
    pub system: &'static System,
    /// The `account` label, unique within the system.
    pub name: String,
    /// Scheme, host and port of every request.
    pub base_url: Url,
    /// Rate limit of the account.
    pub requests_per_minute: NonZeroU32,
    /// Interval between two polls of a target.
    pub interval: Duration,
    /// Age from which a listing is no longer exported.
    ///
    /// `None` means three intervals of the target plus its longest poll.
    pub stale_after: Option<Duration>,
    /// Certificates to trust in addition to the platform's.
    pub certificates: Vec<CertificateDer<'static>>,
    /// File with these certificates, which is checked for changes.
    pub ca_file: Option<PathBuf>,
    /// Targets that the configuration file names.
    pub targets: Vec<TargetConfig>,
    /// What is requested from the vendor about the targets.
    pub discovery: DiscoveryMode,
    /// Creates the source of the account.
    pub connect: Arc<dyn Connect>,
    /// Fingerprint of the account's entry in the configuration file.
    pub written: SourceFingerprint,
}

/// Parts of an account's configuration that its source is created from.
///
/// If they differ after a reload, the account needs a new source. Keys that change only the request
/// rate, or the expected connections of a target in a list, are left out.
#[derive(Clone, PartialEq, Default)]
pub struct SourceFingerprint {
    /// Entry of the account in the file, without these keys.
    pub(crate) entry: Value,
    /// Content of `ca_file`.
    ca: Vec<u8>,
}

impl fmt::Debug for SourceFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceFingerprint")
    }
}

impl AccountConfig {
    /// Returns the period over which first polls of this account are spread.
    #[must_use]
    pub fn first_poll_within(&self, poll: &PollConfig) -> Duration {
        poll.first_poll_within.min(self.interval)
    }

    /// Returns the number of requests per day besides listings.
    #[must_use]
    pub(crate) fn besides_listings_per_day(&self) -> f64 {
        let discoveries = match self.discovery {
            DiscoveryMode::Never => 0.0,
            DiscoveryMode::Names | DiscoveryMode::Targets => 24.0,
        };
        discoveries + self.connect.other_requests_per_day() as f64
    }
}

/// One entity or one integration: the unit of polling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// Id of the target at the vendor.
    pub id: String,
    /// The `target` label, if it is configured.
    pub name: Option<String>,
    /// Connections that must exist.
    pub expect: Vec<String>,
}

impl TargetConfig {
    /// Creates a target that the vendor listed and the configuration does not mention.
    #[must_use]
    pub fn found(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: None,
            expect: Vec::new(),
        }
    }
}

/// What is requested from the vendor about an account's targets, once an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryMode {
    /// Nothing.
    Never,
    /// The names of the targets.
    Names,
    /// The list of targets.
    Targets,
}

/// Keys that the accounts of every system have.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is the key of the same name")]
pub struct CommonSettings {
    pub account: Option<Text>,
    pub requests_per_minute: Option<Rate>,
    pub interval: Option<Period>,
    pub ca_file: Option<FileName>,
}

impl CommonSettings {
    /// Combines these keys with the parts that the system has checked itself.
    ///
    /// Returns `None` if a part is missing. Each missing part has been reported.
    pub fn account(
        self,
        check: &mut Validator<'_>,
        poll: &PollConfig,
        system: &'static System,
        base_url: Option<Url>,
        (targets, discovery): (Vec<TargetConfig>, DiscoveryMode),
        connect: Option<Arc<dyn Connect>>,
    ) -> Option<AccountConfig> {
        let own = self.interval.map(|period| period.0);
        if own.is_some_and(|interval| interval < MIN_INTERVAL) {
            check.problem("interval", "must be at least 1s");
        }
        let ca_file = self.ca_file.as_ref();
        let (ca, certificates) = ca_file
            .and_then(|file| {
                let parse = |pem: Vec<u8>| certificates(&pem).map(|list| (pem, list));
                check.file("ca_file", FileKind::Certificate, file, parse)
            })
            .unwrap_or_default();
        Some(AccountConfig {
            system,
            name: check.required("account", self.account)?.0,
            base_url: base_url?,
            requests_per_minute: self
                .requests_per_minute
                .map_or(DEFAULT_REQUESTS_PER_MINUTE, |rate| rate.0),
            interval: own.unwrap_or(poll.interval),
            stale_after: poll.stale_after,
            certificates,
            ca_file: self.ca_file.map(|file| check.path(&file)),
            targets,
            discovery,
            connect: connect?,
            written: SourceFingerprint {
                ca,
                ..SourceFingerprint::default()
            },
        })
    }
}
