//! Time at which a vendor allows the next request.
//!
//! It is in `Retry-After`, as seconds or as a date, or else in `ratelimit-reset`. A number that is
//! too large for seconds is a date since 1970. Dates are compared with the response's own `Date`,
//! because the vendor's clock may differ from the local one.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use jiff::Timestamp;

/// Maximum number of seconds, one year; a larger number is a date.
const MAX_WAIT: f64 = 31_536_000.0;
/// Maximum date in seconds, in the year 5138; a larger number is in milliseconds.
const LATEST_DATE: f64 = 1e11;

/// Returns the date of a response: its `Date` header, or else `ours`.
#[must_use]
pub(super) fn date(headers: &HeaderMap, ours: Timestamp) -> Timestamp {
    let date = headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date.trim()).ok())
        .and_then(|date| Timestamp::try_from(date).ok())
        .unwrap_or(ours)
}

/// Returns the wait from the first of the two headers that can be read; `None` without one.
///
/// `date` is the date of the response. A date in the past results in zero. Waits of an hour or more
/// are returned as they are, and the caller limits them.
#[must_use]
pub(crate) fn from_headers(headers: &HeaderMap, date: Timestamp) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    text(header::RETRY_AFTER.as_str())
        .and_then(|value| number(value, date).or_else(|| until(value, date)))
        .or_else(|| reset(headers, date))
}

/// Returns the wait from `ratelimit-reset`, in seconds or as a date; `date` is the response's.
#[must_use]
pub fn reset(headers: &HeaderMap, date: Timestamp) -> Option<Duration> {
    number(headers.get("ratelimit-reset")?.to_str().ok()?.trim(), date)
}

/// Reads seconds with or without a fraction, or a date in seconds or milliseconds since 1970.
///
/// The result is at most a year, so that no arithmetic on it can overflow.
fn number(text: &str, date: Timestamp) -> Option<Duration> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = plain.then(|| text.parse().ok())??;
    let seconds = if number <= MAX_WAIT {
        number
    } else {
        let then = if number > LATEST_DATE {
            number / 1e3
        } else {
            number
        };
        (then - date.as_microsecond() as f64 / 1e6).clamp(0.0, MAX_WAIT)
    };
    Duration::try_from_secs_f64(seconds).ok()
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
        let ours = "2026-01-02T03:04:05Z".parse().unwrap();
        from_headers(&headers, date(&headers, ours))
    }

    #[test]
    fn a_large_number_is_a_date() {
        // 2026-01-02T03:04:05Z is 1767323045.
        for at in ["1767323075", "1767323075.0", "1767323075000"] {
            for header in ["retry-after", "ratelimit-reset"] {
                let waits = wait(&[(header, at)]).unwrap().as_secs_f64();
                assert!((waits - 30.0).abs() < 1e-3, "{header}: {at}: {waits}");
            }
        }
        assert_eq!(
            wait(&[("retry-after", "1767323000")]),
            Some(Duration::ZERO),
            "which may be past"
        );
        assert_eq!(
            wait(&[("retry-after", "86400")]),
            Some(Duration::from_hours(24))
        );
    }

    #[test]
    fn dates_are_compared_with_the_answers_own() {
        // The vendor's clock is ten minutes ahead of the local one.
        let theirs = ("date", "Fri, 02 Jan 2026 03:14:05 GMT");
        for at in ["Fri, 02 Jan 2026 03:14:35 GMT", "1767323675"] {
            let waits = wait(&[theirs, ("retry-after", at)]);
            assert_eq!(waits, Some(Duration::from_secs(30)), "{at}");
        }
        assert_eq!(
            wait(&[theirs, ("ratelimit-reset", "1767323675")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(&[("date", "today"), ("retry-after", "1767323075")]),
            Some(Duration::from_secs(30)),
            "without one that can be read it is ours"
        );
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
