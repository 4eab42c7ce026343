//! Parses a web configuration into checked settings, and reports all configuration errors at once.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::HeaderMap;
use serde::Deserialize;
use serde_yaml::Value;
use tokio_util::sync::CancellationToken;

use super::files::Seen;
use super::headers::RawHeaders;
use super::password::Users;
use super::tls::{self, RawTls, Tls};
use crate::blocking::files;
use crate::blocking::files::{FileKind, Files, with_files};
use crate::settings::{ConfigErrors, Node, Period, Validator, decode, given, read};

/// Web configuration as written in the file.
#[derive(Default, Deserialize)]
struct RawWebConfig {
    #[serde(default, deserialize_with = "given")]
    tls_server_config: Option<RawTls>,
    #[serde(default, deserialize_with = "given")]
    http_server_config: Option<RawHttp>,
    /// Kept as YAML and parsed by hand, because error messages of serde could contain the value.
    #[serde(default, deserialize_with = "given")]
    basic_auth_users: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<RawRateLimit>,
}

#[derive(Default, Deserialize)]
struct RawHttp {
    #[serde(default, deserialize_with = "given")]
    http2: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    headers: Option<RawHeaders>,
}

#[derive(Default, Deserialize)]
struct RawRateLimit {
    #[serde(default, deserialize_with = "given")]
    interval: Option<Period>,
    #[serde(default, deserialize_with = "given")]
    burst: Option<u32>,
}

/// Web configuration without errors.
#[derive(Debug, Default)]
pub struct WebSettings {
    /// TLS settings; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Headers added to every response.
    pub headers: HeaderMap,
    /// Users that may send requests; if empty, no password is needed.
    pub(crate) users: Users,
    /// Rate limit of requests; `None` for no limit.
    pub(crate) rate_limit: Option<DefaultDirectRateLimiter>,
    /// Cancelled once other settings are in force.
    ///
    /// A connection made under these settings then ends: HTTP/1.1 with its next response, HTTP/2 by
    /// GOAWAY.
    pub(crate) retired: CancellationToken,
}

impl WebSettings {
    /// Reads a file and the files that it names.
    ///
    /// The fingerprints are returned on errors, too.
    pub(super) async fn read(file: &Path) -> (Result<Self, ConfigErrors>, Seen) {
        let mut seen = Seen::default();
        let mut problems = ConfigErrors::new(file.display().to_string());
        let content = files::read(FileKind::Configuration, file).await;
        seen.note(FileKind::Configuration, file, &content);
        let content = content.map_err(|error| problems.add("", format!("the file {error}")));
        let text = content
            .ok()
            .and_then(|content| decode(content, &mut problems));
        let Some(text) = text else {
            return (Err(problems), seen);
        };
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let main = seen;
        let check = move |files: &Files| {
            let (mut seen, mut problems) = (main.clone(), problems.clone());
            let settings = Self::parse(&text, &folder, files, &mut seen, &mut problems);
            match settings.filter(|_| problems.is_empty()) {
                Some(settings) => (Ok(settings), seen),
                None => (Err(problems), seen),
            }
        };
        let (settings, seen) = with_files(check).await;
        if let Ok(settings) = &settings {
            settings.users.warn_of_costs();
        }
        (settings, seen)
    }

    fn parse(
        text: &str,
        folder: &Path,
        files: &Files,
        seen: &mut Seen,
        problems: &mut ConfigErrors,
    ) -> Option<Self> {
        let file = Node::parse(text, problems)?;
        let raw = read::<RawWebConfig>(&file, problems);
        let no_environment = |_: &str| None;
        let mut checker = Validator::new(folder, files, &no_environment, &file, problems);
        let http = raw.http_server_config.unwrap_or_default();
        let http2 = http.http2.unwrap_or(true);
        let tls = raw.tls_server_config.filter(|tls| !tls.is_empty());
        let mut files = tls::TlsFiles {
            folder,
            read: files,
            seen,
        };
        Some(Self {
            tls: tls
                .and_then(|tls| tls.check(http2, &mut files, &mut checker.at("tls_server_config"))),
            headers: http
                .headers
                .unwrap_or_default()
                .check(&mut checker.at("http_server_config").at("headers")),
            users: Users::check(raw.basic_auth_users, &mut checker.at("basic_auth_users")),
            rate_limit: raw
                .rate_limit
                .and_then(|limit| limit.check(&mut checker.at("rate_limit"))),
            retired: CancellationToken::new(),
        })
    }
}

impl RawRateLimit {
    /// Returns a limiter that allows one request per interval, and a burst at once.
    ///
    /// An interval of 0 sets no limit.
    fn check(self, here: &mut Validator<'_>) -> Option<DefaultDirectRateLimiter> {
        let interval = self.interval.map_or(Duration::ZERO, |interval| interval.0);
        let quota = Quota::with_period(interval)?;
        let Some(burst) = self.burst.and_then(NonZeroU32::new) else {
            here.problem(
                "burst",
                "must be at least 1: with 0 no request would be answered",
            );
            return None;
        };
        Some(RateLimiter::direct(quota.allow_burst(burst)))
    }
}
