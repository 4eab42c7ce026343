//! Checks of a request's form, before access control and routing (RFC 9110, RFC 9112).

use std::net::Ipv6Addr;

use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use percent_encoding::percent_decode_str;

use super::response::{self, HttpResponse, text};

/// Maximum length of a request target, in bytes. RFC 9110, 4.1 asks for at least 8000.
const TARGET: usize = 32 * 1024;

/// Standard HTTP methods. Any other is not recognized, and gets 501 instead of 405.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// Returns the normalized path of a request, or the response to a malformed request.
pub(super) fn check<B>(request: &Request<B>) -> Result<String, Box<HttpResponse>> {
    let refused = |status, sentence: &'static str| Err(Box::new(text(status, sentence)));
    let bad = |sentence| refused(StatusCode::BAD_REQUEST, sentence);
    let (uri, method) = (request.uri(), request.method());
    if let Some(problem) = host_problem(request) {
        return bad(problem);
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > TARGET {
        return refused(
            StatusCode::URI_TOO_LONG,
            "The target of a request may have 32 KiB.\n",
        );
    }
    let mut expects = request.headers().get_all(header::EXPECT).iter();
    if !expects.all(is_continue) {
        return refused(
            StatusCode::EXPECTATION_FAILED,
            "No expectation is met here but 100-continue.\n",
        );
    }
    if !METHODS.contains(method) {
        return refused(
            StatusCode::NOT_IMPLEMENTED,
            "There is no such method in HTTP.\n",
        );
    }
    if method == Method::CONNECT {
        return Err(Box::new(response::not_allowed(&[
            Method::GET,
            Method::HEAD,
        ])));
    }
    if uri.path() == "*" && method != Method::OPTIONS {
        return bad("The target * goes with OPTIONS only.\n");
    }
    let query = percent_decode(uri.query().unwrap_or_default());
    match (normal(uri.path()), query) {
        (Some(path), Some(_)) => Ok(path),
        _ => bad(
            "In a path and in parameters a percent sign must be followed by two hexadecimal \
                digits, and what they stand for must be UTF-8; for the percent sign itself write \
                %25.\n",
        ),
    }
}

fn is_continue(value: &HeaderValue) -> bool {
    let members = value.as_bytes().split(|byte| *byte == b',');
    members
        .map(<[u8]>::trim_ascii)
        .all(|member| member.is_empty() || member.eq_ignore_ascii_case(b"100-continue"))
}

/// Returns what is wrong with the `Host` header, if anything (RFC 9112, 3.2).
fn host_problem<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            Some("A request of HTTP/1.1 must have a Host header.\n")
        }
        (_, Some(_)) => Some("A request may have one Host header.\n"),
        (Some(host), _) if !is_host(host.as_bytes()) => {
            Some("The Host header must be a host, or a host and a port.\n")
        }
        _ => None,
    }
}

/// Whether the value is `host` or `host:port` of RFC 3986. Both parts may be empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    let v6 = value
        .strip_prefix('[')
        .and_then(|value| value.split_once(']'));
    let port = if let Some((address, rest)) = v6 {
        if address.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        rest
    } else {
        let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
        if !name.bytes().all(plain) || !are_escapes_whole(name) {
            return false;
        }
        port
    };
    port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.is_empty() || digits && port.parse::<u16>().is_ok()
        })
}

fn are_escapes_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Decodes percent-encoding; `None` if an escape is malformed or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    if !are_escapes_whole(text) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Normalizes a path (RFC 3986, 6.2.2): decodes escapes, and removes `.` and `..`.
///
/// `//` stays, because it is a different path from `/`. `None` if percent-encoding is malformed or
/// does not decode to UTF-8.
pub(super) fn normal(path: &str) -> Option<String> {
    // Decoding an escaped slash would add a separator. No route contains an escaped slash, so such
    // a path stays as it is.
    if path.to_ascii_lowercase().contains("%2f") {
        return percent_decode(path).map(|_| path.to_owned());
    }
    let decoded = percent_decode(path)?;
    let Some(rest) = decoded.strip_prefix('/') else {
        return Some(decoded);
    };
    let mut parts = Vec::new();
    let mut all = rest.split('/').peekable();
    while let Some(part) = all.next() {
        let is_last = all.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                // A trailing `.` or `..` names a directory, so the path ends with a slash.
                if is_last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_normal_form() {
        for (path, expected) in [
            ("/metrics", "/metrics"),
            ("/%6detrics", "/metrics"),
            ("/%6Detri%63s", "/metrics"),
            ("/./metrics", "/metrics"),
            ("/a/../metrics", "/metrics"),
            ("/%2e%2E/metrics", "/metrics"),
            ("/../../metrics", "/metrics"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/", "/"),
            ("//metrics", "//metrics"),
            ("/metrics/", "/metrics/"),
            ("/-%2fhealthy", "/-%2fhealthy"),
            ("*", "*"),
            ("/a%c3%a4", "/aä"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(expected), "{path}");
        }
        for bad in ["/%", "/%6", "/%zz", "/%ff", "/%2f%"] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in [
            "a",
            "a:1",
            "a:",
            "",
            "1.2.3.4:80",
            "[::1]",
            "[::1]:9932",
            "a_b.c",
            "a%41",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "u@a", "a:b", "a:1:2", "::1", "[::1", "[a]", "[::1]x", "a:65536", "a%4",
            "a#", "a\"", "http://a",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(!is_host(b"\xff"));
    }
}
