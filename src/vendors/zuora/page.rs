//! Interpretation of Zuora's responses: pages of connections, and errors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;

use super::{PAGE_SIZE, wire};
use crate::model::error::{PollError, Reason};
use crate::model::listing::{Connection, Facts, ListingBuilder};
use crate::vendors::http::{VendorError, VendorResponse};

/// Checks a body that came with HTTP 200.
///
/// A body that reports a failure is one, even if something else is wrong with it.
pub(crate) fn check_success(response: &VendorResponse) -> Result<(), PollError> {
    if response.read(wire::success)? == Some(false) {
        let VendorError { reason, codes } = refusal(response);
        return Err(response.error(
            reason.unwrap_or(Reason::Refused),
            "HTTP 200 with success: false",
            codes,
        ));
    }
    Ok(())
}

/// Adds a page to the listing builder, and returns whether there are more.
pub(crate) fn read_page(
    response: &VendorResponse,
    target: &str,
    names: &EntityNames,
    builder: &mut ListingBuilder,
) -> Result<bool, PollError> {
    response.read(|page| {
        let (rows, next) = wire::entity_connections(page)?;
        for value in rows {
            let row = connection(target, wire::EntityConnection::of(value)?, names, builder);
            builder.row(&row)?;
        }
        // In the vendor's own examples, nextPage names hosts such as localhost:8080. It only means
        // that there is another page, and is not its address. Without it, a full page is worth one
        // more request.
        let rows = builder.rows_on_page();
        let more = next || rows >= PAGE_SIZE as usize;
        let progress = builder.end_page(!more)?;
        if !progress && rows > 0 {
            return Err(builder
                .no_progress("holds only connections of earlier pages")
                .into());
        }
        Ok(more)
    })
}

/// Names of entities, by id.
#[derive(Default)]
pub(crate) struct EntityNames {
    pub(super) configured: Arc<BTreeMap<String, String>>,
    pub(super) told: Arc<BTreeMap<String, String>>,
}

impl EntityNames {
    fn of(&self, id: &str) -> &str {
        let name = self.configured.get(id).or_else(|| self.told.get(id));
        name.map_or("", String::as_str)
    }
}

fn connection<'a>(
    target: &str,
    row: wire::EntityConnection<'a>,
    names: &'a EntityNames,
    builder: &mut ListingBuilder,
) -> Connection<Cow<'a, str>> {
    let (source, other) = (row.source, row.target);
    let id = match row.id {
        Some(id) => builder.name("id", id),
        None => format!("{source}-{other}").into(),
    };
    let kind = match (source == target, other == target) {
        (true, _) => "outbound",
        (false, true) => "inbound",
        (false, false) => {
            builder.unknown("entity");
            "other"
        }
    };
    let status = ["connected", "pending", "disconnected"]
        .into_iter()
        .find(|known| row.status.eq_ignore_ascii_case(known))
        .unwrap_or_else(|| {
            builder.unknown("status");
            "other"
        });
    Connection {
        id,
        kind,
        status,
        facts: Facts {
            source_entity_name: names.of(&source).into(),
            target_entity_name: names.of(&other).into(),
            source_entity: source.into(),
            target_entity: other.into(),
            ..Facts::default()
        },
        ..Connection::default()
    }
}

/// Reads an error body.
///
/// The last two digits of a code are its kind (Zuora, "Error handling").
pub(crate) fn refusal(response: &VendorResponse) -> VendorError {
    let codes = response.codes();
    let kinds = codes
        .iter()
        .filter_map(|code| match code.get(code.len().checked_sub(2)?..)? {
            "10" => Some(Reason::Forbidden),
            "11" => Some(Reason::Unauthorized),
            "40" => Some(Reason::NotFound),
            "70" => Some(Reason::RateLimited),
            "60" | "61" | "99" => Some(Reason::ServerError),
            _ if code.len() == 8 && code.starts_with('9') => Some(Reason::Unauthorized),
            _ => None,
        });
    // A 401 is always unauthorized, even if its code is of another kind. Otherwise a token that
    // ended early would not be replaced.
    let reason = if response.status == StatusCode::UNAUTHORIZED {
        None
    } else {
        kinds.into_iter().next()
    };
    VendorError { reason, codes }
}
