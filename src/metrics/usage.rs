//! How budgets and quotas are used, for people.

use jiff::Timestamp;

/// How an account's budget and the vendor's quota are used, as of one date.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The budget as configured, in requests a second.
    pub configured: f64,
    /// The budget as it is now.
    pub effective: f64,
    /// What the schedule needs of it.
    pub planned: f64,
    /// When the running pause ends; `None` when not paused.
    pub paused_until: Option<Timestamp>,
    /// What the vendor last said of each window.
    pub quotas: Vec<WindowUsage>,
}

/// What the vendor last said of one window of its quota, in requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WindowUsage {
    /// The `window` label.
    pub window: String,
    /// What it allows.
    pub limit: Option<f64>,
    /// What is left.
    pub remaining: Option<f64>,
    /// When it is whole again, in seconds since 1970.
    pub reset: Option<f64>,
}
