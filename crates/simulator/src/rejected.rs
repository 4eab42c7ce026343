//! Error of a command to the simulator that is not accepted.

use std::fmt;

/// A fault or a change that is not accepted: what is wrong, or what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected(String);

impl From<String> for Rejected {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<&str> for Rejected {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Rejected {}
