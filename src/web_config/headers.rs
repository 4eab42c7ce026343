//! `http_server_config.headers`: what is added to every answer, by the rules of Prometheus' exporter-toolkit.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Checker;

/// The headers that may be set, as they are spelled there, and their allowed values; none: any.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// Checks the headers. A blank one is not set.
pub(super) fn check(
    headers: BTreeMap<String, Option<String>>,
    here: &mut Checker<'_>,
) -> HeaderMap {
    let mut checked = HeaderMap::new();
    for (name, value) in headers {
        let value = value.unwrap_or_default();
        let Some((_, values)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
            let what = format!("cannot be set: expected one of {}", names.join(", "));
            here.problem(&name, what);
            continue;
        };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            here.problem(&name, format!("expected {}", values.join(" or ")));
            continue;
        }
        match (HeaderName::try_from(&name), HeaderValue::from_str(&value)) {
            _ if value.is_empty() => {}
            (Ok(name), Ok(value)) => {
                checked.insert(name, value);
            }
            _ => here.problem(&name, "expected one line of visible characters"),
        }
    }
    checked
}
