//! Which accounts and targets exist, and when each is polled.

pub mod account;
pub mod background_jobs;
pub mod poller;
pub mod reload;
mod repeated_failure;
pub mod request_estimate;
pub mod schedule;
pub mod shard;
pub mod supervisor;
