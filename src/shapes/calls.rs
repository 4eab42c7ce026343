//! Calls of an account: responses with the same path and status, merged, and each one in short.

use std::collections::BTreeMap;

use http::Version;
use jiff::Timestamp;
use serde::Serialize;

use super::headers::HeaderShape;
use super::texts::{self, TextContext};
use super::value::{ShapeBuilder, ValueShape};
use super::{Counts, LengthRange, count, vocabulary};
use crate::vendors::http::{Exchange, RawResponse};
use crate::vendors::json::{self, Value};

/// Maximum number of responses of one call that are described one by one.
const MAX_RESPONSES: usize = 100;

/// What responses are merged by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallKey {
    endpoint: &'static str,
    method: String,
    path: String,
    /// Status, or the reason why there was no response.
    result: Result<u16, &'static str>,
}

/// All responses of one call with one status.
#[derive(Debug, Default, Serialize)]
pub(super) struct CallShape {
    /// Name of the call, as in the `endpoint` label.
    call: &'static str,
    method: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Counts::is_empty")]
    http: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<HeaderShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyShape>,
    /// Each response in short, by target and then in the order of their arrival.
    responses: Vec<ResponseSummary>,
    #[serde(skip_serializing_if = "is_none_left")]
    further_responses: u64,
    /// Number of shapes below this one.
    #[serde(skip)]
    shapes: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none_left(number: &u64) -> bool {
    *number == 0
}

/// Bodies of the responses of one call.
#[derive(Debug, Default, Serialize)]
pub(super) struct BodyShape {
    /// What the bodies are: `JSON`, `HTML`, `text`, `empty` and so on.
    kinds: Counts,
    /// Lengths in bytes, after decompression.
    bytes: Option<LengthRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<ValueShape>,
    /// Texts that users reported before, and the lengths of others.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    texts: Counts,
}

/// One response.
#[derive(Debug, Serialize)]
struct ResponseSummary {
    /// Number of the target in `interpretation.targets`, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<usize>,
    #[serde(skip)]
    target_id: Option<String>,
    /// Number of the response among all of the account, from 1.
    order: u64,
    /// Duration in milliseconds, without the wait for the rate limiter.
    ms: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, String>,
    #[serde(flatten)]
    outline: BodyOutline,
}

/// What is on one page.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct BodyOutline {
    /// Lengths of the arrays at the top.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) arrays: BTreeMap<String, u64>,
    /// Values of the fields that tell whether there is another page.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) paging: BTreeMap<&'static str, String>,
}

impl CallKey {
    pub(super) fn of(exchange: &Exchange<'_>) -> Self {
        let (path, _) = vocabulary::path(exchange.request.url().path());
        let result = exchange.outcome.as_ref();
        Self {
            endpoint: exchange.endpoint,
            method: exchange.request.method().to_string(),
            path,
            result: result
                .map(|response| response.status.as_u16())
                .map_err(|reason| reason.label()),
        }
    }
}

impl CallShape {
    /// Creates the shape of a call without responses.
    pub(super) fn new(key: &CallKey) -> Self {
        Self {
            call: key.endpoint,
            method: key.method.clone(),
            path: key.path.clone(),
            status: key.result.ok(),
            failure: key.result.err(),
            ..Self::default()
        }
    }

    /// Adds a response, and returns its outline.
    pub(super) fn add(
        &mut self,
        exchange: &Exchange<'_>,
        target_id: Option<String>,
        order: u64,
        now: Timestamp,
    ) -> BodyOutline {
        let url = exchange.request.url();
        let context = TextContext {
            host: url.host_str().unwrap_or_default(),
            now,
        };
        let outline = match &exchange.outcome {
            Ok(response) => self.add_response(response, context),
            Err(_) => BodyOutline::default(),
        };
        if self.responses.len() >= MAX_RESPONSES {
            self.further_responses += 1;
            return outline;
        }
        let mut query = BTreeMap::new();
        for (key, value) in url.query_pairs() {
            let known = vocabulary::QUERY.into_iter().find(|known| *known == key);
            let key = known.map_or_else(|| texts::hidden_key(&key), str::to_owned);
            query.insert(key, query_value(&value, context));
        }
        self.responses.push(ResponseSummary {
            target: None,
            target_id,
            order,
            ms: u64::try_from(exchange.took.as_millis()).unwrap_or(u64::MAX),
            query,
            outline: outline.clone(),
        });
        outline
    }

    fn add_response(
        &mut self,
        response: &RawResponse<'_>,
        context: TextContext<'_>,
    ) -> BodyOutline {
        count(&mut self.http, version(response.version).to_owned());
        self.headers.get_or_insert_default().add(response.headers);
        let body = self.body.get_or_insert_default();
        LengthRange::add(&mut body.bytes, response.body.len());
        let text = json::as_text(response.body);
        let trimmed = text.as_deref().map(str::trim);
        let value = trimmed.map(Value::parse);
        let kind = match (&value, trimmed) {
            (None, _) | (_, None) => "neither UTF-8 nor near it",
            (_, Some("")) => "empty",
            (Some(Ok(_)), _) if std::str::from_utf8(response.body).is_err() => {
                "JSON that is not UTF-8"
            }
            (Some(Ok(_)), _) => "JSON",
            (_, Some(text)) if text.starts_with('<') => "HTML",
            (_, Some(text)) if text.starts_with(['{', '[']) => "broken JSON",
            _ => "text",
        };
        let cut = if response.is_cut_off { ", cut off" } else { "" };
        count(&mut body.kinds, format!("{kind}{cut}"));
        if kind == "text"
            && let Some(text) = trimmed
        {
            let known = vocabulary::BODIES.into_iter().find(|known| *known == text);
            count(
                &mut body.texts,
                known.map_or_else(|| super::characters(text), str::to_owned),
            );
        }
        let Some(Ok(value)) = value else {
            return BodyOutline::default();
        };
        let shape = body.json.get_or_insert_default();
        ShapeBuilder::new(context, &mut self.shapes).add(shape, value, "", 0);
        BodyOutline::of(value, context)
    }

    /// Numbers the targets of the responses by `targets`, which are in order.
    pub(super) fn number_targets(&mut self, targets: &[String]) {
        for response in &mut self.responses {
            let id = response.target_id.as_ref();
            let place = id.and_then(|id| targets.iter().position(|target| target == id));
            response.target = place.map(|place| place + 1);
        }
        self.responses.sort_by_key(|response| response.target);
    }
}

impl BodyOutline {
    fn of(body: Value<'_>, context: TextContext<'_>) -> Self {
        let mut outline = Self::default();
        let mut members = body.members().into_iter().flatten();
        while let (Some(key), Some(value)) = (members.next(), members.next()) {
            let text = key.text();
            let text = text.as_ref().map_or("", |text| &text.text);
            let known = vocabulary::key(text);
            if let Some(items) = value.items() {
                let name = known.map_or_else(|| texts::hidden_key(text), str::to_owned);
                if outline.arrays.len() < super::MAX_ENTRIES || outline.arrays.contains_key(&name) {
                    *outline.arrays.entry(name).or_default() += items.count() as u64;
                }
            } else if let Some("nextPage" | "next_page") = known {
                let what = what(value, context);
                outline.paging.insert(known.unwrap_or_default(), what);
            } else if known == Some("meta")
                && let Ok(fields) = value.fields(["has_more", "after", "before"])
            {
                for (name, field) in ["has_more", "after", "before"].into_iter().zip(fields) {
                    let absent = || "absent or null".to_owned();
                    let what = field.map_or_else(absent, |field| what(field, context));
                    outline.paging.insert(name, what);
                }
            }
        }
        outline
    }
}

/// Returns what a field is that tells whether there is another page.
fn what(value: Value<'_>, context: TextContext<'_>) -> String {
    if value.is_null() {
        "null".to_owned()
    } else if let Some(text) = value.text() {
        texts::class(&text.text, context)
    } else if let Some(flag) = value.flag() {
        flag.to_string()
    } else {
        "of another type".to_owned()
    }
}

/// Returns the value of a query: a small number or a documented word, or else its class.
fn query_value(value: &str, context: TextContext<'_>) -> String {
    let is_small = value.len() <= 4 && value.bytes().all(|b| b.is_ascii_digit());
    if (is_small && !value.is_empty()) || matches!(value, "inbound" | "outbound") {
        return value.to_owned();
    }
    let class = texts::class(value, context);
    format!("{class} ({})", super::characters(value))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "other",
    }
}
