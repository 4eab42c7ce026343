//! Which accounts and targets exist, and when each is polled.

pub mod account;
pub(crate) mod background_jobs;
pub(crate) mod poller;
mod refusals;
pub mod reload;
mod repeated_failure;
pub mod request_estimate;
pub(crate) mod schedule;
pub mod shard;
pub(crate) mod supervisor;
