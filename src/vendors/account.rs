//! An account of any system, as the configuration says: how it is reached, what is polled of it, and how often.

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

/// No target is listed more often.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The budget of an account that has none of its own.
pub const DEFAULT_REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");

/// The key `poll`, with its defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollConfig {
    /// How often each target is listed.
    pub interval: Duration,
    /// First polls are spread over this; no account spreads them over more than its interval.
    pub first_poll_within: Duration,
    /// For one HTTP request, headers and body.
    pub request_timeout: Duration,
    /// An older listing is dropped from the page; `None`: three intervals of the target and its longest poll.
    pub stale_after: Option<Duration>,
    /// The most connections that one target may have.
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
    /// The system that it belongs to.
    pub system: &'static System,
    /// The `account` label, unique within the system.
    pub name: String,
    /// Scheme, host and port of every request.
    pub base_url: Url,
    /// The budget.
    pub requests_per_minute: NonZeroU32,
    /// How often each of its targets is listed.
    pub interval: Duration,
    /// How old a listing may become before it is dropped from the page; `None`: three intervals and the longest poll.
    pub stale_after: Option<Duration>,
    /// Certificates to trust beside the platform's.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The file that they were read from, which is looked at again.
    pub ca_file: Option<PathBuf>,
    /// The targets that the file names.
    pub targets: Vec<TargetConfig>,
    /// What the vendor is asked about its targets.
    pub discovery: DiscoveryMode,
    /// How it is reached.
    pub connect: Arc<dyn Connect>,
    /// What the file says of it.
    pub written: SourceFingerprint,
}

/// What the file says of an account, to tell whether a source made from it would be another one. The keys that
/// change only how often it is asked, or what is expected of it, are left out.
#[derive(Clone, PartialEq, Default)]
pub struct SourceFingerprint {
    /// Its entry in the file.
    pub(crate) entry: Value,
    ca: Vec<u8>,
}

impl fmt::Debug for SourceFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceFingerprint")
    }
}

impl AccountConfig {
    /// First polls of this account are spread over this.
    #[must_use]
    pub fn first_poll_within(&self, poll: &PollConfig) -> Duration {
        poll.first_poll_within.min(self.interval)
    }

    /// Requests for tokens and for lists of targets, in a day.
    #[must_use]
    pub fn besides_listings_per_day(&self) -> f64 {
        let discoveries = match self.discovery {
            DiscoveryMode::Never => 0.0,
            DiscoveryMode::Names | DiscoveryMode::Targets => 24.0,
        };
        discoveries + self.connect.tokens_per_day() as f64
    }
}

/// One entity or one integration: the unit of polling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// What identifies it to the vendor.
    pub id: String,
    /// The configured `target` label.
    pub name: Option<String>,
    /// What must be among its connections.
    pub expect: Vec<String>,
}

impl TargetConfig {
    /// One that the vendor listed, of which the configuration says nothing.
    #[must_use]
    pub fn found(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: None,
            expect: Vec::new(),
        }
    }
}

/// What the vendor is asked about an account's targets, once an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryMode {
    /// Nothing.
    Never,
    /// Their names.
    Names,
    /// Which there are.
    Targets,
}

/// The keys that every account has, whatever its system.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is the key of the same name")]
pub struct CommonSettings {
    pub account: Option<Text>,
    pub requests_per_minute: Option<Rate>,
    pub interval: Option<Period>,
    pub ca_file: Option<FileName>,
}

impl CommonSettings {
    /// Puts an account together from what every system has and what this one checked itself.
    ///
    /// `None` if one of the parts is missing, each of which was reported.
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
        if own.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
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
