//! What readiness waits for.

use std::fmt;

/// Accounts and targets that have not had their first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whether another process is active, and this one waits for it to end.
    pub standby: bool,
    /// Whether all accounts of the first configuration are in the inventory.
    pub all_open: bool,
    /// Number of accounts that are not in it yet.
    pub opening: usize,
    /// Number of accounts whose targets have not been listed yet.
    pub accounts: usize,
    /// Number of targets that have not been polled yet.
    pub targets: usize,
}

impl fmt::Display for Pending {
    /// Writes counts only, because the readiness endpoint needs no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            standby,
            all_open,
            opening,
            accounts,
            targets,
        } = self;
        if *standby {
            return f
                .write_str("another process uses the state directory, and this one is standby");
        }
        let opening = (!all_open).then(|| format!("accounts still being opened: {opening}"));
        let accounts = (*accounts > 0)
            .then(|| format!("accounts whose targets were not listed yet: {accounts}"));
        let targets = (*targets > 0).then(|| format!("targets not polled yet: {targets}"));
        let missing: Vec<_> = [opening, accounts, targets].into_iter().flatten().collect();
        f.write_str(&missing.join("; "))
    }
}
