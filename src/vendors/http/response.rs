//! A vendor's response, and how to read its JSON, error codes and tokens.

use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use secrecy::SecretString;

use crate::blocking::BlockingPool;
use crate::model::error::{PollError, Reason};
use crate::model::listing::UnknownValues;
use crate::sanitize::harmless;
use crate::vendors::json;
use crate::vendors::json::{Misfit, Value};

/// Maximum size of a body that is read on the event loop, in bytes.
///
/// Reading one of this size takes about a third of a millisecond.
const SHORT: usize = 12 * 1024;

/// Threads that read larger bodies, and that compare and render longer listings.
static READERS: LazyLock<BlockingPool> = LazyLock::new(|| BlockingPool::new(2));
/// Deadline for reading a larger body.
const READING: Duration = Duration::from_secs(30);

/// Number of bytes of an error body that are searched for codes.
const SEARCHED: usize = 64 * 1024;
/// Maximum number of codes from an error body.
const MAX_CODES: usize = 8;

/// Maximum length of a token, in bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Maximum length of a token's scope, in bytes.
///
/// It is enough for twice the entities that an account may have.
const MAX_SCOPE: usize = 1 << 20;

/// Maximum lifetime of a token, even if its response has a longer one.
const MAX_LIFETIME: Duration = Duration::from_hours(48);

/// A vendor's response.
///
/// It does not implement `Debug`, because its body can hold credentials.
pub struct VendorResponse {
    /// Name of the call, as in the `endpoint` label.
    pub endpoint: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// Request id of the vendor.
    pub request_id: Option<String>,
    /// Decompressed body.
    pub body: Vec<u8>,
}

/// Meaning of a vendor's error body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct VendorError {
    /// Reason, if the body is more specific than the status.
    pub reason: Option<Reason>,
    /// Error codes of the vendor.
    pub codes: Vec<String>,
}

/// A token from a vendor's response.
#[derive(Debug)]
pub struct NewToken {
    /// The token.
    pub secret: SecretString,
    /// Lifetime of the token.
    pub lifetime: Duration,
    /// Scope of the token; empty if the response has none.
    pub scope: String,
    /// Number of values that the vendor does not document, by field.
    pub unknown: UnknownValues,
}

impl VendorError {
    /// Reads an error of a token endpoint.
    ///
    /// A wrong client gets a 400 or a 401. Neither vendor documents the body.
    #[must_use]
    pub(crate) fn of_client(response: &VendorResponse) -> Self {
        let refused = matches!(
            response.status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED
        );
        Self {
            reason: refused.then_some(Reason::Unauthorized),
            codes: response.codes(),
        }
    }
}

impl VendorResponse {
    /// Adds this response's status and request id to an error, for the vendor's support.
    #[must_use]
    pub(crate) fn with_response_context(&self, error: PollError) -> PollError {
        PollError {
            status: Some(self.status.as_u16()),
            request_id: self.request_id.clone(),
            ..error
        }
    }

    /// Creates the error that this response stands for.
    #[must_use]
    pub fn error(
        &self,
        reason: Reason,
        detail: impl Into<String>,
        codes: Vec<String>,
    ) -> PollError {
        let error = PollError::new(reason, self.endpoint, detail);
        self.with_response_context(PollError { codes, ..error })
    }

    /// Returns the token in this response.
    ///
    /// `fields` returns the values of the token, its lifetime in seconds, and its scope. `unsaid`
    /// is the lifetime if the response has none.
    ///
    /// A vendor may also reject a client with a 200 that names an error or has an empty token. A
    /// response with neither a token nor an error does not come from the vendor.
    pub fn token(
        &self,
        unsaid: Duration,
        fields: impl FnOnce(Value<'_>) -> Result<[Option<Value<'_>>; 3], Misfit>,
    ) -> Result<NewToken, PollError> {
        let codes = || self.codes();
        let refused = || self.error(Reason::Unauthorized, "HTTP 200 without a token", codes());
        self.read(|response| {
            let [success, error, errors, reasons] =
                response.fields(["success", "error", "errors", "reasons"])?;
            let denied = success.and_then(Value::flag) == Some(false);
            if denied {
                return Err(refused().into());
            }
            let [token, expires_in, beside] = match fields(response) {
                Err(Misfit::Shape(_)) if error.or(errors).or(reasons).is_some() => {
                    return Err(refused().into());
                }
                fields => fields?,
            };
            let Some(token) = token else {
                let none = "no token, and no error";
                let named = error.or(errors).or(reasons);
                return Err(named.map_or(none.into(), |_| refused().into()));
            };
            let token = token.text().ok_or("a token that is no text")?;
            if token.text.is_empty() {
                return Err(refused().into());
            }
            let plain = token.text.bytes().all(|b| b.is_ascii_graphic());
            if !plain || token.text.len() > MAX_TOKEN {
                return Err("a token that no header can carry".into());
            }
            let mut unknown = UnknownValues::new();
            let lifetime = expires_in
                .and_then(|seconds| seconds.number("expires_in", &mut unknown))
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or(unsaid);
            let scope = beside.map(|scope| scope.fact("scope", &mut unknown));
            let scope = scope.unwrap_or_default();
            if scope.len() > MAX_SCOPE {
                let what = format!("the token's scope is longer than {MAX_SCOPE} bytes");
                return Err(self.error(Reason::TooLarge, what, Vec::new()).into());
            }
            Ok(NewToken {
                secret: token.text.into_owned().into(),
                lifetime: lifetime.min(MAX_LIFETIME),
                scope: scope.into_owned(),
                unknown,
            })
        })
    }

    /// Returns the codes of an error body: `errors[].code`, `reasons[].code` and `error`.
    ///
    /// Codes must consist of harmless characters. Nothing else of the body is used, because titles
    /// and messages can hold anything. Only the first 64 KiB are read.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        let start = &self.body[..self.body.len().min(SEARCHED)];
        let start = json::as_text(start).unwrap_or_default();
        let mut codes = Vec::new();
        let Some(mut members) = Value::cut_off(&start).members() else {
            return codes;
        };
        while let (Some(key), Some(value)) = (members.next(), members.next()) {
            if key.is("errors") || key.is("reasons") {
                let reasons = value.items().into_iter().flatten();
                let code = |reason: Value<'_>| code(reason.fields(["code"]).ok()?[0]?);
                codes.extend(reasons.filter_map(code).take(MAX_CODES));
            } else if key.is("error") {
                codes.extend(code(value));
            }
        }
        codes.truncate(MAX_CODES);
        codes
    }

    /// Reads the body as JSON.
    ///
    /// The error describes the problem without quoting the body.
    pub fn read<T>(
        &self,
        read: impl FnOnce(Value<'_>) -> Result<T, Misfit>,
    ) -> Result<T, PollError> {
        let broken = |what: String| self.error(Reason::Decode, what, Vec::new());
        let body = json::as_text(&self.body)
            .ok_or_else(|| broken("the answer is not UTF-8, as JSON has to be".to_owned()))?;
        let value = Value::parse(&body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Eof => "ends too early",
                _ => "is not JSON",
            };
            let (line, column) = (error.line(), error.column());
            broken(format!("the answer {what} (line {line}, column {column})"))
        })?;
        read(value).map_err(|misfit| match misfit {
            Misfit::Shape(what) => {
                let detail = format!("the answer has {what}");
                let error = self.error(Reason::Decode, detail, self.codes());
                PollError {
                    is_fixed_text: true,
                    ..error
                }
            }
            Misfit::Error(error) => self.with_response_context(error),
        })
    }

    /// Runs `work` on the response, off the event loop if the body is large.
    pub async fn with<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<(Self, T), PollError> {
        let (endpoint, long) = (self.endpoint, self.body.len() > SHORT);
        let work = move || {
            let done = work(&self);
            (self, done)
        };
        offload(endpoint, long, work).await
    }
}

fn code(value: Value<'_>) -> Option<String> {
    match value.text() {
        Some(code) => harmless(&code.text),
        None => harmless(
            &value
                .number::<serde_json::Number>("code", &mut UnknownValues::new())?
                .to_string(),
        ),
    }
}

/// Runs `work`, on a worker thread if it may take `long`.
///
/// The work is bounded. The deadline is for a machine that has no CPU time for it.
pub(crate) async fn offload<T: Send + 'static>(
    endpoint: &'static str,
    long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PollError> {
    if !long {
        return Ok(work());
    }
    READERS.run(READING, work).await.map_err(|exceeded| {
        let detail = format!("the answer was received, and reading it was {exceeded}");
        PollError::new(Reason::Timeout, endpoint, detail)
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn response(body: impl Into<Vec<u8>>) -> VendorResponse {
        VendorResponse {
            endpoint: "oauth_token",
            status: StatusCode::OK,
            request_id: None,
            body: body.into(),
        }
    }

    fn token(body: &str) -> Result<NewToken, PollError> {
        let keys = ["access_token", "expires_in", "scope"];
        response(body).token(Duration::from_mins(30), |response| response.fields(keys))
    }

    #[test]
    fn a_token_answer_of_200_that_brings_no_token_refuses_the_client() {
        for (body, codes) in [
            (
                r#"{"success":false,"reasons":[{"code":90000011}]}"#,
                "90000011",
            ),
            (r#"{"error":"invalid_client"}"#, "invalid_client"),
            (
                r#"{"errors":[{"code":"InvalidCredentials"}]}"#,
                "InvalidCredentials",
            ),
            (r#"{"success":false,"access_token":"t"}"#, ""),
            (r#"{"access_token":""}"#, ""),
        ] {
            let error = token(body).unwrap_err();
            assert_eq!(error.reason, Reason::Unauthorized, "{body}");
            assert_eq!(error.codes.join(" "), codes);
        }
        for body in [
            "{}",
            "[]",
            r#"{"access_token":7}"#,
            r#"{"access_token":"t t"}"#,
        ] {
            assert_eq!(token(body).unwrap_err().reason, Reason::Decode, "{body}");
        }
    }

    #[test]
    fn what_stands_beside_a_token_is_read_leniently() {
        let minutes = |minutes| Duration::from_mins(minutes);
        for (beside, lifetime, scope, odd) in [
            (r#""expires_in":3600,"scope":"a b""#, minutes(60), "a b", 0),
            (
                r#""expires_in":"3600","scope":["a","b"]"#,
                minutes(60),
                "a b",
                2,
            ),
            (r#""expires_in":{},"scope":null"#, minutes(30), "", 1),
            (r#""expires_in":1e999,"error":"""#, minutes(30), "", 0),
            (r#""expires_in":-5"#, minutes(30), "", 0),
        ] {
            let told = token(&format!(r#"{{"access_token":"t",{beside}}}"#)).unwrap();
            assert_eq!(told.secret.expose_secret(), "t");
            assert_eq!(
                (told.lifetime, told.scope.as_str()),
                (lifetime, scope),
                "{beside}"
            );
            assert_eq!(told.unknown.values().sum::<u64>(), odd, "{beside}");
        }
    }

    #[test]
    fn codes_are_few_and_stand_at_the_beginning_of_a_body() {
        let reasons = r#"{"code":50000010},"#.repeat(1_000_000);
        for (body, count) in [
            (r#"{"errors":[{"code":"A"},{"code":"two words"},{}],"error":"b","reasons":[{"code":7}]}"#.to_owned(), 3),
            (format!(r#"{{"reasons":[{}{{"code":1}}]}}"#, &reasons[..18 * 9]), 8),
            (format!(r#"{{"error":"early","reasons":[{reasons}{{}}]}}"#), 1),
            (format!(r#"{{"reasons":[{reasons}{{}}],"error":"late"}}"#), 0),
            ("<html>".to_owned(), 0),
        ] {
            assert_eq!(response(body).codes().len(), count);
        }
    }
}
