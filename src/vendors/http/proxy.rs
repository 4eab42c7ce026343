//! Proxy between the exporter and an account's host, from the environment.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::invalid::Invalid;

/// Proxy for the requests of an account.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// URL of the proxy, with its user and password.
    url: Url,
}

/// Variables that name the proxy; the first pair with a proxy is used.
///
/// In a pair, the first variable that is set is used, even if it is empty, as in curl.
const FOR_HTTPS: [[&str; 2]; 2] = [["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];
const EXCLUDED: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Proxy {
    /// Returns the proxy for this URL; `None` for a direct connection.
    ///
    /// Plain HTTP is always direct. It is for loopback, and a proxy would send the credential
    /// elsewhere in clear text.
    ///
    /// Fails if a variable does not hold the URL of a proxy. The error does not contain the value.
    pub(super) fn of(
        base_url: &Url,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Invalid> {
        if base_url.scheme() != "https" {
            return Ok(None);
        }
        let first = |names: [&'static str; 2]| {
            let mut set = names.iter().filter_map(|name| Some((*name, env(name)?)));
            set.next().filter(|(_, value)| !value.is_empty())
        };
        let mut proxy = None;
        // A variable that another one overrides is checked too: it was set to be used.
        for (name, value) in FOR_HTTPS.into_iter().filter_map(first) {
            let url = parse(&value).map_err(|problem| format!("{name} {problem}"))?;
            proxy.get_or_insert(url);
        }
        let Some(url) = proxy else { return Ok(None) };
        let excluded = first(EXCLUDED).map(|(_, list)| list).unwrap_or_default();
        let excluded = of_port(&excluded, base_url.port_or_known_default());
        let matcher = Matcher::builder()
            .https(String::from(url.clone()))
            .no(excluded)
            .build();
        let concerns = base_url
            .as_str()
            .parse::<Uri>()
            .is_ok_and(|uri| matcher.intercept(&uri).is_some());
        Ok(concerns.then_some(Self { url }))
    }

    /// Returns the proxy as reqwest needs it.
    pub(super) fn rule(&self) -> reqwest::Result<reqwest::Proxy> {
        reqwest::Proxy::https(self.url.clone())
    }

    /// Returns whether the URL has a user.
    pub(super) fn has_user(&self) -> bool {
        !self.url.username().is_empty()
    }

    /// Returns host and port, the only parts of the URL that may be shown.
    pub(super) fn name(&self) -> String {
        format!(
            "{}:{}",
            self.url.host_str().unwrap_or_default(),
            self.url.port_or_known_default().unwrap_or_default()
        )
    }
}

/// Returns the list of excluded hosts without ports.
///
/// An entry such as `host:443` applies to that port only. Go programs and curl read it so, and the
/// matcher knows no ports.
fn of_port<'a>(list: &'a str, port: Option<u16>) -> String {
    let entries = list.split(',').map(str::trim);
    let entries = entries.filter_map(|entry| {
        let Some((host, own)) = entry.rsplit_once(':') else {
            return Some(entry);
        };
        let bare = |address: &'a str| address.trim_matches(['[', ']']);
        match own.parse::<u16>() {
            // An IPv6 address has colons, too; with a port it has brackets.
            Ok(own) if host.ends_with(']') || !host.contains(':') => {
                (Some(own) == port).then(|| bare(host))
            }
            // The matcher knows no brackets.
            _ => Some(bare(entry)),
        }
    });
    entries.collect::<Vec<_>>().join(",")
}

const NONE: &str = "is no URL of a proxy: expected http://host:port, or unset it";

/// Parses `http://user:password@host:port`, where the scheme defaults to http.
///
/// The error ends a sentence that begins with the name of the variable.
fn parse(value: &str) -> Result<Url, &'static str> {
    let value = value.trim();
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    let url = url.map_err(|_| NONE)?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        scheme if scheme.starts_with("socks") => {
            Err("names a SOCKS proxy, which is not supported: expected http://host:port")
        }
        _ => Err(NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(base_url: &str, env: &[(&str, &str)]) -> Result<Option<String>, Invalid> {
        let get = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        };
        let proxy = Proxy::of(&Url::parse(base_url).unwrap(), &get)?;
        Ok(proxy.map(|proxy| proxy.name()))
    }

    #[test]
    fn the_environment_names_the_proxy_of_https_and_what_is_excluded() {
        let vendor = "https://rest.zuora.com";
        let is = |env: &[(&str, &str)], name: Option<&str>| {
            assert_eq!(of(vendor, env), Ok(name.map(str::to_owned)), "{env:?}");
        };
        is(&[], None);
        is(&[("HTTPS_PROXY", "http://p:3128")], Some("p:3128"));
        is(&[("https_proxy", "p:3128")], Some("p:3128"));
        is(&[("all_proxy", "http://u:s@p")], Some("p:80"));
        is(&[("ALL_PROXY", "https://p/")], Some("p:443"));
        is(&[("HTTPS_PROXY", ""), ("https_proxy", "p:1")], None);
        is(&[("HTTPS_PROXY", "p:1"), ("ALL_PROXY", "q:2")], Some("p:1"));
        is(&[("HTTP_PROXY", "p:1")], None);
        for list in [
            "rest.zuora.com",
            ".zuora.com",
            "a, zuora.com",
            "*",
            "rest.zuora.com:443",
            "a:1, .zuora.com:443",
        ] {
            is(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)], None);
        }
        for list in ["other.com", "rest.zuora.com:8443", "::1", "[::1]:443"] {
            is(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", list)], Some("p:1"));
        }
        let six = |list| {
            let env = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", list)];
            of("https://[::1]:8443", &env).unwrap()
        };
        for list in ["::1", "[::1]:8443", "[::1]"] {
            assert_eq!(six(list), None, "{list}");
        }
        assert_eq!(six("[::1]:443"), Some("p:1".to_owned()));
        let plain = of("http://127.0.0.1:1", &[("ALL_PROXY", "no url at all")]);
        assert_eq!(plain, Ok(None), "plain HTTP goes by no proxy");
    }

    #[test]
    fn a_value_that_is_no_url_is_refused_and_not_shown() {
        for value in [
            "user:s3cret@",
            "http://",
            "s3cret with spaces",
            "ftp://s3cret",
            "http://p:s3cret",
            "p:99999",
            "socks5://s3cret:1080",
            "://",
        ] {
            for name in ["HTTPS_PROXY", "all_proxy"] {
                let error = of("https://v.example", &[(name, value)])
                    .unwrap_err()
                    .to_string();
                assert!(error.starts_with(name), "{value}: {error}");
                assert!(!error.contains("s3cret"), "{error}");
            }
        }
        let shadowed = [("HTTPS_PROXY", "p:1"), ("ALL_PROXY", "no url")];
        of("https://v.example", &shadowed).unwrap_err();
    }
}
