//! `http_server_config.headers`: headers added to every response, by the rules of Prometheus'
//! exporter-toolkit.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use crate::settings::{Validator, given};

/// Headers that can be set, with their spelling in exporter-toolkit.
///
/// Values are taken as written: `0` is text, not a number.
#[derive(Default, Deserialize)]
pub(super) struct RawHeaders {
    #[serde(
        default,
        rename = "Content-Security-Policy",
        deserialize_with = "given"
    )]
    content_security_policy: Option<String>,
    #[serde(
        default,
        rename = "Strict-Transport-Security",
        deserialize_with = "given"
    )]
    strict_transport_security: Option<String>,
    #[serde(default, rename = "X-Content-Type-Options", deserialize_with = "given")]
    x_content_type_options: Option<String>,
    #[serde(default, rename = "X-Frame-Options", deserialize_with = "given")]
    x_frame_options: Option<String>,
    #[serde(default, rename = "X-XSS-Protection", deserialize_with = "given")]
    x_xss_protection: Option<String>,
}

impl RawHeaders {
    /// Checks the values. An empty value sets no header.
    pub(super) fn check(self, here: &mut Validator<'_>) -> HeaderMap {
        let mut checked = HeaderMap::new();
        let mut set = |key: &str, name: HeaderName, value: Option<String>, allowed: &[&str]| {
            let Some(value) = value else { return };
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                here.problem(key, format!("expected {}", allowed.join(" or ")));
            } else if value.is_empty() {
            } else if let Ok(value) = HeaderValue::try_from(value) {
                checked.insert(name, value);
            } else {
                here.problem(key, "expected one line of visible characters");
            }
        };
        set(
            "Content-Security-Policy",
            header::CONTENT_SECURITY_POLICY,
            self.content_security_policy,
            &[],
        );
        set(
            "Strict-Transport-Security",
            header::STRICT_TRANSPORT_SECURITY,
            self.strict_transport_security,
            &[],
        );
        set(
            "X-Content-Type-Options",
            header::X_CONTENT_TYPE_OPTIONS,
            self.x_content_type_options,
            &["nosniff"],
        );
        set(
            "X-Frame-Options",
            header::X_FRAME_OPTIONS,
            self.x_frame_options,
            &["deny", "sameorigin"],
        );
        set(
            "X-XSS-Protection",
            header::X_XSS_PROTECTION,
            self.x_xss_protection,
            &[],
        );
        checked
    }
}
