//! What the rest of the program knows of any system: how to ask one for its targets and listings.
//!
//! A third system is one new file here and the line that names it, one field in the configuration's raw
//! form and one line where its accounts are taken over (both in `config.rs`); see
//! `docs/adding-a-system.md`.

pub mod account;
pub mod http;
pub mod json;
pub mod token_cache;
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
use http::{Client, Quota, beside_the_loop};

/// What never changes about a system.
#[derive(Debug)]
pub struct System {
    /// The `system` label, and the key in the configuration.
    pub name: &'static str,
    /// Pairs of type and status that are counted even at 0. A system without statuses has empty ones.
    pub zero_series: &'static [(&'static str, &'static str)],
    /// The status that means well; `None` where the system has no statuses.
    pub healthy_status: Option<&'static str>,
    /// The header in which the vendor tells the id of a request.
    pub request_id_header: &'static str,
    /// What an answer's headers say of the quota, at the date of the answer.
    pub quotas: fn(&HeaderMap, Timestamp) -> Vec<Quota>,
}

/// The requests that a vendor publishes as allowed; `None` where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedLimits {
    /// Which tenants these are the limits of, and where that is known from.
    pub of: &'static str,
    /// Requests in a minute.
    pub minute: Option<u64>,
    /// Requests in an hour.
    pub hour: Option<u64>,
    /// Requests in a day.
    pub day: Option<u64>,
}

/// More targets than any account has: a longer list of a vendor's is refused.
const MOST_TARGETS: usize = 10_000;

/// A target that the vendor lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// What identifies it to the vendor.
    pub id: String,
    /// What people call it, if the vendor says so.
    pub name: Option<String>,
}

/// Ends a listing after its last page: beside the event loop, since a long one is put in order.
async fn finish(builder: ListingBuilder) -> Result<Listing, PollError> {
    let (endpoint, long) = (builder.endpoint(), builder.rows_taken() > LONG);
    beside_the_loop(endpoint, long, || builder.finish()).await
}

/// One account of a system, as its own keys in the configuration spell it.
pub trait AccountSettings: DeserializeOwned {
    /// The system that it belongs to.
    const SYSTEM: &'static System;

    /// Checks one account; tells the checker every problem, and gives `None` if there was any that it
    /// cannot do without.
    fn check(self, check: &mut Validator<'_>, poll: &PollConfig) -> Option<AccountConfig>;
}

/// How an account is reached, once it is checked.
pub trait Connect: std::fmt::Debug + Send + Sync {
    /// Begins to use the account through this client.
    fn connect(&self, client: Client) -> Box<dyn Source>;

    /// What the vendor allows this account.
    fn limits(&self) -> PublishedLimits;

    /// Requests for tokens that the account makes in a day.
    fn tokens_per_day(&self) -> u64 {
        0
    }
}

/// One account of a system. A source lists; it never sleeps, retries, logs or caches a listing: the
/// poller decides when, and the client paces. Whatever no listing needs is a background job.
#[async_trait]
pub trait Source: Send + Sync {
    /// Lists all connections of one target, every page, or fails.
    async fn list(&self, target: &str) -> Result<Listing, PollError>;

    /// Lists the targets of the account, or the names of those that are configured. Not called where the
    /// configuration names all there is to know.
    async fn discover(&self) -> Result<Vec<DiscoveredTarget>, PollError> {
        Ok(Vec::new())
    }

    /// What is asked of each target beside its listings, by the words of the `endpoint` label.
    fn jobs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Runs one of these jobs for a target, with a client that is [in the background](Client::in_background). Returns when to run it
    /// again; `None`: not with this credential. One that failed is run again with back-off.
    async fn run_job(&self, job: &str, target: &str) -> Result<Option<Duration>, PollError> {
        let _ = (job, target);
        Ok(None)
    }

    /// Tells one credential from another, for a target: by it the poller sees that a refused one was
    /// changed. `None` where it cannot be read.
    async fn credential(&self, target: &str) -> Option<u64>;

    /// The `expect` entry of the configuration that this row of the target is there for; `None` where there can be
    /// none.
    fn matches_expected<'a>(&self, target: &str, connection: Row<'a>) -> Option<&'a str>;

    /// What [`discover`](Self::discover) learned and [`list`](Self::list) needs, for the state folder: no
    /// credential.
    fn export_state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes back what [`export_state`](Self::export_state) gave before a restart. What it does not understand, it lets be.
    fn import_state(&self, memory: serde_json::Value) {
        drop(memory);
    }
}
