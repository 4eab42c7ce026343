//! Use of budgets and quotas, as shown to operators.

use jiff::Timestamp;

/// Use of an account's budget and of the vendor's quota at one date.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Configured budget, in requests per second.
    pub configured: f64,
    /// Current budget, in requests per second.
    pub effective: f64,
    /// Requests per second that the schedule needs.
    pub planned: f64,
    /// End of the running pause; `None` if not paused.
    pub paused_until: Option<Timestamp>,
    /// Last quota that the vendor reported for each window.
    pub quotas: Vec<WindowUsage>,
}

/// Last quota that the vendor reported for one window, in requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WindowUsage {
    /// Value of the `window` label.
    pub window: String,
    /// Requests that the window allows.
    pub limit: Option<f64>,
    /// Requests that are left.
    pub remaining: Option<f64>,
    /// When the quota is full again, as a Unix timestamp in seconds.
    pub reset: Option<f64>,
}
