//! The status page: its contents, and attacks through it that must fail.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Instant;

use connections_exporter::web::ServerLimits;
use connections_simulator::{Fault, Sizes, World};
use jiff::Timestamp;
use reqwest::header::HeaderMap;

use crate::daemon::{configured_in_files, daemon_in, get, page_when};
use crate::harness::{Harness, OFTEN, ONCE, PATIENCE, serve_text};

const FEW: Sizes = Sizes {
    entities: 2,
    entity_connections: 3,
    integrations: 2,
    integration_connections: 10,
};

async fn harness(faults: &[&str]) -> Harness {
    let world = World::new(FEW, 1, Timestamp::now());
    let faults = faults.iter().map(|fault| fault.parse().unwrap());
    let harness = Harness::start_failing(world, faults.collect(), ONCE).await;
    harness.ready().await;
    harness
}

async fn html(harness: &Harness) -> String {
    get(harness.address, "/").await
}

/// Waits for a status page at this address that satisfies `what`.
async fn html_when(address: SocketAddr, what: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let html = get(address, "/").await;
        if what(&html) {
            return html;
        }
        assert!(
            Instant::now() < deadline,
            "it did not come: {}",
            text(&html)
        );
    }
}

/// Returns the rows of this table.
fn rows<'a>(html: &'a str, table: &str) -> &'a str {
    let body = &html[html.find(&format!("id=\"{table}-rows\"")).unwrap()..];
    &body[..body.find("</tbody>").unwrap()]
}

/// Returns the text of the row of this table whose heading is `heading`.
fn row(html: &str, table: &str, heading: &str) -> String {
    let body = rows(html, table);
    let mut rows = body.split("<tr").skip(1);
    let heading = format!("<th scope=\"row\"><bdi>{heading}</bdi></th>");
    let row = rows.find(|row| row.contains(&heading));
    let row = row.unwrap_or_else(|| panic!("no row {heading} in {body}"));
    text(&format!("<tr{row}"))
}

/// Returns the text of HTML, with a space in place of each tag.
fn text(html: &str) -> String {
    let parts = html
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let words = parts.collect::<Vec<_>>().join(" ");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn it_says_of_each_target_how_it_is_and_what_to_do() {
    let harness = harness(&["kind=refuse&endpoint=connections_all&target=acme_shopify"]).await;
    let html = html(&harness).await;
    let page = text(&html);
    assert!(page.contains("4 targets: 3 up , 1 failing"), "{page}");
    let failing = row(&html, "targets", "acme_shopify");
    for part in [
        "failing since ",
        " 1 poll acme_shopify zis acme in ",
        "forbidden connections_all: HTTP 403 (vendor code Forbidden), request id 0",
        "To do: the credential lacks a permission or a scope: grant it, or use another one.",
    ] {
        assert!(failing.contains(part), "{part} is not in {failing}");
    }
    let up = row(&html, "targets", "acme_slack");
    let known =
        "up acme_slack zis acme 10 4 oauth, 2 api_key, 2 basic_auth, 2 bearer_token 1 missing ";
    assert!(up.starts_with(known), "{up}");
    // The row ends with the time until the next poll, an hour after the last.
    let soon = ["in 1 h", "in 59 min", "in 58 min", "in 57 min"];
    assert!(soon.iter().any(|soon| up.ends_with(soon)), "{up}");
    let up = row(&html, "targets", "Global");
    assert!(
        up.contains("outbound connected") && up.contains("inbound connected"),
        "{up}"
    );
}

#[tokio::test]
async fn a_target_is_not_polled_yet_then_up_then_failing_and_at_last_its_listing_is_dropped() {
    let sizes = Sizes {
        entities: 0,
        integrations: 1,
        ..FEW
    };
    let begins = |words: &'static str| {
        move |html: &str| row(html, "targets", "acme_slack").starts_with(words)
    };
    let fails: Fault = "kind=500&endpoint=connections_all".parse().unwrap();
    let hang = "kind=hang&endpoint=connections_all".parse().unwrap();
    let world = || World::new(sizes, 1, Timestamp::now());
    let harness = Harness::start_failing(world(), vec![hang], OFTEN).await;
    html_when(
        harness.address,
        begins("not polled yet acme_slack zis acme"),
    )
    .await;
    let harness = Harness::start_with(world(), OFTEN, ServerLimits::default()).await;
    let up = html_when(harness.address, begins("up acme_slack")).await;
    harness.simulator.fail(fails.clone());
    let failing = html_when(harness.address, begins("failing since")).await;
    // Another harness, because with this short `stale_after` the state "failing" could be missed.
    let brief = OFTEN.replace("stale_after: 1h", "stale_after: 3s");
    let harness = Harness::start_with(world(), &brief, ServerLimits::default()).await;
    html_when(harness.address, begins("up acme_slack")).await;
    harness.simulator.fail(fails);
    let stale = html_when(harness.address, begins("stale failing since")).await;
    for (html, listed) in [(up, true), (failing, true), (stale, false)] {
        let row = row(&html, "targets", "acme_slack");
        assert_eq!(row.contains(" 10 4 oauth"), listed, "{row}");
        let unknown = html.contains("Of 1 target nothing is known now.");
        assert_eq!(unknown, !listed, "{row}");
    }
}

#[tokio::test]
async fn it_says_what_is_missing_or_not_connected_and_when_tokens_end() {
    let mut world = World::new(FEW, 1, Timestamp::now());
    world.tenant.connections.truncate(1);
    "Disconnected".clone_into(&mut world.tenant.connections[0].status);
    let edge = world.tenant.connections[0].id.clone();
    let harness = Harness::start_with(world, ONCE, ServerLimits::default()).await;
    harness.ready().await;
    let html = html(&harness).await;
    assert!(text(&html).contains("1 expected connection missing, 1 connection not connected"));
    assert_eq!(
        row(&html, "worries", "zendesk"),
        "missing zendesk zis acme acme_slack"
    );
    assert_eq!(
        rows(&html, "worries").matches(&edge).count(),
        1,
        "both ends are polled"
    );
    let worry = row(&html, "worries", &edge);
    assert!(
        worry.starts_with(&format!(
            "disconnected {edge} Global and Germany zuora production"
        )),
        "{worry}"
    );
    let ends: Vec<_> = rows(&html, "tokens")
        .split("datetime=\"")
        .skip(1)
        .map(|rest| {
            rest.split('"')
                .next()
                .unwrap()
                .parse::<Timestamp>()
                .unwrap()
        })
        .collect();
    assert!(ends.len() == 8 && ends.is_sorted(), "{ends:?}");
    let slack = row(&html, "tokens", "slack");
    assert!(
        slack.contains("when used: a refresh token is stored oauth zis acme acme_s"),
        "{slack}"
    );
    let calendar = row(&html, "tokens", "calendar_7");
    assert!(
        calendar.starts_with("in 1") && calendar.contains(" h "),
        "{calendar}"
    );
    assert!(
        calendar.contains("not seen, and no refresh token is stored"),
        "{calendar}"
    );
}

#[tokio::test]
async fn it_says_what_each_account_may_ask_and_that_it_is_paused() {
    let harness = Harness::start_limited(FEW, 500, ONCE).await;
    harness.ready().await;
    let page = html(&harness).await;
    let account = row(&page, "accounts", "acme");
    let budget = "acme zis 2 60,000/min 0 % none 498 of 500 left window of 60 s, whole in ";
    assert!(account.starts_with(budget), "{account}");

    let slow = "kind=429&endpoint=connections_all&retry_after=600";
    let world = World::new(FEW, 1, Timestamp::now());
    let harness = Harness::start_failing(world, vec![slow.parse().unwrap()], ONCE).await;
    let paused = |html: &str| row(html, "accounts", "acme").contains("paused ends in ");
    let account = row(
        &html_when(harness.address, paused).await,
        "accounts",
        "acme",
    );
    assert!(account.contains("30,000/min, after a 429"), "{account}");
}

#[tokio::test]
async fn an_account_whose_targets_were_never_listed_says_so() {
    let nobody = "http://127.0.0.1:9";
    let text_of = format!(
        "poll:\n{ONCE}zuora:\n  - account: a\n    base_url: {nobody}\n    client_id: i\n    \
            client_secret_env: S\n"
    );
    let (address, _end) = serve_text(&text_of).await;
    let failed = |html: &str| row(html, "accounts", "a").contains("unreachable");
    let page = html_when(address, failed).await;
    assert!(text(&page).contains("The targets of 1 account are not known yet"));
    let account = row(&page, "accounts", "a");
    assert!(account.contains("not known yet"), "{account}");
    assert!(
        account.contains("To do: check the network, the proxy and base_url."),
        "{account}"
    );
}

#[tokio::test]
async fn it_names_the_configuration_file_and_the_size_of_the_last_page() {
    let harness = Harness::start(FEW, ONCE).await;
    let folder = configured_in_files(&harness, "1s");
    let daemon = daemon_in(folder.path(), &[]).await;
    let page = text(&get(daemon.address, "/").await);
    assert!(page.contains("Metrics page not served whole yet"), "{page}");
    page_when(daemon.address, |_| true).await;
    let page = text(&get(daemon.address, "/").await);
    let file = folder.path().join("config.yaml");
    for part in [
        format!("Configuration {} , loaded at the start,", file.display()),
        format!("Version {}, revision ", env!("CARGO_PKG_VERSION")),
        "Up for ".to_owned(),
        " series, ".to_owned(),
        ", when last served".to_owned(),
    ] {
        assert!(page.contains(&part), "{part} is not in {page}");
    }
}

#[tokio::test]
async fn after_a_restart_listings_are_called_restored_and_failures_began_when_they_did() {
    let harness = harness(&["kind=refuse&endpoint=connections_all&target=acme_shopify"]).await;
    let folder = configured_in_files(&harness, "1h");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let arguments = ["--state.dir", state.to_str().unwrap()];
    let up = |page: &str| page.matches("target_up{").count() == 4;
    let since = |html: &str| {
        let row = row(html, "targets", "acme_shopify");
        let since = row.split_once("failing since ").map(|(_, since)| since);
        since.unwrap().split(" UTC").next().unwrap().to_owned()
    };
    let mut daemon = daemon_in(folder.path(), &arguments).await;
    page_when(daemon.address, up).await;
    let before = since(&get(daemon.address, "/").await);
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
    let daemon = daemon_in(folder.path(), &arguments).await;
    page_when(daemon.address, up).await;
    let page = get(daemon.address, "/").await;
    assert!(
        text(&page).contains("4 targets: 3 restored , 1 failing"),
        "{page}"
    );
    let target = row(&page, "targets", "acme_slack");
    let restored = "restored from the state directory acme_slack zis acme 10";
    assert!(target.starts_with(restored), "{target}");
    assert_eq!(since(&page), before);
}

#[tokio::test]
async fn names_are_text_whatever_they_look_like() {
    let mut world = World::new(FEW, 1, Timestamp::now());
    world.integrations[0].connections[0].name = "<script>alert(1)</script>".to_owned();
    world.integrations[0].connections[2].name = "\u{202e}\u{1b}[31m".to_owned();
    world.tenant.entities[0].name = "</td><img src=x onerror='alert(1)'>".to_owned();
    let harness = Harness::start_with(world, ONCE, ServerLimits::default()).await;
    harness.ready().await;
    let html = html(&harness).await;
    assert_eq!(html.matches("<script").count(), 1, "the page's own");
    for never in ["<img", "alert(1)'", "\u{202e}", "\u{1b}"] {
        assert!(!html.contains(never), "{never:?}");
    }
    for shown in [
        "&#60;script&#62;alert(1)&#60;/script&#62;",
        "<bdi>\\u{202e}\\u{1b}[31m</bdi>",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
}

#[tokio::test]
async fn its_headers_allow_its_own_style_and_script_and_nothing_else() {
    let harness = harness(&[]).await;
    let answer = harness.get("/").await;
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    let policy = header(answer.headers(), "content-security-policy");
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(answer.headers(), "referrer-policy"), "no-referrer");
    assert_eq!(header(answer.headers(), "cache-control"), "no-store");
    let html = answer.text().await.unwrap();
    let from_outside = [
        "src=", "<link", "@import", "url(", "http:", "https:", " style=", " onclick",
    ];
    for outside in from_outside {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn with_gzip_it_is_the_same_page_and_a_head_has_its_headers() {
    let harness = harness(&[]).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .build()
        .unwrap();
    let url = format!("http://{}/", harness.address);
    let gzip = client
        .get(&url)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    let packed = gzip.bytes().await.unwrap();
    let mut page = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut page)
        .unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(
        packed.len() * 2 < page.len(),
        "{} of {}",
        packed.len(),
        page.len()
    );
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "text/html; charset=utf-8");
    assert!(head.headers().contains_key("content-security-policy"));
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn of_very_many_tokens_the_nearest_to_their_end_are_shown_and_the_rest_counted() {
    let sizes = Sizes {
        entities: 0,
        integrations: 1,
        integration_connections: 2000,
        ..FEW
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let page = html(&harness).await;
    let all = harness
        .page()
        .await
        .samples(&["token_expires_in_seconds{"])
        .len();
    assert!(all > 400, "{all}");
    assert_eq!(rows(&page, "tokens").matches("<tr>").count(), 200);
    assert!(text(&page).contains(&format!("The first 200 of {all} are shown")));
}
