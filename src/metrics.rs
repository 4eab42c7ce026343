//! Every metric's name, help and labels.

mod account;
#[cfg(test)]
pub(crate) mod described;
mod families;
mod own;
mod usage;

pub use account::AccountMetrics;
pub use families::{ALL, COUNTDOWN, Header, Sink, freshness, listing, token_expires_in};
pub use own::{LastReload, OwnMetrics};
pub use usage::{Usage, WindowUsage};
