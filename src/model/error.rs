//! Why a poll failed, as data: a reason from a fixed list, and what an operator needs to ask the vendor.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::settings::CurrentSecret;

/// The one word that says why a poll failed; the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No connection, or one that ended before the answer did.
    Unreachable,
    /// The certificate or the handshake was not acceptable.
    Tls,
    /// No complete answer within `request_timeout`.
    Timeout,
    /// The credential was refused.
    Unauthorized,
    /// The token belongs to another integration, or the integration does not exist.
    IntegrationMismatch,
    /// The credential was accepted and is not allowed to do this.
    Forbidden,
    /// What was asked for is not there.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// The vendor failed.
    ServerError,
    /// A status that no vendor's document knows.
    UnexpectedStatus,
    /// The vendor answered that it will not: Zuora's `success: false`.
    Refused,
    /// The body was not what the vendor documents.
    Decode,
    /// More bytes or more connections than we take.
    TooLarge,
    /// Paging made no progress.
    Pagination,
    /// Our own credential could not be read.
    Credential,
}

impl Reason {
    /// Every reason, in the order of `docs`; each is on the page at 0 from the start.
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

    /// The value of the `reason` label.
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

    /// Whether the vendor refused our credential, and will again until somebody changes something: asking
    /// as often as before would only look like an attack.
    #[must_use]
    pub const fn is_refused_credential(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::IntegrationMismatch | Self::Forbidden
        )
    }

    /// Whether the vendor refused, for whatever reason of its own: with time alone that does not change.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        self.is_refused_credential() || matches!(self, Self::NotFound | Self::Refused)
    }

    /// Whether it may pass by itself. Anything else stays as it is until somebody changes something.
    #[must_use]
    pub const fn may_pass(self) -> bool {
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

    /// What an operator can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "check the network, the proxy and base_url",
            Self::Tls => {
                "as the error says: the server's certificate, its name or date, ca_file, or what the server asks of its clients"
            }
            Self::Timeout => {
                "the vendor is slow: see its status page, or raise poll.request_timeout"
            }
            Self::Unauthorized => {
                "the credential was refused: check that it is current and belongs to this account"
            }
            Self::IntegrationMismatch => {
                "the token belongs to another integration, or the integration does not exist: check its name and use the token made for it"
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
                "the answer is not the documented one: check base_url, and whether a proxy answers in the vendor's place"
            }
            Self::TooLarge => "raise poll.max_connections if the target really holds that many",
            Self::Pagination => {
                "the vendor's paging repeated itself: ask its support, with the request id"
            }
            Self::Credential => "make the secret file readable and not empty",
        }
    }
}

/// A failed poll or a failed discovery. Holds nothing of a vendor's text but codes and a request id of
/// harmless characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollError {
    /// Why.
    pub reason: Reason,
    /// The call that failed, as in the `endpoint` label.
    pub endpoint: Cow<'static, str>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The vendor's own error codes.
    pub codes: Vec<String>,
    /// The vendor's id of the request, to give to its support.
    pub request_id: Option<String>,
    /// What happened, in our own words.
    pub detail: String,
    /// What to do about it, where that is more than the reason tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Box<str>>,
}

impl PollError {
    /// An error of which only the reason and our own sentence are known.
    pub fn new(reason: Reason, endpoint: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            endpoint: endpoint.into(),
            status: None,
            codes: Vec::new(),
            request_id: None,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// The error of a call that was made with this secret: one that was refused may have been replaced in the file that
    /// cannot be read.
    #[must_use]
    pub fn made_with(self, secret: &CurrentSecret) -> Self {
        match secret.outdated() {
            Some(unread) if self.reason.is_refused_credential() => Self {
                reason: Reason::Credential,
                detail: format!("{unread}, and the value read last was refused"),
                ..self
            },
            _ => self,
        }
    }

    /// Whether the vendor refused our credential: also the one that was read last from a file that hangs.
    #[must_use]
    pub fn is_refused_credential(&self) -> bool {
        self.reason.is_refused_credential()
            || (self.reason == Reason::Credential && self.status.is_some())
    }

    /// Whether the vendor refused, for whatever reason of its own.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.reason.is_refusal() || self.is_refused_credential()
    }

    /// What an operator can do about it.
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
