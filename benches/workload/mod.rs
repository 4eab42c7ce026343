//! Workload of the benchmarks: the hot paths, with responses of the simulator.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connections_exporter::clock::Clock;
use connections_exporter::inventory::{AccountHandle, Inventory};
use connections_exporter::metrics::{AccountMetrics, ExporterMetrics};
use connections_exporter::model::history::ListingHistory;
use connections_exporter::model::listing::{Listing, ListingBuilder};
use connections_exporter::model::state::{LastListing, PollOutcome, TargetState};
use connections_exporter::vendors::http::{RequestLimiter, VendorResponse};
use connections_exporter::vendors::{AccountSettings, System, zis};
use connections_simulator::{Simulator, Sizes, World};
use http::{Request, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

/// Number of rows in the vendor's largest page.
pub(crate) const ROWS: usize = 100;

/// System of these rows.
pub(crate) const SYSTEM: &System = <zis::ZisAccount as AccountSettings>::SYSTEM;

/// Returns a page of the vendor with `rows` rows, of which `tokens` store a token that expires.
pub(crate) fn answer(rows: usize, tokens: usize) -> VendorResponse {
    let now = Timestamp::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50);
    let sizes = Sizes {
        entities: 0,
        entity_connections: 0,
        integrations: 1,
        integration_connections: rows,
    };
    let mut world = World::new(sizes, 1, now);
    world.deal_tokens(tokens, now);
    let integration = &world.integrations[0];
    let request = Request::get(format!(
        "http://localhost/api/services/zis/integrations/{}/connections/all",
        integration.name
    ))
    .header("authorization", format!("Bearer {}", integration.token))
    .body(Bytes::new())
    .expect("the request is well formed");
    let simulator = Simulator::new(world, Vec::new(), None, move || now);
    let response = simulator.respond(request).expect("there is no fault");
    assert_eq!(response.status(), StatusCode::OK);
    VendorResponse {
        endpoint: "connections_all",
        status: StatusCode::OK,
        request_id: None,
        body: response.into_body().to_vec(),
    }
}

/// Parses a page.
pub(crate) fn parse(answer: &VendorResponse) -> Listing {
    let mut builder = ListingBuilder::new(answer.endpoint, ROWS, ROWS);
    zis::read_page(answer, &mut builder).expect("the page is as documented");
    builder.finish()
}

/// Returns the state of a target with this listing.
pub(crate) fn state(listing: Listing) -> TargetState {
    let hour = Duration::from_hours(1);
    let now = Timestamp::UNIX_EPOCH;
    let history = ListingHistory::first(&listing, now, None);
    let last_listing = LastListing::new(listing, history, Vec::new(), Instant::now(), hour);
    TargetState {
        last_attempt: Some(PollOutcome {
            at: now,
            duration: Duration::from_millis(120),
            error: None,
        }),
        last_success: Some(now),
        successes: 1,
        last_listing: Some(Arc::new(last_listing)),
        ..TargetState::new(hour, now)
    }
}

/// Returns an inventory of so many accounts with so many targets each, and its last account.
///
/// Every target has a copy of the listing.
pub(crate) fn inventory(
    accounts: usize,
    targets: usize,
    listing: &Listing,
) -> (Arc<Inventory>, AccountHandle) {
    let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
    let inventory = Arc::new(Inventory::new(ExporterMetrics::new(clock.now()), clock));
    let mut last = None;
    for account in 0..accounts {
        let limiter = Arc::new(RequestLimiter::new(NonZeroU32::MIN, 1));
        let durations = inventory.exporter_metrics().durations();
        let metrics = AccountMetrics::new(
            SYSTEM.name,
            &format!("account_{account}"),
            limiter,
            durations,
        );
        let opened = inventory.open(SYSTEM, Arc::new(metrics));
        let labels: BTreeMap<_, _> = (0..targets)
            .map(|target| (target.to_string(), format!("target_{target}")))
            .collect();
        opened.set_targets(&labels, |_| state(listing.clone()));
        last = Some(opened);
    }
    (inventory, last.expect("there is an account"))
}
