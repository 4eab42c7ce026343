//! Interface to vendor APIs: how a system lists its targets and their connections.
//!
//! Another system needs a file `NAME.rs` here, with a folder of that name, the line that declares
//! it, and its entry in `SYSTEMS`. In `config.rs` it needs one field in the raw configuration, and
//! one line that checks its accounts. See `docs/adding-a-system.md`.

pub mod account;
pub mod http;
pub(crate) mod json;
pub(crate) mod token_cache;
pub mod zis;
pub mod zuora;

use std::time::Duration;

use ::http::HeaderMap;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::model::error::PollError;
use crate::model::listing::{LONG, Listing, ListingBuilder, Row};
use crate::settings::Validator;
use account::{AccountConfig, PollConfig};
use http::{Client, Quota, offload};

/// Constants of a system.
#[derive(Debug)]
pub struct System {
    /// The `system` label, and the key in the configuration.
    pub name: &'static str,
    /// Pairs of type and status that are exported even at 0.
    ///
    /// The status is empty if the system has no statuses.
    pub zero_series: &'static [(&'static str, &'static str)],
    /// Status that means connected; `None` if the system has no statuses.
    pub healthy_status: Option<&'static str>,
    /// Name of the response header with the vendor's request id.
    pub request_id_header: &'static str,
    /// Reads the quotas from the headers of a response; the second argument is its date.
    pub quotas: fn(&HeaderMap, Timestamp) -> Vec<Quota>,
}

/// All systems.
pub(crate) const SYSTEMS: &[&System] = &[zuora::ZuoraAccount::SYSTEM, zis::ZisAccount::SYSTEM];

/// Request limits that a vendor publishes; `None` where it publishes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedLimits {
    /// Tenants that the limits apply to, and how that was determined.
    pub of: &'static str,
    /// Requests per minute.
    pub minute: Option<u64>,
    /// Requests per hour.
    pub hour: Option<u64>,
    /// Requests per day.
    pub day: Option<u64>,
}

/// Maximum number of targets in a vendor's list.
///
/// No account has more, so a longer list is rejected.
const MAX_TARGETS: usize = 10_000;

/// A target that the vendor lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// Id of the target at the vendor.
    pub id: String,
    /// Display name, if the vendor reports one.
    pub name: Option<String>,
}

/// Completes a listing after its last page.
///
/// A long listing is sorted off the event loop.
async fn finish(builder: ListingBuilder) -> Result<Listing, PollError> {
    let (endpoint, long) = (builder.endpoint(), builder.rows_taken() > LONG);
    offload(endpoint, long, || builder.finish()).await
}

/// One account of a system, as the configuration file describes it.
pub trait AccountSettings: DeserializeOwned {
    /// System of the account.
    const SYSTEM: &'static System;

    /// Checks the account, and reports every problem to `check`.
    ///
    /// Returns `None` if a problem leaves no usable account.
    fn check(self, check: &mut Validator<'_>, poll: &PollConfig) -> Option<AccountConfig>;
}

/// Connector of an account whose configuration was checked.
pub trait Connect: std::fmt::Debug + Send + Sync {
    /// Creates the source, which sends its requests with `client`.
    fn connect(&self, client: Client) -> Box<dyn Source>;

    /// Returns the limits that the vendor publishes for this account.
    fn limits(&self) -> PublishedLimits;

    /// Returns the number of requests per day for tokens and background jobs.
    fn other_requests_per_day(&self) -> u64 {
        0
    }
}

/// One account at a vendor.
///
/// A source lists. It never sleeps, retries, logs or caches a listing. The poller decides when to
/// poll, and the client enforces the rate limit. Requests that no listing needs are background
/// jobs.
#[async_trait]
pub trait Source: Send + Sync {
    /// Lists all connections of one target, from all pages, or fails.
    async fn list(&self, target: &str) -> Result<Listing, PollError>;

    /// Lists the targets of the account, or the names of the configured targets.
    ///
    /// It is not called if the configuration leaves nothing to discover.
    async fn discover(&self) -> Result<Vec<DiscoveredTarget>, PollError> {
        Ok(Vec::new())
    }

    /// Returns the background jobs of each target, by their values of the `endpoint` label.
    fn jobs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Runs one of these jobs for a target.
    ///
    /// Its requests use the client that `Client::in_background` returns. Returns the time until the
    /// next run, or `None` if the job does not run again with this credential. A failed job runs
    /// again with back-off.
    async fn run_job(&self, job: &str, target: &str) -> Result<Option<Duration>, PollError> {
        let _ = (job, target);
        Ok(None)
    }

    /// Returns a fingerprint of the target's credential; `None` if it cannot be read.
    ///
    /// With it, the poller detects that a rejected credential was replaced.
    async fn credential(&self, target: &str) -> Option<u64>;

    /// Takes over what a job of an earlier source had added to this listing, the target's last one.
    ///
    /// It is called before each poll.
    fn learn(&self, target: &str, listing: &Listing) {
        let _ = (target, listing);
    }

    /// Returns the `expect` entry of the configuration that this row would satisfy.
    ///
    /// Returns `None` if the row cannot satisfy any entry.
    fn matches_expected<'a>(&self, target: &str, connection: Row<'a>) -> Option<&'a str>;

    /// Exports what [`discover`](Self::discover) learned and [`list`](Self::list) needs.
    ///
    /// It is saved in the state directory, and contains no credential.
    fn export_state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Restores what [`export_state`](Self::export_state) returned before a restart.
    ///
    /// Content that cannot be read is ignored.
    fn import_state(&self, memory: serde_json::Value) {
        drop(memory);
    }
}
