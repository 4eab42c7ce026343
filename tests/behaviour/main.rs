//! Tests of the program from outside: through `run`, or through the binary.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]
#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
#![expect(
    clippy::float_cmp,
    reason = "counts and dates come through a page as they went in"
)]

mod admin;
mod binary;
mod bodies;
mod browser;
mod check;
mod configurations;
mod daemon;
mod dashboards;
mod deploy;
mod discovery;
mod documents;
mod faults;
mod first_contact;
mod flags;
mod golden;
mod harness;
mod hostile;
mod layers;
mod listings;
mod network;
mod page;
mod paging;
mod pki;
mod planted;
mod prometheus;
mod reload;
mod restarts;
mod runbooks;
mod secrets;
mod server;
mod shards;
mod soak;
mod stalled;
mod standby;
mod startup;
mod status;
mod stored_tokens;
mod supervised;
mod web_config;
