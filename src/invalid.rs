//! Error of input that is not accepted.

/// Reason why a value, a file or a request is not accepted: what is wrong, or what is allowed.
///
/// Each function that fails with it documents whether the text is a sentence or completes one. The
/// text never contains a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl From<String> for Invalid {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<&str> for Invalid {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl From<Invalid> for String {
    fn from(Invalid(reason): Invalid) -> Self {
        reason
    }
}
