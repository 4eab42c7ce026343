//! Prometheus HTTP service discovery: a target for each account and one for the exporter itself,
//! which together are the whole metrics page.

use std::net::Ipv6Addr;

use http::{Request, header};
use serde::Serialize;

use super::response;
use crate::invalid::Invalid;

/// Maximum length of a DNS name, in bytes.
const MAX_NAME: usize = 253;

/// Scheme and path under which Prometheus scrapes the metrics page.
pub(super) struct ServiceDiscovery<'a> {
    /// Whether the server speaks TLS.
    pub(super) tls: bool,
    /// Path of the metrics page.
    pub(super) telemetry_path: &'a str,
}

/// Target group in Prometheus' format.
#[derive(Serialize)]
struct TargetGroup<'a> {
    targets: [&'a str; 1],
    labels: TargetLabels<'a>,
}

/// Labels of a target. A label `__param_x` becomes the URL parameter `x` of the scrape.
#[derive(Serialize)]
struct TargetLabels<'a> {
    #[serde(rename = "__scheme__")]
    scheme: &'static str,
    #[serde(rename = "__metrics_path__")]
    metrics_path: &'a str,
    #[serde(flatten)]
    part: TargetParams<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TargetParams<'a> {
    Account {
        #[serde(rename = "__param_system")]
        system: &'a str,
        #[serde(rename = "__param_account")]
        account: &'a str,
        /// Without it, the `up` of all accounts would be one series.
        instance: String,
    },
    Own {
        #[serde(rename = "__param_own")]
        own: &'static str,
    },
}

impl ServiceDiscovery<'_> {
    /// Returns all target groups as JSON.
    ///
    /// Fails with a sentence if the request has parameters, or names no host that Prometheus can
    /// scrape.
    pub(super) fn groups<B>(
        &self,
        request: &Request<B>,
        accounts: &[(&str, String)],
    ) -> Result<String, Invalid> {
        if request.uri().query().is_some_and(|query| !query.is_empty()) {
            return Err(
                "There are no parameters here: choose among the targets by relabel_configs.\n"
                    .into(),
            );
        }
        let asked = host(request)?;
        let group = |part| TargetGroup {
            targets: [asked],
            labels: TargetLabels {
                scheme: if self.tls { "https" } else { "http" },
                metrics_path: self.telemetry_path,
                part,
            },
        };
        let own = group(TargetParams::Own { own: "1" });
        let accounts = accounts.iter().map(|(system, account)| {
            group(TargetParams::Account {
                system,
                account,
                instance: format!("{asked}/{system}/{account}"),
            })
        });
        let groups: Vec<_> = std::iter::once(own).chain(accounts).collect();
        serde_json::to_string(&groups).map_err(|error| format!("{error}.\n").into())
    }
}

/// Returns the host of a request, with its port if the request names one.
fn host<B>(request: &Request<B>) -> Result<&str, Invalid> {
    let named = request.headers().get_all(header::HOST).iter().count();
    let asked = response::asked(request).filter(|_| named <= 1);
    let asked = asked.and_then(|asked| std::str::from_utf8(asked).ok());
    asked.filter(|asked| is_address(asked)).ok_or_else(|| {
        "The request must name, in one Host header, the host at which to scrape: a name or an \
            address, with a port unless it is that of the scheme.\n"
            .into()
    })
}

/// Whether Prometheus can scrape this `host` or `host:port`. Names may contain underscores, as
/// Docker's do.
fn is_address(asked: &str) -> bool {
    let (host, port) = match asked.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (asked, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    };
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let word = |word: &str| !word.is_empty() && word.bytes().all(plain);
        let name = name.strip_suffix('.').unwrap_or(name);
        name.len() <= MAX_NAME && name.split('.').all(word)
    };
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    port.is_none_or(is_port)
        && v6.map_or_else(|| is_name(host), |v6| v6.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests;
