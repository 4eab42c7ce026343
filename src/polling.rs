//! Which accounts and targets exist, and when each is polled.

pub mod account;
pub(crate) mod background_jobs;
mod backoff;
pub(crate) mod poller;
pub mod reload;
mod repeated_failure;
pub mod request_estimate;
pub(crate) mod schedule;
pub mod shard;
pub(crate) mod supervisor;
