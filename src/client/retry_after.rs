//! When a vendor says to come back: `Retry-After` in seconds or as a date, else `ratelimit-reset`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use jiff::Timestamp;

/// How long to wait, by the first of the two headers that makes sense; `None` without one.
///
/// A date in the past, and an hour or more of either, are the caller's to judge.
#[must_use]
pub fn from_headers(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    text(header::RETRY_AFTER.as_str())
        .and_then(|value| seconds(value).or_else(|| until(value, now)))
        .or_else(|| reset(headers))
}

/// `ratelimit-reset`, in seconds.
#[must_use]
pub fn reset(headers: &HeaderMap) -> Option<Duration> {
    seconds(headers.get("ratelimit-reset")?.to_str().ok()?.trim())
}

/// Whole or broken seconds; not more than a year, so that no arithmetic on it can overflow.
fn seconds(text: &str) -> Option<Duration> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = plain.then(|| text.parse().ok())??;
    Duration::try_from_secs_f64(number.min(31_536_000.0)).ok()
}

fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(SystemTime::from(now))
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        from_headers(&headers, "2026-01-02T03:04:05Z".parse().unwrap())
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(
            wait(&[("retry-after", "30")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(&[("retry-after", "1.5")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            wait(&[("retry-after", "Fri, 02 Jan 2026 03:05:05 GMT")]),
            Some(Duration::from_mins(1))
        );
        assert_eq!(
            wait(&[("retry-after", "Thu, 02 Jan 2020 03:05:05 GMT")]),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn the_reset_counts_only_without_a_retry_after_that_makes_sense() {
        assert_eq!(
            wait(&[("retry-after", "3"), ("ratelimit-reset", "9")]),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            wait(&[("retry-after", "soon"), ("ratelimit-reset", "9")]),
            Some(Duration::from_secs(9))
        );
        assert_eq!(wait(&[("ratelimit-reset", "-1")]), None);
        assert_eq!(wait(&[("retry-after", "NaN")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn an_absurd_number_is_still_a_duration() {
        assert_eq!(
            wait(&[("retry-after", &"9".repeat(300))]),
            Some(Duration::from_hours(8760))
        );
    }
}
