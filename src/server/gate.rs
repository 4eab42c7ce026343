//! Who is let in: the rate limit and passwords of the web configuration, before a request is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretSlice;

use super::Server;
use super::answer::{self, Answer, text};
use crate::web_config::{Settings, Verdict};

impl Server {
    /// Answers one request, if it may come in.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Answer {
        let settings = self.web_config.current();
        let mut answer = match self.refuse(&settings, &request).await {
            None => self.answer(&request).await,
            Some(refusal) if *request.method() == Method::HEAD => answer::without_body(refusal),
            Some(refusal) => refusal,
        };
        for (name, value) in &settings.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }

    /// The answer to a request that is not let in. Health never asks: whoever looks after the process has no
    /// password, and must not end it because others ask much.
    async fn refuse(&self, settings: &Settings, request: &Request<Incoming>) -> Option<Answer> {
        if matches!(request.uri().path(), "/-/healthy" | "/-/ready") {
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
            Some((user, password)) => self.checks.check(&settings.users, &user, password).await,
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

/// User and password of `Authorization: Basic` (RFC 7617).
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
