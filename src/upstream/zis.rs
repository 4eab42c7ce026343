//! Zendesk Integration Services: the connections of an integration,
//! `GET /api/services/zis/integrations/{integration}/connections/all`.
//!
//! Sources: Zendesk's API reference ("All Connections", "Pagination", "Rate limits") as of 2026, and what
//! users report from live accounts: the texts of a 401, which are no JSON; that a token belongs to one
//! integration; that `after` can be there on the last page.

mod admin;
mod settings;
mod stored;
mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Connect, Found, Limits, Source, System};
use crate::client::{Answer, Client, Quota, Refusal, number, ratelimit, reset};
use crate::config::Secret;
use crate::error::{PollError, Reason};
use crate::listing::{Connection, Draft, Facts, Listing, Row};
use admin::{AdminClient, Minter};
pub use settings::AccountSettings;
use stored::Stored;

const CONNECTIONS_ALL: &str = "connections_all";

/// The vendor's maximum of `page[size]`.
const PAGE_SIZE: u32 = 100;

static ZIS: System = System {
    name: "zis",
    documented: &[
        ("api_key", ""),
        ("basic_auth", ""),
        ("bearer_token", ""),
        ("oauth", ""),
    ],
    connected: None,
    request_id_header: "x-request-id",
    quotas,
};

/// The window is a minute: of either family of headers, whichever is there. One that is used up and does
/// not tell its end, ends within that minute.
fn quotas(headers: &HeaderMap) -> Vec<Quota> {
    let newer = ratelimit(headers, "60");
    let limit = newer
        .and_then(|quota| quota.limit)
        .or_else(|| number(headers, "x-rate-limit"));
    let remaining = newer
        .and_then(|quota| quota.remaining)
        .or_else(|| number(headers, "x-rate-limit-remaining"));
    let told = limit.is_some() || remaining.is_some();
    let used_up = (remaining == Some(0)).then_some(Duration::from_mins(1));
    let window = newer.map_or("60", |quota| quota.window);
    let quota = Quota {
        window,
        limit,
        remaining,
        reset: reset(headers).or(used_up),
    };
    told.then_some(quota).into_iter().collect()
}

/// How an account is reached.
#[derive(Debug)]
struct Access {
    tokens: Tokens,
    /// How many integrations are listed, at least.
    targets: usize,
}

/// Where the token of an integration comes from.
#[derive(Debug)]
enum Tokens {
    /// From a file or the environment, by integration.
    Stored(BTreeMap<String, Secret>),
    /// Made with an administrator's client.
    Minted(AdminClient),
}

impl Connect for Access {
    fn connect(&self, client: Client) -> Box<dyn Source> {
        let credentials = match &self.tokens {
            Tokens::Stored(tokens) => {
                Credentials::Stored(Box::new(Stored::new(client.clone(), tokens.clone())))
            }
            Tokens::Minted(admin) => {
                Credentials::Minted(Box::new(Minter::new(client.clone(), admin.clone())))
            }
        };
        Box::new(Zis {
            client,
            credentials,
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            of: "the smallest plan of the vendor's Support API: ZIS publishes no numbers of its own",
            minute: Some(200),
            hour: None,
            day: None,
        }
    }

    fn tokens_per_day(&self) -> u64 {
        match &self.tokens {
            Tokens::Stored(_) => 0,
            // One for the client itself, and one for each integration.
            Tokens::Minted(_) => (self.targets as u64 + 1) * 86_400 / (admin::EXPIRES_IN - 300),
        }
    }
}

/// One subdomain.
struct Zis {
    client: Client,
    credentials: Credentials,
}

enum Credentials {
    Stored(Box<Stored>),
    Minted(Box<Minter>),
}

#[async_trait]
impl Source for Zis {
    async fn list(&self, target: &str) -> Result<Listing, PollError> {
        let mut draft = Draft::new(
            CONNECTIONS_ALL,
            self.client.max_connections(),
            PAGE_SIZE as usize,
        );
        if !settings::is_integration(target) {
            let what = "this is no name of an integration";
            return Err(PollError::new(Reason::NotFound, CONNECTIONS_ALL, what));
        }
        let path = format!("/api/services/zis/integrations/{target}/connections/all");
        let mut cursors = BTreeSet::new();
        let mut after = None;
        loop {
            let mut query = vec![("page[size]", PAGE_SIZE.to_string())];
            query.extend(after.map(|cursor: String| ("page[after]", cursor)));
            let answer = self.get(target, &path, &query).await?;
            let Some(cursor) = take(&answer, &mut draft)? else {
                if let Credentials::Stored(tokens) = &self.credentials {
                    tokens.note_expiry(target).await;
                }
                return Ok(draft.finish());
            };
            if cursor.is_empty() || !cursors.insert(cursor.clone()) {
                let error = draft.stuck("announced more with an empty or repeated cursor");
                return Err(answer.blame(error));
            }
            after = Some(cursor);
        }
    }

    async fn discover(&self) -> Result<Vec<Found>, PollError> {
        match &self.credentials {
            Credentials::Stored(_) => Ok(Vec::new()),
            Credentials::Minted(minter) => {
                let names = minter.integrations().await?;
                Ok(names
                    .into_iter()
                    .map(|id| Found { id, name: None })
                    .collect())
            }
        }
    }

    async fn credential(&self, target: &str) -> Option<u64> {
        match &self.credentials {
            Credentials::Stored(tokens) => tokens.fingerprint(target).await,
            Credentials::Minted(minter) => minter.credential().await,
        }
    }

    fn memory(&self) -> serde_json::Value {
        match &self.credentials {
            Credentials::Stored(_) => serde_json::Value::Null,
            Credentials::Minted(minter) => {
                serde_json::to_value(minter.clients()).unwrap_or_default()
            }
        }
    }

    fn remember(&self, memory: serde_json::Value) {
        if let (Credentials::Minted(minter), Ok(clients)) =
            (&self.credentials, serde_json::from_value(memory))
        {
            minter.remember(clients);
        }
    }

    /// The connection's name, whatever its type.
    fn satisfies<'a>(&self, _target: &str, connection: Row<'a>) -> Option<&'a str> {
        Some(connection.id)
    }
}

impl Zis {
    async fn get(
        &self,
        target: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer, PollError> {
        let ask = async |token: &SecretString| {
            let request = self
                .client
                .get(path)
                .query(query)
                .bearer_auth(token.expose_secret());
            self.client.send(CONNECTIONS_ALL, request, refusal).await
        };
        match &self.credentials {
            Credentials::Stored(tokens) => {
                let token = tokens.read(target).await?;
                let answer = ask(&token.value).await;
                answer.map_err(|error| token.blame(error))
            }
            Credentials::Minted(minter) => {
                minter
                    .with_token(target, async |token| ask(&token.secret).await)
                    .await
            }
        }
    }
}

/// Takes a page into the draft, and gives the cursor of the next one, if more was announced. Public for benchmarks.
#[doc(hidden)]
pub fn take(answer: &Answer, draft: &mut Draft) -> Result<Option<String>, PollError> {
    let page: wire::Page<'_> = answer.json()?;
    let foreign = |what| answer.error(Reason::Decode, format!("the answer has {what}"), Vec::new());
    if page.is_foreign() {
        return Err(foreign("none of the documented arrays, or errors"));
    }
    // Only has_more ends it: a sibling of this endpoint gives a cursor on its last page, too.
    let next = match &page.meta {
        None => None,
        Some(wire::Meta {
            has_more: Some(more),
            after,
        }) => more.then(|| after.clone().unwrap_or_default()),
        Some(wire::Meta {
            has_more: None,
            after,
        }) if after.as_deref().unwrap_or_default().is_empty() => None,
        Some(_) => return Err(foreign("a cursor, and does not say whether there is more")),
    };
    let rows = connections(page, draft).ok_or_else(|| foreign("a connection without a name"))?;
    draft
        .page(rows, next.is_none())
        .map_err(|error| answer.blame(error))?;
    Ok(next)
}

/// The rows of a page; `None` if one of a documented type has no name.
fn connections<'a>(
    page: wire::Page<'a>,
    draft: &mut Draft,
) -> Option<Vec<Connection<Cow<'a, str>>>> {
    let known = [
        ("api_key", page.api_key),
        ("basic_auth", page.basic_auth),
        ("bearer_token", page.bearer_token),
        ("oauth", page.oauth),
    ];
    let mut rows = Vec::new();
    for (kind, list) in known {
        for row in list.unwrap_or_default() {
            row.name.as_ref().filter(|name| !name.0.is_empty())?;
            rows.push(connection(kind, row, draft));
        }
    }
    for (array, rest) in page.rest {
        let wire::Rest::Rows(list) = rest else {
            continue;
        };
        draft.unknown("connection_type");
        for wire::UnknownRow {
            name,
            token_expiry,
            created_at,
            updated_at,
        } in list
        {
            let name = match name {
                Some(wire::Loose::Text(name)) => name,
                // Counted all the same, each as one of its own.
                _ => format!("{array} {}", rows.len()).into(),
            };
            let row = wire::Row {
                name: Some(wire::Text(name)),
                token_expiry,
                created_at,
                updated_at,
                ..wire::Row::default()
            };
            rows.push(connection("other", row, draft));
        }
    }
    Some(rows)
}

fn connection<'a>(
    kind: &'static str,
    row: wire::Row<'a>,
    draft: &mut Draft,
) -> Connection<Cow<'a, str>> {
    let mut date = |field, moment: Option<wire::Loose<'_>>| match moment {
        None => None,
        Some(wire::Loose::Text(text)) if let Ok(date) = date(&text) => date,
        Some(wire::Loose::Text(_) | wire::Loose::Odd) => {
            draft.unknown(field);
            None
        }
    };
    let text = |text: Option<wire::Text<'a>>| text.unwrap_or_default().0;
    Connection {
        kind,
        status: "",
        expiry: date("token_expiry", row.token_expiry),
        created: date("created_at", row.created_at),
        updated: date("updated_at", row.updated_at),
        renewable: (kind == "oauth").then(|| row.refresh_token.is_some_and(|token| token.0)),
        id: text(row.name),
        facts: Facts {
            uuid: text(row.uuid),
            header_name: text(row.header_name),
            allowed_domain: text(row.allowed_domain),
            permission_scope: text(row.permission_scope),
            ..Facts::default()
        },
    }
}

/// RFC 3339, with fractions or without. What a token that never expires shows is not documented: empty,
/// and any date before 1971 (such as Go's year 1), are no date.
fn date(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let date: Timestamp = text.parse()?;
    Ok((date.as_second() >= 31_536_000).then_some(date))
}

/// Reads an error body: JSON, or plain text. A token of another integration, and an integration that does
/// not exist, give the same 401 "Authorization failed due to integration mismatch".
pub(crate) fn refusal(answer: &Answer) -> Refusal {
    let start = &answer.body[..answer.body.len().min(1024)];
    let mismatch = String::from_utf8_lossy(start)
        .to_ascii_lowercase()
        .contains("integration mismatch");
    let denied = matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    );
    Refusal {
        reason: (denied && mismatch).then_some(Reason::IntegrationMismatch),
        codes: answer.codes(),
    }
}
