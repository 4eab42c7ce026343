//! What the program does, seen from outside: through `run`, or through the binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
#![expect(
    clippy::float_cmp,
    reason = "counts and dates come through a page as they went in"
)]

mod admin;
mod binary;
mod browser;
mod check;
mod configurations;
mod daemon;
mod dashboards;
mod deploy;
mod discovery;
mod documents;
mod faults;
mod golden;
mod hostile;
mod listings;
mod page;
mod paging;
mod pki;
mod prometheus;
mod reload;
mod restarts;
mod rig;
mod runbooks;
mod secrets;
mod server;
mod shards;
mod soak;
mod startup;
mod status;
mod stored_tokens;
mod supervised;
mod web_config;
