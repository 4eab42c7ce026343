//! Replay of a report of `check --report`: responses of the shapes that a live account had.
//!
//! All bodies are made when the report is read, so every poll gets the same ones. Ids and names are
//! made up such that they fit each other: a token reaches the entities that are listed.

mod shape;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::Call;
use super::http::{Manner, Reply};
use super::rejected::Rejected;
use shape::{BodyMaker, Place, ReplayedShape};

/// Version of the format that is read.
const FORMAT: u32 = 1;

/// Host in the URLs of bodies that name the host of the request.
const OWN_HOST: &str = "own-host.invalid";

/// Headers that the HTTP server sends itself, or that depend on how it sends the body.
const NOT_REPLAYED: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "transfer-encoding",
];

#[derive(Debug, Deserialize)]
struct ReplayedReport {
    connections_exporter_report: u32,
    accounts: Vec<ReplayedAccount>,
}

#[derive(Debug, Deserialize)]
struct ReplayedAccount {
    system: String,
    discovers: String,
    calls: Vec<ReplayedCall>,
    #[serde(default)]
    interpretation: ReplayedInterpretation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplayedInterpretation {
    targets: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct ReplayedCall {
    call: String,
    status: Option<u16>,
    failure: Option<String>,
    #[serde(default)]
    headers: ReplayedHeaders,
    #[serde(default)]
    body: ReplayedBody,
    responses: Vec<ReplayedResponse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplayedHeaders {
    names: BTreeMap<String, u64>,
    other_names: BTreeMap<String, u64>,
    limits: BTreeMap<String, BTreeMap<String, u64>>,
    content_type: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplayedBody {
    kinds: BTreeMap<String, u64>,
    json: Option<ReplayedShape>,
    texts: BTreeMap<String, u64>,
}

/// One response of the report.
#[derive(Debug, Deserialize)]
pub(super) struct ReplayedResponse {
    target: Option<usize>,
    #[serde(default)]
    order: u64,
    /// Lengths of the arrays at the top of the body.
    #[serde(default)]
    arrays: BTreeMap<String, u64>,
    /// Fields that tell whether there is another page.
    #[serde(default)]
    paging: BTreeMap<String, String>,
}

/// Responses of one account of each system.
#[derive(Debug)]
pub(super) struct Replay {
    responses: Mutex<BTreeMap<ReplayKey, Queue>>,
    configuration: String,
    env: BTreeMap<String, String>,
}

/// Endpoint, and number of the target.
type ReplayKey = (String, Option<usize>);

/// Responses in their order; after the last one, the first one is next.
#[derive(Debug, Default)]
struct Queue {
    replies: Vec<(u64, ReadyReply)>,
    next: usize,
}

/// A response that was made from a report.
#[derive(Debug, Clone)]
struct ReadyReply {
    status: StatusCode,
    content_type: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Whole,
    CutOff,
    Reset,
    Never,
}

impl Replay {
    /// Reads a report, and makes its responses. Dates are relative to `now`.
    pub(super) fn read(text: &[u8], now: Timestamp) -> Result<Self, Rejected> {
        #[derive(Deserialize)]
        struct FormatVersion {
            connections_exporter_report: u32,
        }
        let no_report = "is no report of `connections-exporter check --report`";
        let format: FormatVersion =
            serde_json::from_slice(text).map_err(|error| format!("{no_report}: {error}"))?;
        if format.connections_exporter_report != FORMAT {
            return Err(format!(
                "has version {} of the format, and this simulator reads version {FORMAT}",
                format.connections_exporter_report
            )
            .into());
        }
        let report: ReplayedReport =
            serde_json::from_slice(text).map_err(|error| format!("{no_report}: {error}"))?;
        debug_assert_eq!(report.connections_exporter_report, FORMAT);
        let mut replay = Self {
            responses: Mutex::default(),
            configuration: String::new(),
            env: BTreeMap::new(),
        };
        let mut maker = BodyMaker::new(now);
        for system in ["zuora", "zis"] {
            let mut accounts = report.accounts.iter();
            if let Some(account) = accounts.find(|account| account.system == system) {
                replay.add(account, &mut maker)?;
            }
        }
        if replay.configuration.is_empty() {
            return Err("has no account of a system that is simulated".into());
        }
        Ok(replay)
    }

    fn add(&mut self, account: &ReplayedAccount, maker: &mut BodyMaker) -> Result<(), Rejected> {
        let named = account.calls.iter().flat_map(|call| &call.responses);
        let most = named.filter_map(|response| response.target).max();
        let number = account.interpretation.targets.len().max(most.unwrap_or(0));
        let number = number.clamp(1, 10_000);
        maker.entities = number as u64;
        maker.clients = 1;
        for call in &account.calls {
            let arrays = |name: &str| {
                let lengths = call.responses.iter().filter_map(|one| one.arrays.get(name));
                lengths.max().copied().unwrap_or(0)
            };
            maker.entities = maker.entities.max(arrays("entities"));
            maker.clients = maker.clients.max(arrays("clients"));
        }
        let queues = self.responses.get_mut();
        for call in &account.calls {
            let mut headers = HeaderMaker::new(&call.headers);
            let mut kinds = Cycle::new(&call.body.kinds);
            let mut known_texts = Cycle::new(&call.body.texts);
            for response in &call.responses {
                let kind = kinds.next().unwrap_or("empty");
                let (kind, is_cut_off) = match kind.strip_suffix(", cut off") {
                    Some(kind) => (kind, true),
                    None => (kind, false),
                };
                let body = match (kind, &call.body.json) {
                    ("JSON" | "JSON that is not UTF-8", Some(shape)) => {
                        let place = Place::new(response);
                        maker.make(shape, place)?.to_string().into_bytes()
                    }
                    ("HTML", _) => b"<html><body>replayed</body></html>".to_vec(),
                    ("text", _) => text(known_texts.next().unwrap_or("4 characters")).into_bytes(),
                    ("broken JSON", _) => b"{\"name\": ".to_vec(),
                    ("neither UTF-8 nor near it", _) => vec![0xff; 200_000],
                    _ => Vec::new(),
                };
                let status = call.status.and_then(|code| StatusCode::from_u16(code).ok());
                let reply = ReadyReply {
                    status: status.filter(|s| !s.is_informational()).unwrap_or_default(),
                    content_type: headers.content_type(),
                    headers: headers.next(),
                    body,
                    ending: match call.failure.as_deref() {
                        Some("timeout") => Ending::Never,
                        Some(_) => Ending::Reset,
                        None if is_cut_off => Ending::CutOff,
                        None => Ending::Whole,
                    },
                };
                let key = (call.call.clone(), response.target);
                let queue = queues.entry(key).or_default();
                queue.replies.push((response.order, reply));
            }
        }
        for queue in queues.values_mut() {
            queue.replies.sort_by_key(|(order, _)| *order);
        }
        self.configure(account, number);
        Ok(())
    }

    /// Adds the account to the configuration.
    fn configure(&mut self, account: &ReplayedAccount, targets: usize) {
        let text = &mut self.configuration;
        let lists_targets = account.discovers == "targets";
        let secret = |env: &mut BTreeMap<String, String>, name: &str| {
            env.insert(name.to_owned(), format!("replayed-{}", name.to_lowercase()));
            name.to_owned()
        };
        let head = "    base_url: http://ADDRESS\n    requests_per_minute: 60000\n";
        let numbers = 1..=targets as u64;
        // Writing to a `String` cannot fail.
        let _ = if account.system == "zuora" {
            let secret = secret(&mut self.env, "REPLAYED_SECRET");
            let entities: Vec<_> = numbers
                .map(|n| format!("{{id: {}}}", shape::entity(n)))
                .collect();
            let entities = if lists_targets {
                String::new()
            } else {
                format!("    entities: [{}]\n", entities.join(", "))
            };
            write!(
                text,
                "zuora:\n  - account: replayed\n{head}    client_id: replayed\n    \
                    client_secret_env: {secret}\n{entities}"
            )
        } else {
            let mints = account.calls.iter().any(|call| call.call == "admin_token");
            let names = numbers.map(shape::integration);
            let (client, integrations) = if mints {
                let secret = secret(&mut self.env, "REPLAYED_ADMIN");
                let names: Vec<_> = names.map(|name| format!("{{name: {name}}}")).collect();
                let integrations = if lists_targets {
                    " all\n".to_owned()
                } else {
                    format!(" [{}]\n", names.join(", "))
                };
                let client = format!(
                    "    admin_client: {{client_id: replayed, client_secret_env: {secret}}}\n"
                );
                (client, integrations)
            } else {
                let secret = secret(&mut self.env, "REPLAYED_TOKEN");
                let entry = |name| format!("      - name: {name}\n        token_env: {secret}\n");
                (
                    String::new(),
                    format!("\n{}", names.map(entry).collect::<String>()),
                )
            };
            write!(
                text,
                "zis:\n  - account: replayed\n{head}{client}    integrations:{integrations}"
            )
        };
    }

    /// Returns a configuration that polls the replay, and the environment with its secrets.
    pub(super) fn configuration(
        &self,
        address: SocketAddr,
        poll: &str,
    ) -> (String, BTreeMap<String, String>) {
        let text = self.configuration.replace("ADDRESS", &address.to_string());
        (format!("poll:\n{poll}{text}"), self.env.clone())
    }

    /// Returns the next response to a call.
    pub(super) fn answer(&self, call: &Call<'_>) -> Reply {
        let target = shape::number_of(&call.target);
        let mut queues = self.responses.lock();
        let mut keys = [target, None].map(|target| (call.endpoint.to_owned(), target));
        // A token that reaches one entity is used without its header.
        keys[1].1 = keys[1].1.or_else(|| {
            let only = (call.endpoint.to_owned(), Some(1));
            let unnamed = (call.endpoint.to_owned(), None);
            (!queues.contains_key(&unnamed) && queues.contains_key(&only) && target.is_none())
                .then_some(1)
        });
        let key = keys.into_iter().find(|key| queues.contains_key(key));
        let Some(queue) = key.and_then(|key| queues.get_mut(&key)) else {
            return Reply::json(StatusCode::NOT_FOUND, &json!({"error": "RecordNotFound"}));
        };
        let ready = queue.replies[queue.next].1.clone();
        queue.next = (queue.next + 1) % queue.replies.len();
        let host = call.request.header("host").unwrap_or("localhost");
        let body = match std::str::from_utf8(&ready.body) {
            Ok(text) if text.contains(OWN_HOST) => text.replace(OWN_HOST, host).into_bytes(),
            _ => ready.body,
        };
        Reply {
            status: ready.status,
            headers: Vec::new(),
            named: std::iter::once(("content-type".to_owned(), ready.content_type))
                .filter(|(_, kind)| !kind.is_empty())
                .chain(ready.headers)
                .collect(),
            body,
            manner: match ready.ending {
                Ending::Whole => Manner::Normal,
                Ending::CutOff => Manner::Truncate,
                Ending::Reset => Manner::Reset,
                Ending::Never => Manner::Hang,
            },
        }
    }
}

/// Repeats what was counted: each as often as its count says, and then from the beginning.
#[derive(Debug)]
struct Cycle<'a> {
    counts: Vec<(&'a str, u64)>,
    at: u64,
}

impl<'a> Cycle<'a> {
    fn new(counts: &'a BTreeMap<String, u64>) -> Self {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        Self {
            counts: counts
                .map(|(what, count)| (what.as_str(), *count))
                .collect(),
            at: 0,
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let all = self
            .counts
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let mut at = self.at.checked_rem(all)?;
        self.at += 1;
        for (what, count) in &self.counts {
            if at < *count {
                return Some(what);
            }
            at -= count;
        }
        None
    }
}

/// Makes the headers of one response after the other.
struct HeaderMaker<'a> {
    shape: &'a ReplayedHeaders,
    values: Vec<(&'a str, Cycle<'a>)>,
    types: Cycle<'a>,
    made: u64,
}

impl<'a> HeaderMaker<'a> {
    fn new(shape: &'a ReplayedHeaders) -> Self {
        let values = shape.limits.iter();
        Self {
            shape,
            values: values
                .map(|(name, values)| (name.as_str(), Cycle::new(values)))
                .collect(),
            types: Cycle::new(&shape.content_type),
            made: 0,
        }
    }

    fn content_type(&mut self) -> String {
        let kind = self.types.next().unwrap_or_default();
        match kind.split_once("; ") {
            _ if kind.starts_with("other") => "application/x-replayed".to_owned(),
            Some((kind, "other parameters")) => format!("{kind}; replayed=1"),
            _ => kind.to_owned(),
        }
    }

    /// Returns the headers of the next response: those that enough responses had.
    fn next(&mut self) -> Vec<(String, String)> {
        let made = self.made;
        self.made += 1;
        let mut headers = Vec::new();
        for (name, count) in &self.shape.names {
            if *count <= made || NOT_REPLAYED.contains(&name.as_str()) {
                continue;
            }
            let value = self.values.iter_mut().find(|(known, _)| known == name);
            let value = value.and_then(|(_, values)| values.next());
            let value = value.map_or_else(|| "replayed".to_owned(), limit_value);
            headers.push((name.clone(), value));
        }
        for (n, (described, count)) in self.shape.other_names.iter().enumerate() {
            if *count > made {
                let values = self.values.iter_mut().find(|(known, _)| known == described);
                let value = values.and_then(|(_, values)| values.next());
                let value = value.map_or_else(|| "replayed".to_owned(), limit_value);
                headers.push((header_name(described, n), value));
            }
        }
        headers
    }
}

/// Returns a value of a header about limits that is shown as `shown`.
fn limit_value(shown: &str) -> String {
    if shown == "HTTP date" {
        return "Fri, 02 Jan 2026 03:05:05 GMT".to_owned();
    }
    if let Some(digits) = shown.strip_prefix("integer, digits: ") {
        return "9".repeat(digits.parse::<usize>().unwrap_or(1).clamp(1, 30));
    }
    match characters(shown) {
        Some(length) => "o".repeat(length),
        None => shown.to_owned(),
    }
}

/// Returns the `n`th name of a header that is described as `described`.
fn header_name(described: &str, n: usize) -> String {
    let length = characters(described).unwrap_or(12);
    let prefix = described.split_once('…').map_or("", |(prefix, _)| prefix);
    let mut name = format!("{prefix}y{n}");
    while name.len() < length {
        name.push('y');
    }
    name.truncate(length.max(prefix.len() + 1));
    name
}

/// Returns the length in a description such as `other (7 characters)`.
fn characters(described: &str) -> Option<usize> {
    let (before, _) = described.split_once(" character")?;
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| {
        at + before[at..].chars().next().map_or(1, char::len_utf8)
    });
    before[start..]
        .parse()
        .ok()
        .filter(|length| *length <= 20_000)
}

fn text(described: &str) -> String {
    match characters(described) {
        Some(length) => "o".repeat(length),
        None => described.to_owned(),
    }
}
