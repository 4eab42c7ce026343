//! Classes of texts: what a text is, without what it says.

use jiff::Timestamp;
use reqwest::Url;

use super::vocabulary::{SCOPE_PREFIXES, SCOPE_WORDS};
use crate::vendors::zis;

/// What the class of a text depends on besides the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextContext<'a> {
    /// Host that the account is polled at.
    pub(super) host: &'a str,
    /// Date of the response.
    pub(super) now: Timestamp,
}

/// Returns the class of a text.
pub(super) fn class(text: &str, context: TextContext<'_>) -> String {
    if let Some(class) = plain(text) {
        return class.to_owned();
    }
    if let Some(class) = date(text, context.now) {
        return class;
    }
    let class = if let Some(class) = url(text, context.host) {
        class
    } else if is_email(text) {
        "like an e-mail address"
    } else if text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        "ASCII text"
    } else {
        "other text"
    };
    class.to_owned()
}

/// Returns the class of a text that is recognized by its characters.
fn plain(text: &str) -> Option<&'static str> {
    let all = |allowed: fn(char) -> bool| text.chars().all(allowed);
    if text.is_empty() {
        return Some("empty");
    }
    if all(|c| c == '*') || all(|c| c.eq_ignore_ascii_case(&'x')) {
        return Some("masked");
    }
    if is_uuid(text) {
        return Some("UUID with hyphens");
    }
    if text.len() == 32 && all(|c| c.is_ascii_hexdigit()) {
        return Some("32 hexadecimal digits");
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some("integer as text");
    }
    matches!(text, "true" | "false").then_some("boolean as text")
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let is_hex = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(is_hex)
}

/// Returns the class of a date: its form, and how the exporter reads it.
fn date(text: &str, now: Timestamp) -> Option<String> {
    let Some(form) = rfc_3339(text) else {
        let is_date = starts_like_a_date(text) || httpdate::parse_http_date(text).is_ok();
        return is_date.then(|| "other date".to_owned());
    };
    let meaning = match zis::date(text) {
        Ok(Some(date)) if date > now => "future",
        Ok(Some(_)) => "past",
        Ok(None) => "read as none",
        Err(_) => "not read",
    };
    Some(format!("{form}, {meaning}"))
}

/// Returns the form of a date and time of RFC 3339, which may be no valid date.
fn rfc_3339(text: &str) -> Option<String> {
    let pattern = "0000-00-00T00:00:00";
    let (head, rest) = text.split_at_checked(pattern.len())?;
    let fits = |(c, p): (u8, u8)| match p {
        b'0' => c.is_ascii_digit(),
        b'T' => matches!(c, b'T' | b't' | b' '),
        _ => c == p,
    };
    if !head.bytes().zip(pattern.bytes()).all(fits) {
        return None;
    }
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let fraction = &rest[..rest.len() - zone.len()];
    let fraction = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => "no fraction".to_owned(),
        Some(digits) if (1..=9).contains(&digits.len()) && !digits.contains('.') => {
            format!("fraction of {} digits", digits.len())
        }
        _ => return None,
    };
    let zone = match zone.as_bytes() {
        b"Z" | b"z" => "Z",
        [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|b| b.is_ascii_digit()) => {
            "offset"
        }
        [b'+' | b'-', rest @ ..] if rest.len() == 4 && rest.iter().all(u8::is_ascii_digit) => {
            "offset without a colon"
        }
        b"" => "no zone",
        _ => return None,
    };
    Some(format!("RFC 3339, {fraction}, {zone}"))
}

fn starts_like_a_date(text: &str) -> bool {
    let starts = |pattern: &str| {
        let fits = |(c, p): (u8, u8)| {
            if p == b'0' {
                c.is_ascii_digit()
            } else {
                c == p
            }
        };
        text.len() >= pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
    };
    starts("0000-00-00") || starts("0000/00/00") || starts("00/00/0000") || starts("00.00.0000")
}

fn url(text: &str, host: &str) -> Option<&'static str> {
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let named = url.host_str()?;
    let ip = named.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_local = named == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    Some(if named == host {
        "URL on the same host"
    } else if is_local {
        "URL on localhost"
    } else {
        "URL on another host"
    })
}

fn is_email(text: &str) -> bool {
    let around = text.split_once('@');
    let named = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    around.is_some_and(|(user, host)| named(user) && named(host) && !host.contains('/'))
}

/// Returns the class of each scope in a text.
pub(super) fn scopes(text: &str) -> impl Iterator<Item = String> {
    let items = text.split(|c: char| c.is_whitespace() || c == ',');
    items.filter(|item| !item.is_empty()).map(scope)
}

fn scope(text: &str) -> String {
    if let Some(known) = SCOPE_WORDS.iter().find(|known| **known == text) {
        return (*known).to_owned();
    }
    let split = text.split_once(['.', ':']);
    let known = |prefix: &str| SCOPE_PREFIXES.iter().find(|known| **known == prefix);
    let Some((prefix, rest)) = split.and_then(|(prefix, rest)| Some((known(prefix)?, rest))) else {
        return format!("other ({})", super::characters(text));
    };
    let separator = &text[prefix.len()..=prefix.len()];
    let is_words = |c: char| c.is_ascii_alphabetic() || matches!(c, '.' | ':' | '_' | '-');
    let rest = match plain(rest) {
        Some("empty") => "nothing",
        Some("integer as text") => "number",
        Some("UUID with hyphens") => "UUID with hyphens",
        Some("32 hexadecimal digits") => "32 hexadecimal digits",
        _ if rest.bytes().all(|b| b.is_ascii_hexdigit()) => "hexadecimal digits",
        _ if rest.chars().all(is_words) => "words",
        _ => "other",
    };
    format!("{prefix}{separator}<{rest}>")
}

/// Returns a description of a key that is not shown.
pub(super) fn hidden_key(key: &str) -> String {
    let length = super::characters(key);
    let mut chars = key.chars();
    let first = chars.next().unwrap_or_default();
    let is_word = chars.all(|c| c.is_ascii_alphanumeric());
    let has_upper = key.bytes().any(|b| b.is_ascii_uppercase());
    let joined = |by: char| {
        let word = |part: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            !part.is_empty() && part.bytes().all(plain)
        };
        key.contains(by) && first.is_ascii_lowercase() && key.split(by).all(word)
    };
    let style = match plain(key) {
        Some("UUID with hyphens") => "UUID with hyphens",
        Some("32 hexadecimal digits") => "hexadecimal digits",
        Some("integer as text") => "digits",
        _ if is_word && first.is_ascii_lowercase() && has_upper => "camel case",
        _ if is_word && first.is_ascii_lowercase() => "lower case",
        _ if is_word && first.is_ascii_uppercase() => "beginning with a capital",
        _ if joined('_') => "lower snake case",
        _ if joined('-') => "lower kebab case",
        _ => "other characters",
    };
    format!("(other key of {length}, {style})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_its_class() {
        let context = TextContext {
            host: "acme.zendesk.com",
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        for (text, expected) in [
            ("", "empty"),
            ("*****", "masked"),
            ("xxxx", "masked"),
            ("ac10a230-0c43-45f8-b221-9e085ce90418", "UUID with hyphens"),
            ("8a80825555a3c7a10155b54a63821c0d", "32 hexadecimal digits"),
            ("4711", "integer as text"),
            ("true", "boolean as text"),
            (
                "1985-04-12T23:20:50.52Z",
                "RFC 3339, fraction of 2 digits, Z, past",
            ),
            ("2030-04-12T23:20:50Z", "RFC 3339, no fraction, Z, future"),
            (
                "2030-04-12T23:20:50+02:00",
                "RFC 3339, no fraction, offset, future",
            ),
            (
                "0001-01-01T00:00:00Z",
                "RFC 3339, no fraction, Z, read as none",
            ),
            ("2030-13-12T23:20:50Z", "RFC 3339, no fraction, Z, not read"),
            (
                "2030-04-12T23:20:50",
                "RFC 3339, no fraction, no zone, not read",
            ),
            ("2030-04-12", "other date"),
            ("Fri, 02 Jan 2026 03:14:05 GMT", "other date"),
            ("https://acme.zendesk.com/x", "URL on the same host"),
            ("http://localhost:8080/x", "URL on localhost"),
            ("https://other.example/x", "URL on another host"),
            ("a.person@example.test", "like an e-mail address"),
            ("a name", "ASCII text"),
            ("caf\u{e9}", "other text"),
            ("2030-04-12T23:20:50 acme", "other date"),
            ("2030-04-12T23:20:50.Z", "other date"),
        ] {
            assert_eq!(class(text, context), expected, "{text}");
        }
    }

    #[test]
    fn a_scope_becomes_its_class() {
        let of = |text| scopes(text).collect::<Vec<_>>().join(" | ");
        assert_eq!(of("read zis:write"), "read | zis:write");
        assert_eq!(
            of(
                "user.8ad08f01 entity.ac10a230-0c43-45f8-b221-9e085ce90418 tenant.19 \
                service.usage.delete zis:acme acme.x"
            ),
            "user.<hexadecimal digits> | entity.<UUID with hyphens> | tenant.<number> | \
                service.<words> | zis:<words> | other (6 characters)"
        );
    }

    #[test]
    fn a_hidden_key_is_described() {
        for (key, expected) in [
            (
                "acme_orders_1",
                "(other key of 13 characters, lower snake case)",
            ),
            ("acmeOrders", "(other key of 10 characters, camel case)"),
            ("acme", "(other key of 4 characters, lower case)"),
            (
                "Acme",
                "(other key of 4 characters, beginning with a capital)",
            ),
            (
                "acme-orders",
                "(other key of 11 characters, lower kebab case)",
            ),
            ("4711", "(other key of 4 characters, digits)"),
            ("an acme", "(other key of 7 characters, other characters)"),
            ("", "(other key of 0 characters, other characters)"),
        ] {
            assert_eq!(hidden_key(key), expected);
        }
    }
}
