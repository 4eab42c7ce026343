//! Fields that are read from Zuora's responses.

use std::borrow::Cow;

use super::{entity_id, normal};
use crate::model::entity::{EntityStatus, TenantEntity};
use crate::model::error::{PollError, Reason};
use crate::model::listing::LossyText;
use crate::model::listing::UnknownValues;
use crate::model::listing::cut;
use crate::vendors::MAX_TARGETS;
use crate::vendors::http::VendorResponse;
use crate::vendors::json::{Misfit, Value};

/// Reads whether a body reports success; the rest of the body may be invalid.
pub(super) fn success(body: Value<'_>) -> Result<Option<bool>, Misfit> {
    let [success] = body.fields(["success"])?;
    Ok(success.and_then(Value::flag))
}

/// Returns the values of an array.
///
/// It may be missing only if the response reports success.
fn list<'a>(
    list: Option<Value<'a>>,
    success: Option<Value<'a>>,
    missing: &'static str,
) -> Result<impl Iterator<Item = Value<'a>>, Misfit> {
    let list = match list {
        Some(list) => Some(list.items().ok_or(missing)?),
        None if success.and_then(Value::flag) == Some(true) => None,
        None => return Err(missing.into()),
    };
    Ok(list.into_iter().flatten())
}

/// Returns the rows of a page of connections, and whether it names a next page.
pub(super) fn entity_connections(
    page: Value<'_>,
) -> Result<(impl Iterator<Item = Value<'_>>, bool), Misfit> {
    let [rows, success, next] = page.fields(["entityConnections", "success", "nextPage"])?;
    let next = text(next, "a nextPage that is no text")?;
    let rows = list(rows, success, "no entityConnections")?;
    Ok((rows, next.is_some_and(|url| !url.text.is_empty())))
}

/// A row of a page of connections.
pub(super) struct EntityConnection<'a> {
    pub(super) id: Option<LossyText<'a>>,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) status: Cow<'a, str>,
}

impl<'a> EntityConnection<'a> {
    pub(super) fn of(row: Value<'a>) -> Result<Self, Misfit> {
        let keys = ["id", "sourceEntityId", "targetEntityId", "status"];
        let [id, source, target, status] = row.fields(keys)?;
        let entity = |id| {
            let id = text(id, "an entity's id that is no text")?;
            // No valid id is long enough to be cut. A longer one is cut and kept only for operators
            // to read.
            Ok::<_, Misfit>(id.map_or_else(String::new, |id| normal(&cut(&id.text))))
        };
        Ok(Self {
            id: text(id, "a connection's id that is no text")?,
            source: entity(source)?,
            target: entity(target)?,
            // A value of another type is not a documented one, and is counted as such.
            status: status
                .and_then(Value::text)
                .map_or_else(Cow::default, |status| status.text),
        })
    }
}

fn text<'a>(
    value: Option<Value<'a>>,
    otherwise: &'static str,
) -> Result<Option<LossyText<'a>>, Misfit> {
    value
        .map(|value| value.text().ok_or(otherwise.into()))
        .transpose()
}

/// Returns the entities of the tenant, except those with an invalid id.
pub(super) fn entities(
    response: &VendorResponse,
) -> Result<(Vec<TenantEntity>, UnknownValues), PollError> {
    response.read(|body| {
        let [entities, success] = body.fields(["entities", "success"])?;
        let mut found = Vec::new();
        let mut unknown = UnknownValues::new();
        for (place, entity) in list(entities, success, "no entities")?.enumerate() {
            if place >= MAX_TARGETS {
                let what = format!("more than {MAX_TARGETS} entities");
                return Err(response.error(Reason::TooLarge, what, Vec::new()).into());
            }
            let keys = [
                "id",
                "name",
                "displayName",
                "status",
                "parentId",
                "tenantId",
            ];
            let [id, name, display_name, status, parent, tenant] = entity.fields(keys)?;
            let id = text(id, "an entity's id that is no text")?;
            let Some(id) = id.and_then(|id| entity_id(&cut(&id.text))) else {
                continue;
            };
            let mut fact = |field, value: Option<Value<'_>>| {
                value.map_or_else(String::new, |value| {
                    cut(&value.fact(field, &mut unknown)).into_owned()
                })
            };
            let name = fact("entity_name", name.or(display_name));
            let parent = fact("entity_parent", parent);
            let parent = entity_id(&parent).unwrap_or(parent);
            let tenant = fact("entity_tenant", tenant);
            let mut odd = |status| {
                *unknown.entry("entity_status").or_default() += 1;
                status
            };
            let status = match status.map(Value::text) {
                None => EntityStatus::Provisioned,
                // A status that cannot be read is no reason not to poll the entity.
                Some(None) => odd(EntityStatus::Provisioned),
                Some(Some(status)) => match status.text.to_ascii_lowercase().as_str() {
                    "provisioned" => EntityStatus::Provisioned,
                    "unprovisioned" => EntityStatus::Unprovisioned,
                    _ => odd(EntityStatus::Other),
                },
            };
            found.push(TenantEntity {
                id,
                name,
                parent,
                tenant,
                status,
            });
        }
        Ok((found, unknown))
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn response(body: &str) -> VendorResponse {
        VendorResponse {
            endpoint: "entities",
            status: StatusCode::OK,
            request_id: None,
            body: body.into(),
        }
    }

    #[test]
    fn entities_whose_facts_are_odd_are_listed() {
        let (one, two) = ("1".repeat(32), "2".repeat(32));
        let hyphenated = "11111111-1111-1111-1111-111111111111";
        let body = format!(
            r#"{{"entities": [{{"id": "{one}", "name": 7, "status": 3, "parentId": null, "tenantId": 19}}, {{"id": "{two}", "displayName": "caf\ud83d", "status": "Unprovisioned", "parentId": "{hyphenated}"}}, {{"id": "none"}}, {{}}]}}"#
        );
        let (found, unknown) = entities(&response(&body)).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|entity| {
                (
                    &*entity.id,
                    &*entity.name,
                    &*entity.parent,
                    &*entity.tenant,
                    entity.status,
                )
            })
            .collect();
        let expected = [
            (&*one, "7", "", "19", EntityStatus::Provisioned),
            (&*two, "caf\u{fffd}", &*one, "", EntityStatus::Unprovisioned),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            unknown,
            UnknownValues::from([
                ("entity_name", 2),
                ("entity_status", 1),
                ("entity_tenant", 1)
            ])
        );
    }

    #[test]
    fn a_list_of_entities_that_is_none_or_has_no_end_is_refused() {
        let many = format!(r#"{{"entities": [{}{{}}]}}"#, "{},".repeat(MAX_TARGETS));
        for (body, reason) in [
            (r#"{"entities": [{"id": 7}]}"#, Reason::Decode),
            (r#"{"entities": {}}"#, Reason::Decode),
            ("{}", Reason::Decode),
            (&many, Reason::TooLarge),
        ] {
            assert_eq!(entities(&response(body)).err().unwrap().reason, reason);
        }
    }
}
