//! Tests that read discovered targets as Prometheus does.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::inventory::Selector;
use crate::inventory::tests::parts::{Kept, inventory, kept, series};

#[test]
fn only_what_can_be_scraped_is_a_host() {
    for good in [
        "localhost:9932",
        "127.0.0.1:1",
        "[::1]:65535",
        "[2001:db8::1]",
        "connections_exporter",
        "exporter-0.exporter.monitoring.svc.:9932",
        &"a.".repeat(126),
    ] {
        assert!(is_address(good), "{good}");
    }
    for bad in [
        "",
        ":9932",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a:b",
        "a:1:2",
        "a b",
        "a/b",
        "user@a",
        "a?b",
        "a#b",
        "a,b",
        "a%41",
        "ä",
        "a..b",
        ".",
        ".a",
        "::1",
        "[::1",
        "[]",
        "[a]:1",
        "[fe80::1%25eth0]:1",
        "[::1]9932",
        "a]",
        "\"",
        "a\n",
        &"a".repeat(254),
    ] {
        assert!(!is_address(bad), "{bad}");
    }
}

#[test]
fn a_request_names_one_host() {
    let asked = |uri: &str, hosts: &[&[u8]]| {
        let request = hosts
            .iter()
            .fold(Request::builder().uri(uri), |request, host| {
                request.header(header::HOST, *host)
            });
        host(&request.body(()).unwrap()).map(str::to_owned).ok()
    };
    assert_eq!(asked("/sd", &[b"a:1"]), Some("a:1".to_owned()));
    // The authority in the target, as in HTTP/2 and in a request to a proxy.
    assert_eq!(asked("http://b:2/sd", &[]), Some("b:2".to_owned()));
    assert_eq!(asked("http://b:2/sd", &[b"a:1"]), Some("b:2".to_owned()));
    assert_eq!(asked("http://u:p@b:2/sd", &[]), None);
    for hosts in [&[][..], &[&b"a:1"[..], b"a:1"], &[b"\xff"], &[b""]] {
        assert_eq!(asked("/sd", hosts), None, "{hosts:?}");
    }
}

/// Returns the selector of the scrape of a target group.
fn scraped(group: &Value) -> Selector {
    let labels = group["labels"].as_object().unwrap();
    let parameters: Vec<_> = labels
        .iter()
        .filter_map(|(label, value)| {
            Some((label.strip_prefix("__param_")?, value.as_str().unwrap()))
        })
        .collect();
    let query = serde_urlencoded::to_string(parameters).unwrap();
    let uri: http::Uri = format!("/metrics?{query}").parse().unwrap();
    Selector::parse(uri.query().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_discovered_is_the_whole_page_and_nothing_twice(kept in kept()) {
        let inventory = inventory(&kept);
        let discovery = ServiceDiscovery { tls: false, telemetry_path: "/metrics" };
        let request = Request::builder().uri("/sd").header(header::HOST, "a:1").body(()).unwrap();
        let groups = discovery.groups(&request, &inventory.names().unwrap()).unwrap();
        let groups: Vec<Value> = serde_json::from_str(&groups).unwrap();
        prop_assert_eq!(groups.len(), kept.len() + 1);
        let mut joined = BTreeSet::new();
        for group in &groups {
            for one in series(&inventory, &scraped(group)) {
                prop_assert!(joined.insert(one.clone()), "{:?} comes twice", one);
            }
        }
        prop_assert_eq!(joined, series(&inventory, &Selector::default()));
        let instances: BTreeSet<_> = groups.iter().map(|group| group["labels"]["instance"].to_string()).collect();
        prop_assert_eq!(instances.len(), groups.len(), "each has an up of its own");
    }
}

#[test]
fn a_target_says_all_that_a_scrape_needs() {
    let kept = Kept::from([(("zis", "acme".to_owned()), BTreeSet::new())]);
    let discovery = ServiceDiscovery {
        tls: true,
        telemetry_path: "/all",
    };
    let request = Request::builder().uri("/sd").header(header::HOST, "a:1");
    let request = request.body(()).unwrap();
    let groups = discovery
        .groups(&request, &inventory(&kept).names().unwrap())
        .unwrap();
    assert_eq!(
        groups,
        r#"[{"targets":["a:1"],"labels":{"__scheme__":"https","__metrics_path__":"/all","__param_own":"1"}},{"targets":["a:1"],"labels":{"__scheme__":"https","__metrics_path__":"/all","__param_system":"zis","__param_account":"acme","instance":"a:1/zis/acme"}}]"#
    );
}
