//! Scalar types of the configuration, each with a message that says what is allowed.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use reqwest::Url;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_yaml::Value;

use crate::invalid::Invalid;

/// Longest duration in a configuration. It ensures that sums of dates and durations do not
/// overflow.
const MAX_PERIOD: Duration = Duration::from_hours(24 * 366);

/// Range of request budgets, in requests per minute.
const RATES: RangeInclusive<u64> = 1..=1_000_000;

/// Range of counts.
const COUNTS: RangeInclusive<u64> = 1..=10_000_000;

/// Defines a type that `$parse` reads from one scalar.
///
/// `$schema` is what an editor can check without this program. It never refuses what the
/// documentation allows.
macro_rules! scalar {
    ($(#[$doc:meta])* $name:ident($inner:ty), $schema:tt, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(&Value) -> Result<$inner, Invalid> = $parse;
                parse(&Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

scalar!(
    /// Duration with a unit: `30s`, `5m`, `1h30m`, `1d`. Zero needs no unit.
    Period(Duration),
    { "type": "string", "pattern": "^([0-9]+w ?)?([0-9]+d ?)?([0-9]+h ?)?([0-9]+m ?)?([0-9]+s \
        ?)?([0-9]+ms)?$", "minLength": 2 },
    |value| {
        let allowed = "expected a duration with a unit, such as 30s, 5m, 1h or 1d";
        if value.as_u64() == Some(0) || value.as_str() == Some("0") {
            return Ok(Duration::ZERO);
        }
        let span: Span = value.as_str().and_then(|text| text.parse().ok()).ok_or(allowed)?;
        // A day has 24 hours here; months and years have no fixed length.
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| allowed)?;
        let duration = Duration::try_from(duration).map_err(|_| format!("{allowed}, and not a \
            negative one"))?;
        if duration > MAX_PERIOD { Err(format!("{allowed}, and not of more than a \
            year").into()) } else { Ok(duration) }
    }
);

scalar!(
    /// Request budget in requests per minute.
    Rate(NonZeroU32),
    { "type": "integer", "minimum": RATES.start(), "maximum": RATES.end() },
    |value| {
        let number = value.as_u64().filter(|n| RATES.contains(n)).and_then(|n| u32::try_from(n).ok());
        number.and_then(NonZeroU32::new).ok_or_else(|| whole_number(&RATES))
    }
);

scalar!(
    /// Count.
    Count(usize),
    { "type": "integer", "minimum": COUNTS.start(), "maximum": COUNTS.end() },
    |value| {
        let number = value.as_u64().filter(|n| COUNTS.contains(n)).and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| whole_number(&COUNTS))
    }
);

scalar!(
    /// Text for a label or a vendor: one line, not empty.
    Text(String),
    { "type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", "maxLength": 256 },
    |value| {
        let text = value.as_str().ok_or(match value {
            Value::Number(_) => "expected text: put quotes around a number",
            Value::Bool(_) => "expected text: put quotes around true or false",
            Value::Sequence(_) => "expected text, not a list",
            _ => "expected text, not a mapping",
        })?;
        plain_name(text).map(|()| text.to_owned())
    }
);

scalar!(
    /// Base URL of a vendor: scheme, host and port.
    BaseUrl(Url),
    { "type": "string", "pattern": "^(https://[^/?#@\\s]+|http://(localhost|127(\\.[0-9]+){3}|\\[::1\\])(:[0-9]+)?)/?$" },
    |value| base_url(value.as_str().ok_or("expected a URL such as https://rest.zuora.com")?)
);

scalar!(
    /// Name of a file. Messages show it only after a check that it is not a secret.
    FileName(String),
    { "type": "string", "minLength": 1 },
    |value| {
        let name = value.as_str().filter(|name| !name.is_empty()).ok_or("expected the name of a \
            file")?;
        if name.starts_with(['~', '$']) || name.contains("${") {
            return Err("~ and variables are not expanded: write the absolute path".into());
        }
        if name.starts_with("file:") {
            return Err("expected the name of a file: write its path, without file://".into());
        }
        Ok(name.to_owned())
    }
);

scalar!(
    /// Name of an environment variable.
    EnvName(String),
    { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
    |value| {
        let allowed = "expected the name of an environment variable: A-Z, a-z, 0-9 and _, not \
            beginning with a digit";
        let name = value.as_str().ok_or(allowed)?;
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins && plain { Ok(name.to_owned()) } else { Err(allowed.into()) }
    }
);

fn whole_number(allowed: &RangeInclusive<u64>) -> Invalid {
    let (least, most) = (allowed.start(), allowed.end());
    format!("expected a whole number from {least} to {most}").into()
}

/// Accepts text that can be a label value: 1 to 256 bytes without control characters.
fn plain_name(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("expected text of 1 to 256 bytes without control characters".into());
    }
    Ok(())
}

/// Parses a vendor's base URL.
///
/// It must be `https`, or `http` for a loopback host. A user, path, query or fragment is refused.
pub fn base_url(text: &str) -> Result<Url, Invalid> {
    if !text.contains("://") {
        return Err("expected https:// and a host, such as https://rest.zuora.com".into());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("expected a URL such as https://rest.zuora.com: {error}"))?;
    let host = url.host_str().ok_or("expected a URL with a host")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in a URL is not accepted".into());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("only scheme, host and port: the paths are the program's own".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err(
            "http:// is accepted for loopback hosts only: a credential would travel in clear"
                .into(),
        ),
        _ => Err("expected https://".into()),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_asked_in_clear() {
        for good in [
            "https://rest.zuora.com",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:80",
            "http://localhost/",
        ] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://rest.zuora.com",
            "http://localhost.evil.test",
            "http://10.0.0.1",
            "ftp://localhost",
            "rest.zuora.com",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_base_url_is_no_more_than_a_host() {
        for bad in [
            "https://a:b@c.test",
            "https://c.test/v1",
            "https://c.test/?a=b",
            "https://c.test/#f",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
