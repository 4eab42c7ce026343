//! Errors of failed polls, as data.
//!
//! A [`PollError`] has a reason from a fixed list, and what an operator needs to ask the vendor.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::settings::CurrentSecret;

/// Reason of a failed poll: the value of the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No connection, or a connection that ended before the response did.
    Unreachable,
    /// The certificate or the TLS handshake was not acceptable.
    Tls,
    /// No complete response within `request_timeout`.
    Timeout,
    /// The vendor rejected the credential.
    Unauthorized,
    /// The token belongs to another integration, or the integration does not exist.
    IntegrationMismatch,
    /// The credential is valid, but lacks the permission.
    Forbidden,
    /// The requested resource does not exist.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// The vendor reported a server error.
    ServerError,
    /// A status that no vendor documents.
    UnexpectedStatus,
    /// The vendor refused the request in the response body: Zuora's `success: false`.
    Refused,
    /// The body is not what the vendor documents.
    Decode,
    /// More bytes or more connections than the exporter accepts.
    TooLarge,
    /// Paging made no progress.
    Pagination,
    /// The exporter's own credential could not be read.
    Credential,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    ///
    /// Each one is exported at 0 from the start.
    pub const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::Tls,
        Self::Timeout,
        Self::Unauthorized,
        Self::IntegrationMismatch,
        Self::Forbidden,
        Self::NotFound,
        Self::RateLimited,
        Self::ServerError,
        Self::UnexpectedStatus,
        Self::Refused,
        Self::Decode,
        Self::TooLarge,
        Self::Pagination,
        Self::Credential,
    ];

    /// Returns the value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::IntegrationMismatch => "integration_mismatch",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::UnexpectedStatus => "unexpected_status",
            Self::Refused => "refused",
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::Pagination => "pagination",
            Self::Credential => "credential",
        }
    }

    /// Returns whether the vendor rejected the credential.
    ///
    /// That does not change until an operator does something. Polling at the usual rate would only
    /// look like an attack.
    #[must_use]
    pub(crate) const fn is_refused_credential(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::IntegrationMismatch | Self::Forbidden
        )
    }

    /// Returns whether the vendor refused the request, for any reason of its own.
    ///
    /// Time alone does not end such a refusal.
    #[must_use]
    pub(crate) const fn is_refusal(self) -> bool {
        self.is_refused_credential() || matches!(self, Self::NotFound | Self::Refused)
    }

    /// Returns whether the failure may end by itself.
    ///
    /// Any other failure lasts until an operator does something.
    #[must_use]
    pub(crate) const fn may_pass(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Tls
            | Self::Timeout
            | Self::RateLimited
            | Self::ServerError
            | Self::Credential => true,
            Self::Unauthorized
            | Self::IntegrationMismatch
            | Self::Forbidden
            | Self::NotFound
            | Self::UnexpectedStatus
            | Self::Refused
            | Self::Decode
            | Self::TooLarge
            | Self::Pagination => false,
        }
    }

    /// Returns what an operator can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "check the network, the proxy and base_url",
            Self::Tls => {
                "as the error says: the server's certificate, its name or date, ca_file, or what \
                    the server asks of its clients"
            }
            Self::Timeout => {
                "the vendor is slow: see its status page, or raise poll.request_timeout"
            }
            Self::Unauthorized => {
                "the credential was refused: check that it is current and belongs to this account"
            }
            Self::IntegrationMismatch => {
                "the token belongs to another integration, or the integration does not exist: \
                    check its name and use the token made for it"
            }
            Self::Forbidden => {
                "the credential lacks a permission or a scope: grant it, or use another one"
            }
            Self::NotFound => "check base_url, and that the feature is enabled for this account",
            Self::RateLimited => {
                "lower requests_per_minute or poll less often: the quota is shared with others"
            }
            Self::ServerError => {
                "the vendor failed: the next poll tries again; see its status page"
            }
            Self::UnexpectedStatus => {
                "check base_url, and whether a proxy answers in the vendor's place"
            }
            Self::Refused => "the vendor refused the request: ask its support, with the request id",
            Self::Decode => {
                "the answer is not the documented one: check base_url, and whether a proxy answers \
                    in the vendor's place"
            }
            Self::TooLarge => "raise poll.max_connections if the target really holds that many",
            Self::Pagination => {
                "the vendor's paging repeated itself: ask its support, with the request id"
            }
            Self::Credential => "make the secret file readable and not empty",
        }
    }
}

/// Error of a failed poll or a failed discovery.
///
/// Its only text from the vendor is error codes and a request id of harmless characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollError {
    /// Reason of the failure.
    pub reason: Reason,
    /// Name of the failed call, as in the `endpoint` label.
    pub endpoint: Cow<'static, str>,
    /// HTTP status, if there was a response.
    pub status: Option<u16>,
    /// Error codes of the vendor.
    pub codes: Vec<String>,
    /// Request id of the vendor, for its support.
    pub request_id: Option<String>,
    /// What happened, in the exporter's own words.
    pub detail: String,
    /// Whether `detail` is a fixed text of the program, which holds nothing of an account.
    #[serde(skip)]
    pub is_fixed_text: bool,
    /// What to do about it, if that is more specific than [`Reason::remedy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Box<str>>,
}

impl PollError {
    /// Creates an error that has only a reason and the exporter's own sentence.
    pub fn new(reason: Reason, endpoint: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            endpoint: endpoint.into(),
            status: None,
            codes: Vec::new(),
            request_id: None,
            detail: detail.into(),
            is_fixed_text: false,
            remedy: None,
        }
    }

    /// Converts the error of a call that was made with `secret`.
    ///
    /// A rejected credential becomes [`Reason::Credential`] if its file could not be read in time,
    /// because the file may hold a new credential.
    #[must_use]
    pub(crate) fn made_with(self, secret: &CurrentSecret) -> Self {
        match secret.outdated() {
            Some(unread) if self.reason.is_refused_credential() => Self {
                reason: Reason::Credential,
                detail: format!("{unread}, and the value read last was refused"),
                is_fixed_text: false,
                ..self
            },
            _ => self,
        }
    }

    /// Returns whether the vendor rejected the credential.
    ///
    /// This includes a credential that is the last one read from a file that hangs.
    #[must_use]
    pub(crate) fn is_refused_credential(&self) -> bool {
        self.reason.is_refused_credential()
            || (self.reason == Reason::Credential && self.status.is_some())
    }

    /// Returns whether the vendor refused the request, for any reason of its own.
    #[must_use]
    pub(crate) fn is_refusal(&self) -> bool {
        self.reason.is_refusal() || self.is_refused_credential()
    }

    /// Returns what an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        self.remedy
            .as_deref()
            .unwrap_or_else(|| self.reason.remedy())
    }
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.detail)?;
        if !self.codes.is_empty() {
            write!(f, " (vendor code {})", self.codes.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for PollError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
