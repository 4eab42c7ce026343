//! Every metric's name, help and labels.

mod account;
#[cfg(test)]
pub(crate) mod described;
mod families;
mod own;

pub use account::{AccountMetrics, Usage, WindowUsage};
pub use families::{ALL, COUNTDOWN, Header, freshness, listing, token_expires_in};
pub use own::{LastReload, OwnMetrics, merged};
