//! What an answer of Zuora's says.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;

use super::{PAGE_SIZE, normal, wire};
use crate::client::{Answer, Refusal};
use crate::error::{PollError, Reason};
use crate::listing::{Connection, Draft, Facts};

/// Reads a body that came with HTTP 200. One that says it is a failure is one, whatever else is wrong with it.
pub(crate) fn judge<T: wire::Judged>(answer: &Answer) -> Result<T, PollError> {
    let page = answer.json::<T>();
    let success = match &page {
        Ok(page) => page.success(),
        Err(_) => answer
            .json::<wire::Outcome>()
            .ok()
            .and_then(|outcome| outcome.success),
    };
    if success == Some(false) {
        let Refusal { reason, codes } = refusal(answer);
        return Err(answer.error(
            reason.unwrap_or(Reason::Refused),
            "HTTP 200 with success: false",
            codes,
        ));
    }
    page
}

/// Takes a page into the draft, and says whether there is more.
pub(crate) fn take(
    answer: &Answer,
    page: wire::EntityConnections,
    target: &str,
    names: &Names<'_>,
    draft: &mut Draft,
) -> Result<bool, PollError> {
    let rows = match (page.rows, page.success) {
        (Some(rows), _) => rows,
        (None, Some(true)) => Vec::new(),
        (None, _) => {
            return Err(answer.error(
                Reason::Decode,
                "the answer has no entityConnections",
                Vec::new(),
            ));
        }
    };
    let (empty, full) = (rows.is_empty(), rows.len() >= PAGE_SIZE as usize);
    // nextPage names hosts such as localhost:8080 in the vendor's own examples: it says that there is more,
    // never where. Where it is missing, a full page is worth one more request.
    let more = page.next_page.is_some_and(|url| !url.is_empty()) || full;
    let rows = rows
        .into_iter()
        .map(|row| connection(target, row, names, draft))
        .collect();
    let progress = draft
        .page(rows, !more)
        .map_err(|error| answer.blame(error))?;
    if !progress && !empty {
        return Err(answer.blame(draft.stuck("holds only connections of earlier pages")));
    }
    Ok(more)
}

/// What entities are called.
#[derive(Default)]
pub(crate) struct Names<'a> {
    pub(super) configured: Option<&'a BTreeMap<String, String>>,
    pub(super) told: Arc<BTreeMap<String, String>>,
}

impl Names<'_> {
    fn of(&self, id: &str) -> Box<str> {
        let configured = self.configured.and_then(|names| names.get(id));
        configured
            .or_else(|| self.told.get(id))
            .map(|name| name.as_str().into())
            .unwrap_or_default()
    }
}

fn connection(
    target: &str,
    row: wire::EntityConnection,
    names: &Names<'_>,
    draft: &mut Draft,
) -> Connection {
    let (source, other) = (
        normal(&row.source_entity_id.unwrap_or_default()),
        normal(&row.target_entity_id.unwrap_or_default()),
    );
    let kind = match (source == target, other == target) {
        (true, _) => "outbound",
        (false, true) => "inbound",
        (false, false) => {
            draft.unknown("entity");
            "other"
        }
    };
    let status = row.status.unwrap_or_default();
    let status = ["connected", "pending", "disconnected"]
        .into_iter()
        .find(|known| status.eq_ignore_ascii_case(known))
        .unwrap_or_else(|| {
            draft.unknown("status");
            "other"
        });
    Connection {
        id: row.id.unwrap_or_else(|| format!("{source}-{other}")).into(),
        kind,
        status,
        facts: Facts {
            source_entity_name: names.of(&source),
            target_entity_name: names.of(&other),
            source_entity: source.into(),
            target_entity: other.into(),
            ..Facts::default()
        },
        ..Connection::default()
    }
}

/// Reads an error body. The last two digits of a code are its kind (Zuora, "Error handling").
pub(crate) fn refusal(answer: &Answer) -> Refusal {
    let codes = answer.codes();
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
    // A 401 is one, whatever kind its code is of: only so a token that ended early is replaced.
    let reason = if answer.status == StatusCode::UNAUTHORIZED {
        None
    } else {
        kinds.into_iter().next()
    };
    Refusal { reason, codes }
}
