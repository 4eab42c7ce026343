//! Fields that are read from ZIS responses.
//!
//! Credentials and names of people are not read, except for whether a refresh token is stored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::date;
use super::grants::IntegrationGrants;
use crate::model::error::{PollError, Reason};
use crate::model::listing::UnknownValues;
use crate::model::listing::{Connection, Facts, GrantType, ListingBuilder, cut};
use crate::vendors::MAX_TARGETS;
use crate::vendors::http::VendorResponse;
use crate::vendors::json::{KEY_TWICE, Misfit, NO_OBJECT, Value, Values};

/// Documented types of connections.
const KINDS: [&str; 4] = ["api_key", "basic_auth", "bearer_token", OAUTH];

/// The type whose connections store OAuth tokens.
const OAUTH: &str = "oauth";

/// The documented types, and the other keys of a page that are read.
const KEYS: [&str; 7] = [
    KINDS[0], KINDS[1], KINDS[2], KINDS[3], "meta", "error", "errors",
];

/// Keys that are read of a connection, in the order that [`row`] expects.
const ROW: [&str; 10] = [
    "name",
    "uuid",
    "header_name",
    "allowed_domain",
    "permission_scope",
    "token_expiry",
    "created_at",
    "updated_at",
    "refresh_token",
    "oauth_client_uuid",
];

/// Maximum length of a cursor, in bytes. A longer one fits into no URL that a server accepts.
const MAX_CURSOR: usize = 4096;

/// Adds the rows of a page to the listing, and returns the cursor of the next page, if any.
pub(super) fn page(
    page: Value<'_>,
    grants: &IntegrationGrants,
    builder: &mut ListingBuilder,
) -> Result<Option<String>, Misfit> {
    let mut members = page.members().ok_or(NO_OBJECT)?;
    // Each of the documented keys can be missing. An object with none of them is not an empty
    // listing. It is something else, such as a proxy's "down for maintenance".
    let (mut documented, mut others, mut meta) = (false, false, None);
    let mut seen = [false; KEYS.len()];
    while let Some(key) = members.next() {
        let Some(at) = key.position(&KEYS) else {
            others = true;
            members.next();
            continue;
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(KEY_TWICE.into());
        }
        if let Some(kind) = KINDS.get(at) {
            documented |= rows(kind, &mut members, grants, builder)?;
        } else if let Some(value) = members.next().filter(|value| !value.is_null()) {
            if KEYS[at] != "meta" {
                return Err("errors".into());
            }
            (documented, meta) = (true, Some(value));
        }
    }
    // After all documented arrays, so that connections without a name get the same numbers
    // whatever the order of the keys.
    let mut members = page.members().filter(|_| others);
    while let Some(members) = &mut members
        && let (Some(key), Some(value)) = (members.next(), members.next())
    {
        if key.position(&KEYS).is_none()
            && let Some(key) = key.text()
        {
            documented |= strangers(&cut(&key.text), value, builder)?;
        }
    }
    if !documented {
        return Err("none of the documented arrays".into());
    }
    let next = meta.map_or(Ok(None), next)?;
    builder.end_page(next.is_none())?;
    Ok(next)
}

/// Adds the connections of a documented array, which is the next value.
///
/// Returns whether the array is present; `null` is not.
fn rows(
    kind: &'static str,
    members: &mut Values<'_>,
    grants: &IntegrationGrants,
    builder: &mut ListingBuilder,
) -> Result<bool, Misfit> {
    if !members.enter_list() {
        return match members.next() {
            Some(value) if value.is_null() => Ok(false),
            _ => Err("something else than a list of connections".into()),
        };
    }
    while let Some(fields) = members.fields(ROW) {
        let row = row(kind, fields?, grants, builder)?;
        builder.row(&row)?;
    }
    members.leave();
    Ok(true)
}

/// Returns the cursor of the next page, if any.
///
/// Only `has_more` ends the paging: a sibling of this endpoint returns a cursor on its last page,
/// too.
fn next(meta: Value<'_>) -> Result<Option<String>, Misfit> {
    let [more, after] = meta.fields(["has_more", "after"])?;
    let after = match after {
        Some(after) => after.text().ok_or("a cursor that is no text")?,
        None => return Ok(flag(more)?.unwrap_or_default().then(String::new)),
    };
    if after.replaced.is_some() || after.text.len() > MAX_CURSOR {
        return Err("a cursor that no request can carry".into());
    }
    match flag(more)? {
        Some(more) => Ok(more.then(|| after.text.into())),
        None if after.text.is_empty() => Ok(None),
        None => Err("a cursor, and does not say whether there is more".into()),
    }
}

fn flag(more: Option<Value<'_>>) -> Result<Option<bool>, Misfit> {
    let strange = "a has_more that is neither true nor false";
    // Strict: a boolean in quotation marks is not documented.
    let flag = |more: Value<'_>| more.flag().filter(|_| !more.is_some_text());
    more.map(|more| flag(more).ok_or(strange.into()))
        .transpose()
}

/// Adds the array of an undocumented type, and returns whether it is a list of connections.
///
/// Its objects are connections, even without any expected key. An empty array is a list of
/// connections too. An array without objects is not, and neither is any other value.
fn strangers(array: &str, list: Value<'_>, builder: &mut ListingBuilder) -> Result<bool, Misfit> {
    let Some(items) = list.items() else {
        return Ok(false);
    };
    let (mut empty, mut connections) = (true, false);
    for value in items {
        empty = false;
        if !value.is_object() {
            continue;
        }
        connections = true;
        let row = stranger(array, value, builder)?;
        builder.row(&row)?;
    }
    if empty || connections {
        *builder
            .unknown_values()
            .entry("connection_type")
            .or_default() += 1;
    }
    Ok(empty || connections)
}

fn row<'a>(
    kind: &'static str,
    fields: [Option<Value<'a>>; ROW.len()],
    grants: &IntegrationGrants,
    builder: &mut ListingBuilder,
) -> Result<Connection<Cow<'a, str>>, Misfit> {
    let [
        name,
        uuid,
        header,
        domain,
        scope,
        expiry,
        created,
        updated,
        refresh,
        client,
    ] = fields;
    let nameless = "a connection without a name";
    let name = name.and_then(Value::text).ok_or(nameless)?;
    if name.text.is_empty() {
        return Err(nameless.into());
    }
    let id = builder.name("name", name);
    let unknown = builder.unknown_values();
    let mut fact = |field, value: Option<Value<'a>>| {
        value.map_or_else(Cow::default, |value| value.fact(field, unknown))
    };
    let client = client
        .filter(|_| kind == OAUTH)
        .map(|client| fact("oauth_client_uuid", client.into()));
    let client = client.as_deref().filter(|client| !client.is_empty());
    let grant_type = grants.of(&id, client).filter(|_| kind == OAUTH);
    let facts = Facts {
        uuid: fact("uuid", uuid),
        header_name: fact("header_name", header),
        allowed_domain: fact("allowed_domain", domain),
        permission_scope: fact("permission_scope", scope),
        ..Facts::default()
    };
    Ok(Connection {
        id,
        kind,
        status: "",
        facts,
        expiry: moment("token_expiry", expiry, unknown),
        created: moment("created_at", created, unknown),
        updated: moment("updated_at", updated, unknown),
        grant_type,
        renewable: (kind == OAUTH).then(|| refresh.is_some_and(Value::is_some_text)),
    })
}

fn stranger<'a>(
    array: &str,
    row: Value<'a>,
    builder: &mut ListingBuilder,
) -> Result<Connection<Cow<'a, str>>, Misfit> {
    let keys = ["name", "token_expiry", "created_at", "updated_at"];
    let [name, expiry, created, updated] = row.fields(keys)?;
    let id = match name.and_then(Value::text) {
        Some(name) => builder.name("name", name),
        // It is counted all the same, as a connection of its own.
        None => format!("{array} {}", builder.rows_taken()).into(),
    };
    let unknown = builder.unknown_values();
    Ok(Connection {
        id,
        kind: "other",
        status: "",
        facts: Facts::default(),
        expiry: moment("token_expiry", expiry, unknown),
        created: moment("created_at", created, unknown),
        updated: moment("updated_at", updated, unknown),
        renewable: None,
        grant_type: None,
    })
}

fn moment(
    field: &'static str,
    value: Option<Value<'_>>,
    unknown: &mut UnknownValues,
) -> Option<jiff::Timestamp> {
    if let Some(Ok(moment)) = value?.text().map(|text| date(&text.text)) {
        return moment;
    }
    *unknown.entry(field).or_default() += 1;
    None
}

/// Returns the integrations in the registry, with the numeric id of their own client, if any.
pub(super) fn registry(
    response: &VendorResponse,
) -> Result<(BTreeMap<String, Option<u64>>, UnknownValues), PollError> {
    response.read(|registry| {
        let [integrations, success] = registry.fields(["integrations", "success"])?;
        if success.and_then(Value::flag) == Some(false) {
            let what = "HTTP 200 with success: false";
            return Err(response
                .error(Reason::Refused, what, response.codes())
                .into());
        }
        let list = integrations.and_then(Value::items);
        let mut unknown = UnknownValues::new();
        let mut found = BTreeMap::new();
        for (place, value) in list.ok_or("no integrations")?.enumerate() {
            if place >= MAX_TARGETS {
                let what = format!("more than {MAX_TARGETS} integrations");
                return Err(response.error(Reason::TooLarge, what, Vec::new()).into());
            }
            let [name, client] = value.fields(["name", "zendesk_oauth_client"])?;
            let name = name.and_then(Value::text);
            let name = name.ok_or("an integration without a name")?.text;
            if super::settings::is_integration(&name) {
                let id = client.and_then(|client| client_id(client, &mut unknown));
                found.insert(name.into_owned(), id);
            }
        }
        Ok((found, unknown))
    })
}

fn client_id(client: Value<'_>, unknown: &mut UnknownValues) -> Option<u64> {
    let field = "zendesk_oauth_client";
    if let Ok([id]) = client.fields(["id"]) {
        return id?.number(field, unknown);
    }
    *unknown.entry(field).or_default() += 1;
    None
}

/// Returns the grants of an integration's OAuth clients, by the UUID of the client.
///
/// The response has their secrets, which are not read.
pub(super) fn oauth_clients(
    response: &VendorResponse,
) -> Result<(BTreeMap<String, Option<GrantType>>, UnknownValues), PollError> {
    response.read(|body| {
        let [clients] = body.fields(["clients"])?;
        let mut grants = BTreeMap::new();
        let mut unknown = UnknownValues::new();
        let list = clients.and_then(Value::items);
        for client in list.ok_or("no clients")? {
            let [uuid, grant] = client.fields(["uuid", "grant_type"])?;
            let Some(uuid) = uuid.and_then(Value::text) else {
                *unknown.entry("oauth_client").or_default() += 1;
                continue;
            };
            let grant =
                grant.map_or_else(Cow::default, |grant| grant.fact("grant_type", &mut unknown));
            let known = GrantType::ALL
                .into_iter()
                .find(|known| known.label() == grant);
            if known.is_none() && !grant.is_empty() {
                *unknown.entry("grant_type").or_default() += 1;
            }
            grants.insert(uuid.text.into_owned(), known);
            if grants.len() > MAX_TARGETS {
                return Err("more clients than an integration can have".into());
            }
        }
        Ok((grants, unknown))
    })
}

/// Returns the expiry of the token that made the request, as text; `None` if there is none.
pub(super) fn current_token(response: &VendorResponse) -> Result<Option<String>, PollError> {
    response.read(|response| {
        let [token] = response.fields(["token"])?;
        let [expires_at] = token.ok_or("no token")?.fields(["expires_at"])?;
        let text = |at: Value<'_>| Some(at.text()?.text.into_owned());
        let strange = "an expires_at that is no text";
        expires_at
            .map(|at| text(at).ok_or(strange.into()))
            .transpose()
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::read_page;
    use super::*;
    use crate::model::listing::Listing;

    fn listed(body: &[u8]) -> Result<Listing, PollError> {
        let response = VendorResponse {
            endpoint: "connections_all",
            status: StatusCode::OK,
            request_id: None,
            body: body.to_vec(),
        };
        let mut builder = ListingBuilder::new("connections_all", 10, 100);
        read_page(&response, &mut builder)?;
        Ok(builder.finish())
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.connections().map(|row| row.id).collect()
    }

    #[test]
    fn the_grants_of_clients_are_read_and_their_secrets_are_not() {
        let read = |body: &str| {
            let response = VendorResponse {
                endpoint: "oauth_clients",
                status: StatusCode::OK,
                request_id: None,
                body: body.into(),
            };
            oauth_clients(&response)
        };
        let body = r#"{"clients": [
            {"uuid": "1", "grant_type": "client_credentials", "client_secret": "s", "created_by": 3},
            {"uuid": "2", "grant_type": "authorization_code"}, {"uuid": "3", "grant_type": "device"},
            {"uuid": "4"}, {"grant_type": "client_credentials"}, {"uuid": "5", "grant_type": [1]}
        ]}"#;
        let (grants, unknown) = read(body).unwrap();
        let expected = [
            ("1", Some(GrantType::ClientCredentials)),
            ("2", Some(GrantType::AuthorizationCode)),
            ("3", None),
            ("4", None),
            ("5", None),
        ];
        assert_eq!(
            grants,
            expected.map(|(id, grant)| (id.to_owned(), grant)).into()
        );
        assert_eq!(unknown, [("grant_type", 2), ("oauth_client", 1)].into());
        assert_eq!(read(r#"{"clients": []}"#).unwrap().0.len(), 0);
        for odd in [
            "{}",
            "[]",
            r#"{"clients": null}"#,
            r#"{"clients": [3]}"#,
            "down",
        ] {
            assert_eq!(read(odd).unwrap_err().reason, Reason::Decode, "{odd}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_in_one_place_costs_nothing_else() {
        let listing = listed(b"{\"oauth\": [{\"name\": \"a\"}, {\"name\": \"caf\\ud83d\"}, {\"name\": \"Zo\xe9\", \"k\xe9y\": 1}, {\"name\": \"Zo\xe8\"}]}").unwrap();
        let names = names(&listing);
        assert_eq!(names.len(), 4, "{names:?}");
        for name in ["a", "caf\u{fffd}", "Zo\u{fffd}"] {
            assert!(names.contains(&name), "{name} not in {names:?}");
        }
        assert_eq!(listing.unknown, UnknownValues::from([("name", 3)]));
    }

    #[test]
    fn facts_of_any_type_are_read_and_counted_and_the_rows_are_listed() {
        let body = br#"{"oauth": [{"name": "a", "permission_scope": ["read", "write"], "uuid": 7, "allowed_domain": {}, "header_name": true, "token_expiry": 1e999, "created_at": [], "updated_at": "soon", "refresh_token": 3}, {"name": "b", "uuid": null}]}"#;
        let listing = listed(body).unwrap();
        let row = listing.find(("a", "oauth")).unwrap();
        assert_eq!(
            (row.facts.permission_scope, row.facts.uuid),
            ("read write", "7")
        );
        assert_eq!((row.expiry, row.renewable), (None, Some(false)));
        let fields = [
            "allowed_domain",
            "created_at",
            "header_name",
            "permission_scope",
            "token_expiry",
            "updated_at",
            "uuid",
        ];
        assert_eq!(listing.unknown, fields.map(|field| (field, 1)).into());
    }

    #[test]
    fn names_and_what_tells_of_more_are_as_documented_or_the_answer_is_refused() {
        for body in [
            r#"{"oauth": [{"name": 7}]}"#,
            r#"{"oauth": [{"name": "a", "name": "b"}]}"#,
            r#"{"oauth": [7]}"#,
            r#"{"oauth": {}}"#,
            r#"{"oauth": [], "oauth": []}"#,
            r#"{"oauth": [], "meta": {"has_more": 1}}"#,
            r#"{"oauth": [], "meta": {"has_more": "false"}}"#,
            r#"{"oauth": [], "meta": {"has_more": true, "after": 1}}"#,
            r#"{"oauth": [], "meta": [true]}"#,
            r#"{"oauth": [{"name": "a"}], "errors": []}"#,
        ] {
            assert_eq!(
                listed(body.as_bytes()).unwrap_err().reason,
                Reason::Decode,
                "{body}"
            );
        }
    }

    #[test]
    fn connections_without_a_name_have_the_same_numbers_whatever_the_order_of_the_arrays() {
        let (known, strange) = (
            r#""oauth": [{"name": "a"}, {"name": "b"}]"#,
            r#""new": [{}]"#,
        );
        let [one, other] = [[known, strange], [strange, known]].map(|arrays| {
            let listing = listed(format!("{{{}}}", arrays.join(", ")).as_bytes()).unwrap();
            names(&listing).join(", ")
        });
        assert_eq!((&*one, &*other), ("a, b, new 2", "a, b, new 2"));
    }

    #[test]
    fn rows_are_counted_as_they_are_read() {
        for rows in [r#"{"name": "a"},"#, "{},"] {
            let body = format!(r#"{{"jwt": [{}{{}}]}}"#, rows.repeat(10));
            assert_eq!(
                listed(body.as_bytes()).unwrap_err().reason,
                Reason::TooLarge
            );
        }
    }

    #[test]
    fn a_date_that_is_absurdly_far_away_is_none() {
        for far in [
            "9999-12-31T00:00:00Z",
            "9999-12-31T23:59:59.999Z",
            "10000-01-01T00:00:00Z",
            "+292278994-08-17T07:12:55.807Z",
            "9000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "0000-00-00T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "99999999999999999999999-01-01",
            "",
        ] {
            assert_eq!(date(far).unwrap(), None, "{far}");
        }
        assert!(date("8999-12-31T00:00:00Z").unwrap().is_some());
        for odd in ["soon", "2024-13-01T00:00:00Z", "9999", "12345-x"] {
            assert!(date(odd).is_err(), "{odd}");
        }
    }
}
