//! Which accounts and targets exist, and when each is polled.

pub mod account;
pub mod jobs;
pub mod poller;
pub mod reload;
mod repeated;
pub mod request_estimate;
pub mod schedule;
pub mod shard;
pub mod supervisor;
