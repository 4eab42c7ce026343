//! An answer of a vendor's, and what may be taken out of it.

use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{PollError, Reason, harmless};
use crate::token::Token;

/// No token is taken to live longer, whatever its answer says.
const LONGEST_LIFE: Duration = Duration::from_hours(48);

/// An answer of the vendor's. Cannot be printed: its body can hold credentials.
pub struct Answer {
    /// The call, as in the `endpoint` label.
    pub endpoint: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// What a vendor's error body says, in our words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, where the body knows better than the status.
    pub reason: Option<Reason>,
    /// The vendor's codes.
    pub codes: Vec<String>,
}

impl Refusal {
    /// The refusal of a token endpoint: a wrong client gets a 400 or a 401; how the body looks is not
    /// documented by either vendor.
    #[must_use]
    pub fn of_client(answer: &Answer) -> Self {
        let refused = matches!(
            answer.status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED
        );
        Self {
            reason: refused.then_some(Reason::Unauthorized),
            codes: answer.codes(),
        }
    }
}

impl Answer {
    /// An error that this answer led to, with what the vendor's support will ask for.
    #[must_use]
    pub fn blame(&self, error: PollError) -> PollError {
        PollError {
            status: Some(self.status.as_u16()),
            request_id: self.request_id.clone(),
            ..error
        }
    }

    /// The error that this answer amounts to.
    #[must_use]
    pub fn error(
        &self,
        reason: Reason,
        detail: impl Into<String>,
        codes: Vec<String>,
    ) -> PollError {
        let error = PollError::new(reason, self.endpoint, detail);
        self.blame(PollError { codes, ..error })
    }

    /// The token that this answer brought, which lives for so many seconds, or for `unsaid`.
    pub fn token<T>(
        &self,
        secret: SecretString,
        expires_in: Option<f64>,
        unsaid: Duration,
        beside: T,
    ) -> Result<Token<T>, PollError> {
        if !secret.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            let detail = "the token has characters that no header can carry";
            return Err(self.error(Reason::Decode, detail, Vec::new()));
        }
        let lives = expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(unsaid);
        Ok(Token::new(secret, lives.min(LONGEST_LIFE), beside))
    }

    /// The codes of an error body: `errors[].code`, `reasons[].code` and `error`, where they are harmless.
    /// Nothing else of such a body leaves it: titles and messages can hold anything.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let lists = ["errors", "reasons"]
            .into_iter()
            .filter_map(|key| body[key].as_array());
        let codes = lists
            .flatten()
            .map(|item| &item["code"])
            .chain([&body["error"]]);
        let text = |code: &serde_json::Value| match code {
            serde_json::Value::Number(number) => harmless(&number.to_string()),
            code => harmless(code.as_str()?),
        };
        codes.filter_map(text).take(8).collect()
    }

    /// Reads the body as JSON. The error tells the place in the body, and nothing that stood there.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, PollError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "is JSON of another shape than documented",
                serde_json::error::Category::Eof => "ends too early",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    "is not JSON"
                }
            };
            let detail = format!(
                "the answer {what} (line {}, column {})",
                error.line(),
                error.column()
            );
            self.error(Reason::Decode, detail, Vec::new())
        })
    }
}
