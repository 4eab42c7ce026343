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

/// Returns the rows of this table, or of the tables of all groups.
fn rows<'a>(html: &'a str, table: &str) -> &'a str {
    let (begin, end) = match table {
        "targets" => ("id=\"targets\"".to_owned(), "</section>"),
        _ => (format!("id=\"{table}-rows\""), "</tbody>"),
    };
    let body = &html[html.find(&begin).unwrap()..];
    &body[..body.find(end).unwrap()]
}

/// Returns the dates in the rows of this table, from top to bottom.
fn dates(html: &str, table: &str) -> Vec<Timestamp> {
    let dates = rows(html, table).split("datetime=\"").skip(1);
    let dates = dates.map(|rest| rest.split('"').next().unwrap());
    dates.map(|date| date.parse().unwrap()).collect()
}

/// Returns the text of the row of this table whose heading is `heading`.
fn row(html: &str, table: &str, heading: &str) -> String {
    let body = rows(html, table);
    let mut rows = body.split("<tr").skip(1);
    let is_heading = |row: &&str| {
        let cell = row.split("<th scope=\"row\">").nth(1);
        let cell = cell.and_then(|cell| cell.split("</th>").next());
        cell.is_some_and(|cell| cell.contains(&format!("<bdi>{heading}</bdi>")))
    };
    let row = rows.find(is_heading);
    let row = row.unwrap_or_else(|| panic!("no row {heading} in {body}"));
    text(&format!("<tr{}", row.split("</tr>").next().unwrap()))
}

/// Returns the text of the part of the page with this id, up to the end of its section.
fn part(html: &str, id: &str) -> String {
    let part = &html[html.find(&format!("id=\"{id}\"")).unwrap()..];
    text(&format!("<p {}", part.split("</section>").next().unwrap()))
}

/// Returns the group of this account, with its tag.
fn group<'a>(html: &'a str, name: &str) -> &'a str {
    let tag = format!("<details class=\"group\" data-g=\"{name}\"");
    let group = &html[html.find(&tag).unwrap()..];
    group.split("</details>").next().unwrap()
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
    assert!(page.contains("4 targets 0 stale 1 failing 3 up "), "{page}");
    let failing = row(&html, "targets", "acme_shopify");
    for part in [
        "failing acme_shopify in ",
        " forbidden Failing since ",
        " 1 poll). connections_all: HTTP 403 (vendor code Forbidden), request id 0",
        "To do: the credential lacks a permission or a scope: grant it, or use another one.",
    ] {
        assert!(failing.contains(part), "{part} is not in {failing}");
    }
    let acme = text(group(&html, "zis/acme"));
    assert!(acme.starts_with("acme zis 1 failing 1 up "), "{acme}");
    let up = row(&html, "targets", "acme_slack");
    let known = "up acme_slack 10 1 missing 4 oauth, 2 api_key, 2 basic_auth, 2 bearer_token ";
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
    html_when(harness.address, begins("not polled yet acme_slack")).await;
    let harness = Harness::start_with(world(), OFTEN, ServerLimits::default()).await;
    let up = html_when(harness.address, begins("up acme_slack")).await;
    harness.simulator.fail(fails.clone());
    let failing = html_when(harness.address, begins("failing acme_slack")).await;
    // Another harness, because with this short `stale_after` the state "failing" could be missed.
    let brief = OFTEN.replace("stale_after: 1h", "stale_after: 3s");
    let harness = Harness::start_with(world(), &brief, ServerLimits::default()).await;
    html_when(harness.address, begins("up acme_slack")).await;
    harness.simulator.fail(fails);
    let stale = html_when(harness.address, begins("stale acme_slack")).await;
    for (html, listed) in [(up, true), (failing, true), (stale, false)] {
        let row = row(&html, "targets", "acme_slack");
        assert_eq!(row.contains(" 10 1 missing 4 oauth"), listed, "{row}");
        assert_eq!(
            row.contains("no longer exported. Failing since"),
            !listed,
            "{row}"
        );
        let unknown = html.contains("1 target without a current listing: nothing is known");
        assert_eq!(unknown, !listed, "{row}");
        let unknown = part(&html, "tokens").contains("Nothing is known of the tokens of 1 target.");
        assert_eq!(unknown, !listed, "{row}");
        for tile in ["– not connected", "– tokens to replace in 30 days"] {
            assert_eq!(text(&html).contains(tile), !listed, "{tile}: {row}");
        }
    }
}

#[tokio::test]
async fn it_says_what_is_missing_or_not_connected_and_when_tokens_end() {
    let mut world = World::new(FEW, 1, Timestamp::now());
    world.tenant.connections.truncate(1);
    "Disconnected".clone_into(&mut world.tenant.connections[0].status);
    let edge = world.tenant.connections[0].id.clone();
    let harness = Harness::start_with(world, OFTEN, ServerLimits::default()).await;
    harness.ready().await;
    // Once the grants are known. Both integrations have such tokens.
    let html = html_when(harness.address, |html| dates(html, "issues").len() >= 4).await;
    assert!(text(&html).contains("2 1 missing, 1 not connected"));
    assert!(part(&html, "issues").contains("1 missing 1 disconnected"));
    assert_eq!(
        row(&html, "issues", "zendesk"),
        "missing zendesk acme_slack acme zis create it at the vendor, or correct expect in the \
            configuration. Runbook ExpectedConnectionMissing"
    );
    assert_eq!(
        rows(&html, "issues").matches(&edge).count(),
        1,
        "both ends are polled"
    );
    let issue = row(&html, "issues", &edge);
    assert!(
        issue.starts_with(&format!(
            "disconnected {edge} Global and Germany Germany production zuora "
        )),
        "{issue}"
    );
    let ends = dates(&html, "tokens");
    assert!(ends.len() == 8 && ends.is_sorted(), "{ends:?}");
    let kinds: Vec<_> = rows(&html, "issues").match_indices("data-v=\"").collect();
    let ranks: Vec<_> = kinds
        .iter()
        .map(|(at, found)| &rows(&html, "issues")[at + found.len()..][..1])
        .collect();
    assert!(
        ranks.is_sorted() && ranks.contains(&"0") && ranks.contains(&"4"),
        "errors come first: {ranks:?}"
    );
    let target = row(&html, "targets", "acme_slack");
    assert!(
        target.contains(" 10 1 missing 2 tokens to replace 4 oauth"),
        "{target}"
    );
    let unrenewed = dates(&html, "issues");
    assert!(unrenewed.is_sorted(), "the nearest is first: {unrenewed:?}");
    let slack = row(&html, "tokens", "slack");
    assert!(
        slack.contains("when used: a refresh token is stored oauth acme_s"),
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
    let budget = "acme zis 2 60,000/min 0 % none 498 of 500 left window of 60 s, resets in ";
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
    assert!(
        page.contains("Metrics page no scrape of the whole page yet"),
        "{page}"
    );
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
        let since = row.split_once("Failing since ").map(|(_, since)| since);
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
        text(&page).contains("4 targets 0 stale 1 failing 3 restored 0 up"),
        "{page}"
    );
    assert!(text(&page).contains("Restored: the listing comes from the state directory"));
    let target = row(&page, "targets", "acme_slack");
    assert!(target.starts_with("restored acme_slack 10"), "{target}");
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
    // A link to a runbook loads nothing.
    let runbooks = "https://github.com/connections-exporter/connections-exporter/blob/main/docs/";
    let link = format!("href=\"{runbooks}runbooks/");
    assert!(html.contains(&link));
    let html = html.replace(&link, "");
    let from_outside = [
        "src=", "<link", "@import", "url(", "http:", "https:", " style=", " onclick",
    ];
    for outside in from_outside {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn what_needs_attention_comes_first_once_for_each_cause_with_remedy_and_runbook() {
    let sizes = Sizes {
        integrations: 30,
        ..FEW
    };
    let world = World::new(sizes, 1, Timestamp::now());
    let faults = [
        "kind=refuse&endpoint=connections_all",
        "kind=503&endpoint=entity_connections",
    ];
    let faults = faults.map(|fault| fault.parse().unwrap()).to_vec();
    let harness = Harness::start_failing(world, faults, ONCE).await;
    harness.ready().await;
    let html = html(&harness).await;
    let problems = part(&html, "problems");
    for part in [
        "failing forbidden 30 targets of acme zis since ",
        " and 24 more ",
        "To do: the credential lacks a permission or a scope: grant it, or use another one. \
            Runbook ConnectionsTargetForbidden",
        "failing server_error 2 targets of production zuora since ",
    ] {
        assert!(problems.contains(part), "{part} is not in {problems}");
    }
    let place = |text: &str, what: &str| text.find(what).unwrap();
    assert!(place(&problems, "30 targets of") < place(&problems, "2 targets of"));
    assert!(place(&html, "id=\"problems\"") < place(&html, "id=\"targets\""));
    let runbook = "/docs/runbooks/ConnectionsTargetForbidden.md\">forbidden</a>";
    assert!(rows(&html, "targets").contains(runbook));
    // The card says it all, so the group is closed, and the card leads to it.
    let all = "<a href=\"?q=acme&#38;state=failing#targets-title\">24 more</a>";
    assert!(html.contains(all), "{problems}");
    let tag = group(&html, "zis/acme").split('>').next().unwrap();
    assert!(!tag.contains(" open"), "{tag}");
}

#[tokio::test]
async fn groups_open_on_failure_and_names_are_in_natural_order() {
    let sizes = Sizes {
        integrations: 30,
        ..FEW
    };
    let world = World::new(sizes, 1, Timestamp::now());
    let fault = "kind=refuse&endpoint=connections_all&target=acme_shopify";
    let faults = vec![fault.parse().unwrap()];
    let harness = Harness::start_failing(world, faults, ONCE).await;
    harness.ready().await;
    let page = html(&harness).await;
    let shown = |page: &str, name: &str| {
        let tag = group(page, name).split('>').next().unwrap();
        (tag.contains(" open"), !tag.contains(" hidden"))
    };
    assert_eq!(shown(&page, "zis/acme"), (true, true));
    assert_eq!(shown(&page, "zuora/production"), (false, true));
    let names = group(&page, "zis/acme").split("<th scope=\"row\">").skip(1);
    let names: Vec<_> = names
        .map(|cell| text(&format!("<th>{}", cell.split("</th>").next().unwrap())))
        .collect();
    assert_eq!(names[0], "acme_shopify", "the worst comes first");
    let place = |end: &str| names.iter().position(|name| name.ends_with(end)).unwrap();
    assert!(
        place("slack_5") < place("slack_10") && place("slack_25") < place("survey_9"),
        "{names:?}"
    );

    // The filter in the address works without scripts.
    let page = get(harness.address, "/?q=&state=up").await;
    assert_eq!(shown(&page, "zuora/production"), (true, true));
    assert_eq!(shown(&page, "zis/acme"), (true, true));
    assert_eq!(rows(&page, "targets").matches(" hidden>").count(), 1);
    let page = get(harness.address, "/?q=+PRODuction&state=up").await;
    assert_eq!(shown(&page, "zuora/production"), (true, true));
    assert_eq!(shown(&page, "zis/acme"), (false, false));
    let page = get(harness.address, "/?state=failing").await;
    assert_eq!(shown(&page, "zuora/production"), (false, false));
    assert!(page.contains("data-state=\"failing\" aria-current=\"true\""));
    let page = get(harness.address, "/?state=stale").await;
    assert!(page.contains("No target matches the filter."));
    let page = get(harness.address, "/?state=nonsense").await;
    assert_eq!(shown(&page, "zuora/production"), (false, true));
    assert!(
        page.contains("asks for a state that does not exist, so targets in any state are shown")
    );
}

#[tokio::test]
async fn a_target_has_a_page_with_its_connections_and_recent_polls() {
    let mut world = World::new(FEW, 1, Timestamp::now());
    world.tenant.entities[0].name = "A&B \"é\" 50%".to_owned();
    let harness = Harness::start_with(world, ONCE, ServerLimits::default()).await;
    harness.ready().await;
    let page = html(&harness).await;
    let link = |heading: &str| {
        let mut rows = rows(&page, "targets").split("<tr");
        let row = rows.find(|row| row.contains(heading)).unwrap();
        let href = row.split("<a href=\"").nth(1).unwrap();
        let href = href.split('"').next().unwrap();
        format!("/{}", href.replace("&#38;", "&"))
    };
    let slack = get(harness.address, &link("<bdi>acme_slack</bdi>")).await;
    let words = text(&slack);
    assert!(
        words.contains("All targets › zis › acme acme_slack up "),
        "{words}"
    );
    assert_eq!(rows(&slack, "connections").matches("<tr>").count(), 10);
    let calendar = row(&slack, "connections", "calendar_7");
    assert!(
        calendar.contains("not known: short-lived, of an unknown grant"),
        "{calendar}"
    );
    // Integrations have no statuses, and entities no tokens.
    let heads = |page: &str| {
        let head = page.split("class=\"connections").nth(1).unwrap();
        text(head.split("</thead>").next().unwrap())
    };
    let all = heads(&slack);
    assert!(
        all.contains("Token expires Renewal") && !all.contains("Status"),
        "{all}"
    );
    let top = part(&slack, "target");
    assert!(
        top.contains("missing expected, but not listed: zendesk To do: "),
        "{top}"
    );
    let poll = rows(&slack, "polls");
    assert!(
        poll.matches("<tr>").count() == 1 && text(poll).ends_with(" ms"),
        "{poll}"
    );
    assert!(part(&slack, "events").contains("No change of a connection was seen so far."));
    let entity = get(harness.address, &link("50%")).await;
    let all = heads(&entity);
    assert!(
        all.contains("Status First seen") && !all.contains("Renewal"),
        "{all}"
    );
    let entity = part(&entity, "connections");
    assert!(entity.contains(" outbound connected"), "{entity}");
}

#[tokio::test]
async fn the_page_of_a_target_has_the_same_headers_and_an_unknown_one_is_not_found() {
    let harness = harness(&[]).await;
    let path = "/target?system=zis&account=acme&target=acme_slack";
    let answer = harness.get(path).await;
    assert_eq!(answer.status(), 200);
    let status = harness.get("/").await;
    for name in [
        "content-security-policy",
        "cache-control",
        "referrer-policy",
        "content-type",
    ] {
        assert_eq!(answer.headers()[name], status.headers()[name], "{name}");
    }
    for query in [
        "",
        "?system=zis&account=acme",
        "?system=zis&account=acme&target=nobody",
        "?system=zuora&account=acme&target=acme_slack",
    ] {
        let answer = harness.get(&format!("/target{query}")).await;
        assert_eq!(answer.status(), 404, "{query}");
        let said = answer.text().await.unwrap();
        assert!(
            text(&said).contains("There is no such target The address needs"),
            "{said}"
        );
        assert!(said.contains("<a href=\"./\">All targets</a>"), "{said}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", harness.address);
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.headers().contains_key("content-security-policy"));
    assert!(head.bytes().await.unwrap().is_empty());
    let posted = client.post(&url).send().await.unwrap();
    assert_eq!(posted.status(), 405);
}

#[tokio::test]
async fn a_failed_poll_is_among_the_recent_polls_of_its_target() {
    let sizes = Sizes {
        entities: 0,
        integrations: 1,
        ..FEW
    };
    let harness = Harness::start(sizes, OFTEN).await;
    harness.ready().await;
    let fault = "kind=500&endpoint=connections_all";
    harness.simulator.fail(fault.parse().unwrap());
    let path = "/target?system=zis&account=acme&target=acme_slack";
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = get(harness.address, path).await;
        if rows(&page, "polls").contains("server_error") {
            break page;
        }
        let page = text(&page);
        assert!(Instant::now() < deadline, "it did not come: {page}");
    };
    let latest = text(rows(&page, "polls").split("<tr>").nth(1).unwrap());
    assert!(latest.contains(" failed server_error "), "{latest}");
    assert!(page.contains(" polls failed") && page.contains("<path class=\"bad\""));
    assert!(text(&page).contains("To do: the vendor failed: the next poll tries again"));
}

#[tokio::test]
async fn the_timeline_has_each_day_on_which_a_token_expires() {
    let harness = harness(&[]).await;
    let page = html(&harness).await;
    let tokens = part(&page, "tokens");
    assert!(tokens.contains(" within 30 days"), "{tokens}");
    let bars = page.split("<svg class=\"timeline\"").nth(1).unwrap();
    let bars = bars.split("</svg>").next().unwrap();
    assert!(
        bars.contains("<rect class=\"renews\"") && bars.contains(">today</text>"),
        "{bars}"
    );
    let days = page.split("<table class=\"days\"").nth(1).unwrap();
    let days = days.split("</table>").next().unwrap();
    let counted: usize = days
        .split("</th><td>")
        .skip(1)
        .map(|cell| cell.split('<').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(counted, rows(&page, "tokens").matches("<tr>").count());
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
