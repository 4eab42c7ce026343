//! Scalars of the configuration that are more than text, each with the sentence for what is allowed.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_yaml::Value;

/// No duration of a configuration is longer; so sums of dates and durations cannot overflow.
const LONGEST_PERIOD: Duration = Duration::from_hours(24 * 366);

/// Defines a value that is read from one scalar by `$parse`.
macro_rules! scalar {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(&Value) -> Result<$inner, String> = $parse;
                parse(&Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
            }
        }
    };
}

scalar!(
    /// A length of time with its unit: `30s`, `5m`, `1h30m`.
    Period(Duration),
    |value| {
        let allowed = "expected a duration with a unit, such as 30s, 5m or 1h";
        let text = value.as_str().ok_or(allowed)?;
        let duration: SignedDuration = text.parse().map_err(|_| allowed)?;
        let duration = Duration::try_from(duration).map_err(|_| format!("{allowed}, and not a negative one"))?;
        if duration > LONGEST_PERIOD { Err(format!("{allowed}, and not of more than a year")) } else { Ok(duration) }
    }
);

scalar!(
    /// A budget in requests a minute.
    Rate(NonZeroU32),
    |value| {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 1_000_000);
        number.and_then(NonZeroU32::new).ok_or_else(|| "expected a whole number from 1 to 1000000".to_owned())
    }
);

scalar!(
    /// A number of things.
    Count(usize),
    |value| {
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=10_000_000).contains(n));
        number.ok_or_else(|| "expected a whole number from 1 to 10000000".to_owned())
    }
);

scalar!(
    /// Text for a label or a vendor: not empty, one line.
    Text(String),
    |value| {
        let text = value.as_str().ok_or("expected text: put quotes around a number")?;
        plain_name(text).map(|()| text.to_owned())
    }
);

scalar!(
    /// Scheme, host and port of a vendor.
    BaseUrl(Url),
    |value| base_url(value.as_str().ok_or("expected a URL such as https://rest.zuora.com")?)
);

scalar!(
    /// The name of a file. Never shown by a message of ours before it is known not to be a secret.
    FileName(String),
    |value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned).ok_or_else(|| "expected the name of a file".to_owned())
);

scalar!(
    /// The name of an environment variable.
    EnvName(String),
    |value| {
        let allowed = "expected the name of an environment variable: A-Z, a-z, 0-9 and _, not beginning with a digit";
        let name = value.as_str().ok_or(allowed)?;
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins && plain { Ok(name.to_owned()) } else { Err(allowed.to_owned()) }
    }
);

/// Accepts text that can be a label: 1 to 256 bytes, no control characters.
fn plain_name(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("expected text of 1 to 256 bytes without control characters".to_owned());
    }
    Ok(())
}

/// Reads a vendor's base URL: `https`, or `http` for a loopback host; no user, path or query.
pub fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("expected a URL such as https://rest.zuora.com: {error}"))?;
    let host = url.host_str().ok_or("expected a URL with a host")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in a URL is not accepted".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("only scheme, host and port: the paths are the program's own".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err(
            "http:// is accepted for loopback hosts only: a credential would travel in clear"
                .to_owned(),
        ),
        _ => Err("expected https://".to_owned()),
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
