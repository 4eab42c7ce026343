//! Access control before routing: the rate limit and the users of the web configuration.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretSlice;

use super::client_connection::ClientConnection;
use super::response::{self, HttpResponse, text};
use super::{Server, request};
use crate::web::config::{Verdict, WebSettings};

impl Server {
    /// Returns the response to a request, after access control.
    pub(super) async fn respond(
        &self,
        client: &Arc<ClientConnection>,
        request: Request<Incoming>,
    ) -> HttpResponse {
        let answering = client.asks();
        let settings = self.web_config.current();
        let refusal = match request::check(&request) {
            Ok(path) => match self
                .refuse(&settings, client.address, &request, &path)
                .await
            {
                None => Ok(self.answer(&request, &path).await),
                Some(refusal) => Err(refusal),
            },
            Err(refusal) => Err(*refusal),
        };
        let mut answer = match refusal {
            Err(refusal) if *request.method() == Method::HEAD => response::without_body(refusal),
            Ok(answer) | Err(answer) => answer,
        };
        for (name, value) in &settings.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer.body_mut().send(answering);
        answer
    }

    /// Returns the response to a refused request; `None` if the request may proceed.
    ///
    /// Health and readiness checks need no password and have no rate limit. The supervisor that
    /// sends them has no password, and must not restart the process because other clients send many
    /// requests.
    async fn refuse(
        &self,
        settings: &WebSettings,
        address: IpAddr,
        request: &Request<Incoming>,
        path: &str,
    ) -> Option<HttpResponse> {
        if matches!(path, "/-/healthy" | "/-/ready") {
            return None;
        }
        if let Some(limit) = &settings.rate_limit
            && limit.check().is_err()
        {
            return Some(text(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests; see rate_limit in the web configuration.\n",
            ));
        }
        if settings.users.is_empty() {
            return None;
        }
        let verdict = match credentials(request.headers()) {
            Some((user, password)) => {
                let checks = &self.checks;
                checks
                    .check(&settings.users, address, &user, password)
                    .await
            }
            None => Verdict::Wrong,
        };
        match verdict {
            Verdict::Right => None,
            Verdict::Wrong => {
                let mut answer = text(
                    StatusCode::UNAUTHORIZED,
                    "A user name and the right password are needed here.\n",
                );
                answer.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(
                        "Basic realm=\"connections-exporter\", charset=\"UTF-8\"",
                    ),
                );
                Some(answer)
            }
            Verdict::Busy => {
                let mut answer = text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many passwords wait to be checked.\n",
                );
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                Some(answer)
            }
        }
    }
}

/// Parses user and password of `Authorization: Basic` (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, SecretSlice<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((String::from_utf8(user).ok()?, password.into()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_password_may_hold_colons_and_anything_that_is_not_text() {
        let read = |value: &str| {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())];
            let (user, password) = credentials(&headers.into_iter().collect())?;
            Some((user, password.expose_secret().to_vec()))
        };
        for (bytes, password) in [
            (&b"alice:a:b"[..], &b"a:b"[..]),
            (b"alice:", b""),
            (b"alice:\xff\0", b"\xff\0"),
        ] {
            for scheme in ["Basic", "basic", "BASIC"] {
                let value = format!("{scheme} {}", STANDARD.encode(bytes));
                assert_eq!(read(&value), Some(("alice".to_owned(), password.to_vec())));
            }
        }
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic !!",
            "Bearer YTpi",
            "Basic YWxpY2U=",
            "Basic /zpi",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
