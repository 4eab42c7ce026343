//! What a report shows of headers: known names, and the numbers of rate limits.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use serde::Serialize;

use super::vocabulary::{CODINGS, LIMIT_HEADERS, LIMIT_PREFIXES, MEDIA_TYPES};
use super::{Counts, characters, count, vocabulary};

/// Maximum number of digits of a number that is shown. A longer one is a date or an id.
const MAX_DIGITS: usize = 8;

/// Headers of the responses of one call.
#[derive(Debug, Default, Serialize)]
pub(super) struct HeaderShape {
    /// Known names, and in how many responses each was.
    names: Counts,
    /// Length of each other name.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    other_names: Counts,
    /// Values of headers about limits, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Counts>,
    #[serde(skip_serializing_if = "Counts::is_empty")]
    content_type: Counts,
    #[serde(skip_serializing_if = "Counts::is_empty")]
    content_encoding: Counts,
}

impl HeaderShape {
    /// Adds the headers of one response.
    pub(super) fn add(&mut self, headers: &HeaderMap) {
        for name in headers.keys() {
            let limit = limit_header(name.as_str());
            match vocabulary::header(name.as_str()) {
                Some(known) => count(&mut self.names, known.to_owned()),
                None => count(
                    &mut self.other_names,
                    limit.clone().unwrap_or_else(|| characters(name.as_str())),
                ),
            }
            let Some(limit) = limit else { continue };
            if self.limits.len() < super::MAX_ENTRIES || self.limits.contains_key(&limit) {
                let values = self.limits.entry(limit).or_default();
                for value in headers.get_all(name) {
                    count(values, limit_value(name.as_str(), value.as_bytes()));
                }
            }
        }
        for value in headers.get_all(header::CONTENT_TYPE) {
            count(&mut self.content_type, media_type(value.as_bytes()));
        }
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            count(&mut self.content_encoding, one_of(&CODINGS, text.trim()));
        }
    }
}

/// Returns the name of a header about limits; only its beginning, if the rest is not known.
fn limit_header(name: &str) -> Option<String> {
    if LIMIT_HEADERS.contains(&name) {
        return Some(name.to_owned());
    }
    let prefix = LIMIT_PREFIXES
        .into_iter()
        .find(|prefix| name.starts_with(prefix))?;
    Some(format!("{prefix}… ({})", characters(name)))
}

/// Returns the value of a header about limits if it consists of short numbers.
fn limit_value(name: &str, value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.trim();
    let plain = |c: char| c.is_ascii_digit() || matches!(c, ',' | ';' | '=' | 'w' | ' ');
    // The letter stands only in front of the seconds of a window.
    let windows = text.matches('w').count() == text.matches("w=").count();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let numbers_are_short = numbers.all(|number| number.len() <= MAX_DIGITS);
    let some = text.contains(|c: char| c.is_ascii_digit());
    if some && windows && text.len() <= 200 && text.chars().all(plain) && numbers_are_short {
        return text.to_owned();
    }
    if name == "concurrency-limit-type" && text == "default" {
        return text.to_owned();
    }
    if httpdate::parse_http_date(text).is_ok() {
        return "HTTP date".to_owned();
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return format!("integer, digits: {}", text.len());
    }
    format!("other ({})", characters(text))
}

/// Returns the media type of a `Content-Type`, and whether it says UTF-8.
fn media_type(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let kind = one_of(&MEDIA_TYPES, kind.trim());
    match parameters.trim().trim_end_matches(';') {
        "" => kind,
        "charset=utf-8" | "charset=\"utf-8\"" => format!("{kind}; charset=utf-8"),
        _ => format!("{kind}; other parameters"),
    }
}

fn one_of(known: &[&str], text: &str) -> String {
    if known.contains(&text) {
        text.to_owned()
    } else {
        format!("other ({})", characters(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_headers_known_names_and_numbers_of_limits_are_shown() {
        let headers: HeaderMap = [
            ("content-type", "application/json; charset=UTF-8"),
            ("content-encoding", "gzip"),
            ("server", "acme"),
            ("x-acme", "acme"),
            ("x-ratelimit-acme", "7"),
            ("ratelimit-limit", "2250000, 50000;w=60, 27000000;w=86400"),
            ("ratelimit-reset", "1767323075"),
            ("ratelimit-remaining", "12 acme"),
            ("retry-after", "Fri, 02 Jan 2026 03:05:05 GMT"),
            ("concurrency-limit-type", "acme"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
        let mut shape = HeaderShape::default();
        shape.add(&headers);
        let shape = serde_json::to_value(shape).unwrap();
        assert!(!shape.to_string().contains("acme"), "{shape}");
        assert_eq!(
            shape["limits"],
            json!({
                "concurrency-limit-type": {"other (4 characters)": 1},
                "ratelimit-limit": {"2250000, 50000;w=60, 27000000;w=86400": 1},
                "ratelimit-remaining": {"other (7 characters)": 1},
                "ratelimit-reset": {"integer, digits: 10": 1},
                "retry-after": {"HTTP date": 1},
                "x-ratelimit-… (16 characters)": {"7": 1},
            })
        );
        assert_eq!(
            shape["other_names"],
            json!({"6 characters": 1, "x-ratelimit-… (16 characters)": 1})
        );
        assert_eq!(
            shape["content_type"],
            json!({"application/json; charset=utf-8": 1})
        );
        assert_eq!(shape["names"]["server"], json!(1));
    }

    #[test]
    fn a_value_of_a_limit_that_is_no_number_is_not_shown() {
        for (value, shown) in [
            ("60", "60"),
            ("60;w=1", "60;w=1"),
            ("", "other (0 characters)"),
            ("wwww", "other (4 characters)"),
            ("1w2", "other (3 characters)"),
            ("123456789;w=60", "other (14 characters)"),
            ("1.5", "other (3 characters)"),
        ] {
            assert_eq!(limit_value("ratelimit-limit", value.as_bytes()), shown);
        }
    }
}
