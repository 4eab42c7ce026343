//! The proxy between us and an account's host, as the environment names it.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// A proxy that carries an account's requests.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Where it is; holds its user and password.
    url: Url,
}

/// The first of these that is set counts, also when it is empty, as curl has it.
const FOR_HTTPS: [[&str; 2]; 2] = [["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];
const EXCLUDED: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Proxy {
    /// The proxy for this address; `None` where it is reached directly, as always over plain HTTP: that is for
    /// loopback, and a proxy would carry the credential elsewhere in clear.
    ///
    /// Fails, without the value, if a variable holds no URL of a proxy.
    pub(super) fn of(
        base_url: &Url,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        if base_url.scheme() != "https" {
            return Ok(None);
        }
        let first = |names: [&'static str; 2]| {
            let mut set = names.iter().filter_map(|name| Some((*name, env(name)?)));
            set.next().filter(|(_, value)| !value.is_empty())
        };
        let mut proxy = None;
        // Also one that another comes before: whoever set it thinks that it counts.
        for (name, value) in FOR_HTTPS.into_iter().filter_map(first) {
            let url = parse(&value).map_err(|problem| format!("{name} {problem}"))?;
            proxy.get_or_insert(url);
        }
        let Some(url) = proxy else { return Ok(None) };
        let excluded = first(EXCLUDED).map(|(_, list)| list).unwrap_or_default();
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

    /// What reqwest needs of it.
    pub(super) fn rule(&self) -> reqwest::Result<reqwest::Proxy> {
        reqwest::Proxy::https(self.url.clone())
    }

    /// Host and port: all of it that may be shown.
    pub(super) fn name(&self) -> String {
        format!(
            "{}:{}",
            self.url.host_str().unwrap_or_default(),
            self.url.port_or_known_default().unwrap_or_default()
        )
    }
}

const NONE: &str = "is no URL of a proxy: expected http://host:port, or unset it";

/// `http://user:password@host:port`; without a scheme it is http. The error ends a sentence that begins with the
/// variable.
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

    fn of(base_url: &str, env: &[(&str, &str)]) -> Result<Option<String>, String> {
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
        for list in ["rest.zuora.com", ".zuora.com", "a, zuora.com", "*"] {
            is(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)], None);
        }
        is(
            &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "other.com")],
            Some("p:1"),
        );
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
                let error = of("https://v.example", &[(name, value)]).unwrap_err();
                assert!(error.starts_with(name), "{value}: {error}");
                assert!(!error.contains("s3cret"), "{error}");
            }
        }
        let shadowed = [("HTTPS_PROXY", "p:1"), ("ALL_PROXY", "no url")];
        of("https://v.example", &shadowed).unwrap_err();
    }
}
