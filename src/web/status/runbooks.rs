//! Runbooks that the pages link to, by reason.

use std::fmt;

use crate::model::error::Reason;

/// URL below which the runbooks are: `runbookUrl` in `deploy/mixin/values.yaml`.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks");

/// Runbook of an alert; its text is the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Runbook(pub(super) &'static str);

impl Runbook {
    pub(super) const TARGET_STALE: Self = Self("ConnectionsTargetStale");
    pub(super) const DISCOVERY_FAILING: Self = Self("ConnectionsDiscoveryFailing");
    pub(super) const ACCOUNT_PAUSED: Self = Self("ConnectionsAccountPaused");
    pub(super) const EXPECTED_MISSING: Self = Self("ExpectedConnectionMissing");
    pub(super) const PENDING: Self = Self("ConnectionPending");
    pub(super) const DISCONNECTED: Self = Self("ConnectionDisconnected");
    pub(super) const TOKEN_EXPIRING: Self = Self("ConnectionTokenExpiryImminent");
    pub(super) const TOKEN_EXPIRED: Self = Self("ConnectionTokenExpired");
    pub(super) const RELOAD_FAILED: Self = Self("ConnectionsExporterReloadFailed");
    pub(super) const WEB_CONFIG_FAILED: Self = Self("ConnectionsExporterWebConfigReloadFailed");

    /// Returns the runbook of the alert on targets that fail for this reason.
    pub(super) const fn of(reason: Reason) -> Self {
        match reason {
            Reason::Unauthorized | Reason::Credential => Self("ConnectionsTargetUnauthorized"),
            Reason::IntegrationMismatch => Self("ConnectionsTargetMismatch"),
            Reason::Forbidden => Self("ConnectionsTargetForbidden"),
            Reason::RateLimited => Self("ConnectionsTargetRateLimited"),
            Reason::Unreachable
            | Reason::Tls
            | Reason::Timeout
            | Reason::NotFound
            | Reason::ServerError
            | Reason::UnexpectedStatus
            | Reason::Refused
            | Reason::Decode
            | Reason::TooLarge
            | Reason::Pagination => Self("ConnectionsTargetFailing"),
        }
    }
}

impl fmt::Display for Runbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RUNBOOKS}/{}.md", self.0)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait for files")]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_runbook_exists_below_the_url_that_the_alerts_use() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let others = [
            Runbook::TARGET_STALE,
            Runbook::DISCOVERY_FAILING,
            Runbook::ACCOUNT_PAUSED,
            Runbook::EXPECTED_MISSING,
            Runbook::PENDING,
            Runbook::DISCONNECTED,
            Runbook::TOKEN_EXPIRING,
            Runbook::TOKEN_EXPIRED,
            Runbook::RELOAD_FAILED,
            Runbook::WEB_CONFIG_FAILED,
        ];
        let all = Reason::ALL.map(Runbook::of).into_iter().chain(others);
        for runbook in all {
            let file = root.join(format!("docs/runbooks/{}.md", runbook.0));
            assert!(file.exists(), "{}", file.display());
        }
        let values = std::fs::read_to_string(root.join("deploy/mixin/values.yaml")).unwrap();
        assert!(values.contains(&format!("runbookUrl: {RUNBOOKS}\n")));
    }
}
