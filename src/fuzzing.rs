//! Functions that the fuzz targets in `fuzz/` run on untrusted bytes.
//!
//! Each function panics if an invariant is broken.

#![expect(clippy::missing_panics_doc, reason = "it is what they are for")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use crate::config::Config;
use crate::model::error::{PollError, Reason};
use crate::model::listing::{Listing, ListingBuilder, cut};
use crate::model::state::{
    LastListing, ListingFile, ListingSnapshot, RestoredListing, StateSnapshot,
};
use crate::polling::account::time_left;
use crate::sanitize::harmless;
use crate::settings::ConfigErrors;
use crate::state_dir::{StateDir, StateFile};
use crate::vendors::http::{
    LimiterSnapshot, RequestLimiter, VendorError, VendorResponse, retry_after,
};
use crate::vendors::{AccountSettings, SYSTEMS, zis, zuora};

/// Id of an arbitrary target; the simulator's first entity has the same id.
const ENTITY: &str = "00000000000000000000000000000001";

fn answer(status: StatusCode, body: &[u8]) -> VendorResponse {
    VendorResponse {
        endpoint: "fuzz",
        status,
        request_id: None,
        body: body.to_vec(),
    }
}

/// Checks the invariants of every listing: unique identities, and labels of limited length.
fn look_at(listing: &Listing) {
    let connections = listing.connections();
    let identities = connections.clone().map(|connection| connection.identity());
    assert!(identities.is_sorted_by(|a, b| a < b));
    for connection in connections {
        assert_eq!(cut(connection.id), connection.id);
        assert_eq!(listing.find(connection.identity()), Some(connection));
    }
}

/// Checks that paging ended in a valid listing, or in an error with short and harmless text.
fn judge(end: Result<ListingBuilder, PollError>) {
    match end {
        Ok(builder) => look_at(&builder.finish()),
        Err(error) => {
            assert!(error.codes.iter().all(|code| harmless(code).is_some()));
            assert!(
                error.detail.is_ascii() && error.detail.len() < 200,
                "{error}"
            );
        }
    }
}

/// Uses the body as every page, until paging ends or is cut off.
pub fn zuora_answer(body: &[u8]) {
    let answer = answer(StatusCode::OK, body);
    let pages = || {
        let mut builder = ListingBuilder::new("fuzz", 1000, 300);
        let names = zuora::page::EntityNames::default();
        for _ in 0..20 {
            zuora::page::check_success(&answer)?;
            if !zuora::page::read_page(&answer, ENTITY, &names, &mut builder)? {
                return Ok(builder);
            }
        }
        panic!("pages without end")
    };
    judge(pages());
}

/// Uses the body as every page, until paging ends or is cut off.
pub fn zis_answer(body: &[u8]) {
    let answer = answer(StatusCode::OK, body);
    let pages = || {
        let mut builder = ListingBuilder::new("fuzz", 1000, 100);
        for _ in 0..30 {
            if zis::read_page(&answer, &mut builder)?.is_none() {
                return Ok(builder);
            }
        }
        panic!("pages without end")
    };
    judge(pages());
}

/// Uses the first two bytes as the status, and the rest as the body.
pub fn error_body(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes(*status)) else {
        return;
    };
    let answer = answer(status, body);
    for refusal in [zuora::page::refusal, zis::refusal, VendorError::of_client] {
        let VendorError { reason, codes } = refusal(&answer);
        assert!(codes.len() <= 8 && codes.iter().all(|code| harmless(code).is_some()));
        // A 401 always justifies a new token, so it must not get another reason.
        let renews = [
            None,
            Some(Reason::Unauthorized),
            Some(Reason::IntegrationMismatch),
        ];
        assert!(status != StatusCode::UNAUTHORIZED || renews.contains(&reason));
    }
}

/// Parses lines of `name: value`.
fn headers(data: &[u8]) -> HeaderMap {
    let line = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[at + 1..]).ok()?))
    };
    data.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Parses headers that carry a quota.
pub fn rate_headers(data: &[u8]) {
    let headers = headers(data);
    let windows = ["60", "3600", "86400", "concurrency", "unknown"];
    for system in SYSTEMS {
        for quota in (system.quotas)(&headers, Timestamp::UNIX_EPOCH) {
            assert!(windows.contains(&quota.window), "{}", quota.window);
            assert!(quota.limit.is_some() || quota.remaining.is_some());
        }
    }
}

/// Parses a value of `Retry-After`.
pub fn retry_after_value(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let now = Timestamp::UNIX_EPOCH;
    if let Some(wait) = retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now) {
        // The wait can be added to a date without overflow.
        assert!(now.checked_add(wait).is_ok());
    }
}

/// Checks a configuration for which every environment variable is set.
pub fn configuration(data: &[u8]) {
    const SECRET: &str = "planted-own-secret-2b7f";
    // The fuzzer reads constants from the program, so it can put the secret into the text itself.
    let text = std::str::from_utf8(data).ok();
    let Some(text) = text.filter(|text| !text.contains(SECRET)) else {
        return;
    };
    // Relative paths resolve to files that do not exist.
    let folder = "/nonexistent".as_ref();
    let env = |_: &str| Some(SECRET.to_owned());
    match Config::parse(text, folder, &env, ConfigErrors::new("fuzz")) {
        Ok(config) => {
            assert!(!config.accounts.is_empty());
            assert!(!format!("{config:?}").contains(SECRET));
        }
        Err(problems) => {
            let said = problems.to_string();
            assert!(said.lines().all(|line| line.starts_with("fuzz")), "{said}");
            assert!(!said.contains(SECRET));
        }
    }
}

/// Parses a file of the state directory as it is, then its content as if the header were valid.
pub fn state_file(data: &[u8]) {
    let state_dir = StateDir::default().account("zis", "acme", "https://acme.zendesk.com/");
    let item = StateFile::Target("t".to_owned());
    let _ = state_dir.parse::<StateSnapshot>(&item, data);
    let now = Timestamp::UNIX_EPOCH;
    if let Ok(snapshot) = serde_json::from_slice::<LimiterSnapshot>(data) {
        let limiter = RequestLimiter::new(NonZeroU32::MIN, 1);
        let paused = limiter.restore(Some(&snapshot), now);
        assert!(paused <= Duration::from_hours(1));
        let (configured, effective) = limiter.per_second();
        assert!(effective > 0.0 && effective <= configured);
        let _ = limiter.snapshot(now);
    }
    let target = serde_json::from_slice::<StateSnapshot>(data).ok();
    if let Some(target) = &target {
        let (last, next) = (target.last_attempt.at, target.next_poll);
        let hour = Duration::from_hours(1);
        assert!(time_left(now, last, next, hour).is_none_or(|left| left <= hour));
    }
    let embedded = target.and_then(|mut target| target.embedded());
    let listing = embedded.or_else(|| serde_json::from_slice(data).ok());
    let documented = <zis::ZisAccount as AccountSettings>::SYSTEM.zero_series;
    let restore = |listing: ListingSnapshot| listing.restore(documented, None, 1000);
    if let Some(Ok(restored)) = listing.map(restore) {
        let RestoredListing {
            listing, history, ..
        } = restored;
        look_at(&listing);
        assert!(listing.pages as usize <= listing.connections().len() + 1);
        // The listing must stay the same when it is written and read again.
        let now = tokio::time::Instant::now();
        let before = LastListing::new(listing, history, Vec::new(), now, <_>::default());
        let before = Arc::new(before);
        let item = StateFile::Listing("t".to_owned());
        let again = state_dir
            .lines(&item, &ListingFile(before.clone()))
            .expect("a listing can be written");
        let again: ListingSnapshot = state_dir
            .parse(&item, &again[..])
            .expect("what was written can be read");
        let again = restore(again).expect("as before");
        let rows = |listing: &Listing| format!("{:?}", listing.connections().collect::<Vec<_>>());
        assert_eq!(rows(&again.listing), rows(&before.listing));
        assert_eq!(again.history, before.history);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test may wait for files")]

    use super::*;

    type Target = fn(&[u8]);

    /// Runs the corpus of earlier fuzzing as a plain test.
    #[test]
    fn the_corpus_breaks_no_promise() {
        let targets: [(&str, Target); 7] = [
            ("zuora_answer", zuora_answer),
            ("zis_answer", zis_answer),
            ("error_body", error_body),
            ("rate_headers", rate_headers),
            ("retry_after", retry_after_value),
            ("configuration", configuration),
            ("state_file", state_file),
        ];
        for (name, target) in targets {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/").to_owned() + name;
            let mut files = 0;
            for file in std::fs::read_dir(&folder).unwrap() {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                files += 1;
            }
            assert!(files > 0, "{folder}");
        }
    }
}
