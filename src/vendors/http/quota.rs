//! Quotas in the headers of a vendor's responses.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// One quota, as a response reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The `window` label: its seconds, `concurrency`, or `unknown`.
    pub window: &'static str,
    /// Number of requests in the window.
    pub limit: Option<u64>,
    /// Number of requests that remain.
    pub remaining: Option<u64>,
    /// Time until the quota resets.
    pub reset: Option<Duration>,
}

/// Returns the number in a header.
#[must_use]
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the `ratelimit-…` headers; `None` if they are missing.
///
/// `ratelimit-limit` is a limit or a list, such as `2250000, 50000;w=60, 2250000;w=3600`. The first
/// item is the limit of the window that is closest to its end. The others have their window in
/// seconds after `w=`.
///
/// `window` is the result's window if the list does not identify it. `date` is the date of the
/// response.
#[must_use]
pub fn ratelimit(headers: &HeaderMap, window: &'static str, date: Timestamp) -> Option<Quota> {
    let list = headers
        .get("ratelimit-limit")
        .and_then(|value| value.to_str().ok());
    let mut items = list
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let limit: Option<u64> = parts.next().and_then(|limit| limit.parse().ok());
            (limit, parts.find_map(|part| part.strip_prefix("w=")))
        });
    let first = items.next();
    let limit = first.and_then(|(limit, _)| limit);
    let told = first.and_then(|(_, window)| window);
    let told = told.or_else(|| {
        items
            .find(|(other, _)| limit.is_some() && *other == limit)?
            .1
    });
    let remaining = number(headers, "ratelimit-remaining");
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    let window = match told {
        None => window,
        Some("60") => "60",
        Some("3600") => "3600",
        Some("86400") => "86400",
        Some(_) => "unknown",
    };
    Some(Quota {
        window,
        limit,
        remaining,
        reset: super::retry_after::reset(headers, date),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_first_item_of_a_list_takes_the_window_of_the_item_with_the_same_limit() {
        let list = "2250000, 50000;w=60, 2250000;w=3600, 27000000;w=86400";
        let headers = headers(&[
            ("ratelimit-limit", list),
            ("ratelimit-remaining", "7"),
            ("ratelimit-reset", "30"),
        ]);
        let quota = Quota {
            window: "3600",
            limit: Some(2_250_000),
            remaining: Some(7),
            reset: Some(Duration::from_secs(30)),
        };
        assert_eq!(
            ratelimit(&headers, "unknown", Timestamp::UNIX_EPOCH),
            Some(quota)
        );
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let window = |list: &[(&'static str, &str)]| {
            ratelimit(&headers(list), "60", Timestamp::UNIX_EPOCH)
                .map(|quota| (quota.window, quota.limit))
        };
        assert_eq!(
            window(&[("ratelimit-limit", "700")]),
            Some(("60", Some(700)))
        );
        assert_eq!(
            window(&[("ratelimit-limit", "700;w=5")]),
            Some(("unknown", Some(700)))
        );
        assert_eq!(
            window(&[("ratelimit-limit", "many"), ("ratelimit-remaining", "3")]),
            Some(("60", None))
        );
        assert_eq!(window(&[("ratelimit-limit", ";;,,")]), None);
        assert_eq!(window(&[("ratelimit-reset", "3")]), None);
    }
}
