//! Estimate of the requests that a configuration makes, compared with the budget and the limits.

use std::fmt;

use jiff::SignedDuration;

use crate::vendors::account::AccountConfig;

const MINUTES_PER_DAY: f64 = 1440.0;

/// Estimated requests of one account.
///
/// Each listing counts as one page, because the number of pages is available only later.
#[derive(Debug)]
pub struct RequestEstimate<'a> {
    account: &'a AccountConfig,
    per_day: f64,
}

impl<'a> RequestEstimate<'a> {
    /// Creates the estimate of an account.
    #[must_use]
    pub fn of(account: &'a AccountConfig) -> Self {
        let polls = account.targets.len().max(1) as f64 * 86_400.0 / account.interval.as_secs_f64();
        Self {
            account,
            per_day: polls + account.besides_listings_per_day(),
        }
    }

    /// Returns warnings about settings that the operator should change.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let limits = self.account.connect.limits();
        let mut warnings = Vec::new();
        for (limit, window, per_window) in self.windows(&limits) {
            if limit.is_some_and(|limit| per_window > limit as f64) {
                warnings.push(format!(
                    "needs {} requests {window}, and the vendor allows {} ({}), shared with \
                        everybody else: raise interval",
                    rounded(per_window),
                    limit.unwrap_or_default(),
                    limits.of
                ));
            }
        }
        let stale_after = self.account.stale_after;
        if stale_after.is_some_and(|stale| stale < self.account.interval * 2) {
            warnings.push(
                "stale_after is less than two intervals: one failed poll will drop the listing"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Returns a warning if the estimate exceeds the budget.
    ///
    /// The daemon logs its own warning once it has the number of pages.
    fn over_budget(&self) -> Option<String> {
        let budget = f64::from(self.account.requests_per_minute.get());
        let needed = self.per_day / MINUTES_PER_DAY;
        (needed > budget).then(|| {
            let needed = rounded(needed);
            format!(
                "needs {needed} requests a minute, and the budget is {budget}: intervals will \
                be stretched; raise interval or requests_per_minute"
            )
        })
    }

    fn windows(
        &self,
        limits: &crate::vendors::PublishedLimits,
    ) -> [(Option<u64>, &'static str, f64); 3] {
        [
            (limits.minute, "a minute", self.per_day / MINUTES_PER_DAY),
            (limits.hour, "an hour", self.per_day / 24.0),
            (limits.day, "a day", self.per_day),
        ]
    }
}

impl fmt::Display for RequestEstimate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccountConfig {
            system,
            name,
            targets,
            interval,
            requests_per_minute,
            connect,
            ..
        } = self.account;
        // In the usual notation, such as 10m. Only an interval of more than a thousand years is
        // capped.
        let interval = format!(
            "{:#}",
            SignedDuration::try_from(*interval).unwrap_or(SignedDuration::MAX)
        );
        let targets = match targets.len() {
            0 => "its targets are listed by the vendor; for each of them, one page".to_owned(),
            1 => "1 target, one page".to_owned(),
            n => format!("{n} targets, one page each"),
        };
        writeln!(
            f,
            "{} {name}: {targets} every {interval}, budget {requests_per_minute} requests a minute",
            system.name
        )?;
        let limits = connect.limits();
        writeln!(
            f,
            "  {:10} {:>12} {:>14}",
            "requests", "planned", "vendor allows"
        )?;
        for (limit, window, per_window) in self.windows(&limits) {
            let limit = limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
            writeln!(f, "  {window:10} {:>12} {limit:>14}", rounded(per_window))?;
        }
        writeln!(f, "  (limits of: {})", limits.of)?;
        let warnings = self.over_budget().into_iter().chain(self.warnings());
        warnings
            .into_iter()
            .try_for_each(|warning| writeln!(f, "  warning: {warning}"))
    }
}

/// Returns the number rounded up: below ten to one decimal, otherwise to an integer.
fn rounded(number: f64) -> String {
    if number < 10.0 {
        format!("{:.1}", (number * 10.0).ceil() / 10.0)
    } else {
        format!("{:.0}", number.ceil())
    }
}
