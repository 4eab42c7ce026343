//! Detects HTML pages in place of API responses.
//!
//! They come from a firewall, a proxy or a load balancer in front of the API.

use http::{HeaderMap, StatusCode, header};

use super::by_status;
use crate::model::error::Reason;
use crate::sanitize::harmless;

/// Headers with the request id that firewalls, proxies and load balancers log.
const REQUEST_IDS: [&str; 6] = [
    "cf-ray",
    "x-amz-cf-id",
    "x-amzn-requestid",
    "x-azure-ref",
    "x-iinfo",
    "x-request-id",
];

/// Returns the error text for an HTML page; `None` if the response is not one.
///
/// Neither vendor responds with HTML. ZIS documents text that is not JSON, but not markup.
pub(super) fn error_text(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let said = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase())
        .is_some_and(|kind| {
            kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml+xml")
        });
    let is_page = match body.trim_ascii_start().first() {
        Some(b'<') => true,
        // JSON with a wrong content type.
        Some(b'{' | b'[') => false,
        _ => said,
    };
    is_page.then(|| {
        let id = REQUEST_IDS.into_iter().find_map(|name| {
            let value = harmless(headers.get(name)?.to_str().ok()?)?;
            Some(format!(" ({name} {value})"))
        });
        format!(
            "an HTML page answered, not the API: a firewall or proxy{}",
            id.unwrap_or_default()
        )
    })
}

/// Returns the reason for an HTML page with this status.
///
/// A proxy or firewall refused the request, so the vendor did not reject the credential.
pub(super) fn reason(status: StatusCode) -> Reason {
    match by_status(status) {
        Reason::Unauthorized | Reason::Forbidden => Reason::UnexpectedStatus,
        reason => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_page(kind: &str, body: &str) -> bool {
        let headers = [(header::CONTENT_TYPE, kind.parse().unwrap())];
        error_text(&HeaderMap::from_iter(headers), body.as_bytes()).is_some()
    }

    #[test]
    fn a_page_is_told_by_its_type_or_its_first_character() {
        assert!(is_page("text/html; charset=utf-8", "Access denied"));
        assert!(is_page("Text/HTML", ""));
        assert!(is_page("text/plain", "\u{feff}\r\n <!doctype html>"));
        assert!(is_page("application/json", "<html>"));
        assert!(!is_page("text/plain", "Authentication failed"));
        assert!(!is_page("text/html", r#" {"errors": []}"#));
        assert!(!is_page("application/json", ""));
        assert_eq!(error_text(&HeaderMap::new(), b""), None);
    }

    #[test]
    fn the_firewalls_id_of_the_request_is_shown_if_it_is_harmless() {
        let headers = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
        };
        let said = |name, value| error_text(&headers(name, value), b"<p>").unwrap();
        assert!(said("cf-ray", "8c1e2f3a4b5c6d7e-FRA").ends_with("(cf-ray 8c1e2f3a4b5c6d7e-FRA)"));
        assert!(said("x-amz-cf-id", "jZ3_Q-8Q==").ends_with("(x-amz-cf-id jZ3_Q-8Q==)"));
        assert!(said("cf-ray", "<b> x").ends_with("a firewall or proxy"));
    }
}
