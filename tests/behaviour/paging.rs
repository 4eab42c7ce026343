//! Property test: any sequence of pages ends in a complete listing or a failure.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use connections_exporter::clock::Clock;
use connections_exporter::model::error::Reason;
use connections_exporter::vendors::Source;
use connections_exporter::vendors::http::{Client, RequestLimiter, TransportFactory};
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq};
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::json;
use tokio::runtime::Builder;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::configurations::taken;

/// Entity that is listed, and source of every connection.
const ENTITY: &str = "8a80825555a3c7a10155b46120d058e7";
const MOST: usize = 12;

/// Page of a listing.
///
/// A row is a number and a version of its content. `more` and `cursor` announce the next page.
#[derive(Debug, Clone)]
struct Served {
    rows: Vec<(u8, bool)>,
    more: bool,
    cursor: u8,
}

fn served() -> impl Strategy<Value = Served> {
    let rows = prop::collection::vec((0_u8..16, prop::bool::ANY), 0..5);
    (rows, prop::bool::weighted(0.8), 0_u8..6).prop_map(|(rows, more, cursor)| Served {
        rows,
        more,
        cursor,
    })
}

impl Served {
    fn zuora(&self) -> serde_json::Value {
        let row = |(id, version): &(u8, bool)| {
            let status = if *version { "Connected" } else { "Pending" };
            json!({"id": id.to_string(), "sourceEntityId": ENTITY, "targetEntityId": "x", "status": status})
        };
        let mut body = json!({"entityConnections": self.rows.iter().map(row).collect::<Vec<_>>(), "success": true});
        if self.more {
            body["nextPage"] = json!("http://localhost:8080/next");
        }
        body
    }

    fn zis(&self) -> serde_json::Value {
        let row = |(id, version): &(u8, bool)| json!({"name": id.to_string(), "allowed_domain": version.to_string()});
        let after = ["", "a", "b", "c", "d", "e"][usize::from(self.cursor)];
        json!({
            "bearer_token": self.rows.iter().map(row).collect::<Vec<_>>(),
            "meta": {"has_more": self.more, "after": after},
        })
    }
}

/// Vendor that serves `pages` in a cycle, and a source that requests them.
struct Harness {
    pages: Arc<Mutex<Vec<Served>>>,
    asked: Arc<AtomicUsize>,
    source: Box<dyn Source>,
    _vendor: MockServer,
}

impl Harness {
    async fn start(text: impl Fn(&str) -> String, body: fn(&Served) -> serde_json::Value) -> Self {
        let vendor = MockServer::start().await;
        let pages: Arc<Mutex<Vec<Served>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (served, count) = (pages.clone(), asked.clone());
        let respond = move |request: &Request| {
            if request.method == "POST" {
                let token = json!({"access_token": "t", "expires_in": 3600});
                return ResponseTemplate::new(200).set_body_json(token);
            }
            let n = count.fetch_add(1, Ordering::Relaxed);
            let pages = served.lock().unwrap();
            ResponseTemplate::new(200).set_body_json(body(&pages[n % pages.len()]))
        };
        Mock::given(any())
            .respond_with(respond)
            .mount(&vendor)
            .await;
        let text = format!("poll: {{max_connections: {MOST}}}\n{}", text(&vendor.uri()));
        let env = |_: &str| Some("t".to_owned());
        let config = taken(&text, env).await;
        let account = &config.accounts[0];
        let clock = Clock::system();
        let limiter = Arc::new(RequestLimiter::new(account.requests_per_minute, 1));
        let network = Arc::new(
            TransportFactory::default()
                .transport(account, &config.poll)
                .unwrap(),
        );
        let client = Client::new(network, account, &config.poll, limiter, Arc::new(()), clock);
        Self {
            source: account.connect.connect(client),
            pages,
            asked,
            _vendor: vendor,
        }
    }
}

/// Returns the expected listing: all rows up to the first page that announces no next page.
fn whole(pages: &[Served]) -> BTreeMap<String, bool> {
    let last = pages.iter().position(|page| !page.more);
    let until = last.map_or(pages.len(), |last| last + 1);
    let rows = pages[..until].iter().flat_map(|page| &page.rows);
    rows.map(|(id, version)| (id.to_string(), *version))
        .collect()
}

fn any_pages_end(
    target: &str,
    version: fn(connections_exporter::model::listing::Row<'_>) -> bool,
    text: impl Fn(&str) -> String,
    body: fn(&Served) -> serde_json::Value,
) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let harness = runtime.block_on(Harness::start(text, body));
    let mut runner = TestRunner::new(Runs::with_cases(300));
    let (complete, failed) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&prop::collection::vec(served(), 1..8), |pages| {
        harness.pages.lock().unwrap().clone_from(&pages);
        harness.asked.store(0, Ordering::Relaxed);
        match runtime.block_on(harness.source.list(target)) {
            Ok(listing) => {
                let connections = listing.connections();
                let seen: BTreeMap<_, _> = connections
                    .map(|c| (c.id.to_string(), version(c)))
                    .collect();
                prop_assert_eq!(seen, whole(&pages));
                complete.update(|n| n + 1);
            }
            Err(error) => {
                let expected = [Reason::Pagination, Reason::TooLarge];
                prop_assert!(expected.contains(&error.reason), "{}", error);
                failed.update(|n| n + 1);
            }
        }
        // Each page except the last must add a connection, and `MOST` limits these.
        prop_assert!(harness.asked.load(Ordering::Relaxed) <= MOST + 2);
        Ok(())
    });
    result.unwrap();
    assert!(
        complete.get() > 30 && failed.get() > 30,
        "{complete:?} and {failed:?}"
    );
}

#[test]
fn any_pages_of_zuora_end_complete_or_failed() {
    any_pages_end(
        ENTITY,
        |connection| connection.status == "connected",
        |uri| {
            format!(
                "zuora:\n  - account: a\n    base_url: {uri}\n    client_id: i\n    \
                    client_secret_env: S\n    requests_per_minute: 1000000\n    entities: [{{id: \
                    {ENTITY}, name: n}}]\n"
            )
        },
        Served::zuora,
    );
}

#[test]
fn any_pages_of_zis_end_complete_or_failed() {
    any_pages_end(
        "n",
        |connection| connection.facts.allowed_domain == "true",
        |uri| {
            format!(
                "zis:\n  - account: a\n    base_url: {uri}\n    requests_per_minute: 1000000\n    \
                    integrations:\n      - name: n\n        token_env: T\n"
            )
        },
        Served::zis,
    );
}
