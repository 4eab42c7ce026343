//! The command `check`, which an operator runs before starting the daemon.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use connections_simulator::{Fault, Kind, Sizes};

use crate::daemon::{configured_in_files, exporter};
use crate::harness::{Harness, ONCE};

async fn check(harness: &Harness, arguments: &[&str]) -> (i32, String, String) {
    let folder = configured_in_files(harness, "1h");
    let file = folder.path().join("config.yaml").display().to_string();
    let mut command = exporter(&["check", "--config.file", &file]);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[tokio::test]
async fn every_target_is_polled_once_and_shown_with_totals() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let before = harness.simulator.requests("connections_all");
    let (code, said, problems) = check(&harness, &[]).await;
    // The simulator's configuration expects one connection that does not exist.
    let missing = "1 expected connection is missing\n";
    assert_eq!((code, problems.as_str()), (1, missing), "{said}");
    assert_eq!(harness.simulator.requests("connections_all") - before, 3);
    // A heading, seven targets and the totals.
    assert_eq!(said.lines().count(), 9, "{said}");
    assert!(
        said.lines()
            .all(|line| !line.ends_with(' ') && !line.contains('\u{1b}'))
    );
    let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap();
    let slack: Vec<_> = line("acme_slack").split_whitespace().collect();
    assert_eq!(
        slack[..4],
        ["zis", "acme", "acme_slack", "listed,"],
        "{said}"
    );
    assert!(line("acme_slack").contains("misses zendesk"), "{said}");
    assert!(line("acme_slack").contains("4 oauth"), "{said}");
    let total: Vec<_> = line("total").split_whitespace().collect();
    assert_eq!(total[..6], ["total", "7", "0", "failed,", "1", "missing"]);
    let column = |line: &str, text: &str| line.find(text).unwrap();
    let heading = said.lines().next().unwrap();
    assert_eq!(
        column(heading, "TARGET"),
        column(line("acme_slack"), "acme_slack")
    );
}

#[tokio::test]
async fn what_makes_it_fail_can_be_chosen() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let (code, said, problems) = check(&harness, &["--fail-on=unlisted"]).await;
    assert_eq!((code, problems.as_str()), (0, ""), "{said}");
    harness.simulator.fail(Fault {
        target: Some("acme_shopify".to_owned()),
        ..Fault::new(Kind::Refuse)
    });
    let (code, said, problems) = check(&harness, &[]).await;
    let both = "not every target could be listed, 1 expected connection is missing\n";
    assert_eq!((code, problems.as_str()), (1, both), "{said}");
    let (code, said, problems) = check(&harness, &["--fail-on=missing"]).await;
    let missing = "1 expected connection is missing\n";
    assert_eq!((code, problems.as_str()), (1, missing), "{said}");
}

/// Writes a configuration with one request every ten seconds for each account.
///
/// The first response therefore arrives before the second request.
fn slow_budget(harness: &Harness) -> tempfile::TempDir {
    let folder = configured_in_files(harness, "1h");
    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let slow = text.replace("requests_per_minute: 60000", "requests_per_minute: 6");
    let slow = slow.replace("poll:\n", "poll:\n  request_timeout: 5s\n");
    assert_eq!(slow.matches(": 6\n").count(), 2, "{text}");
    fs::write(file, slow).unwrap();
    folder
}

#[tokio::test]
async fn a_paused_account_is_told_at_once_and_its_other_targets_count_as_rate_limited() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    harness
        .simulator
        .fail("kind=429&retry_after=3600".parse().unwrap());
    let folder = slow_budget(&harness);
    let file = folder.path().join("config.yaml").display().to_string();
    let mut command = exporter(&["check", "--timeout=10m", "--config.file", &file]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = [(); 2].map(|()| lines.next().unwrap().unwrap());
        let goes_on = child.try_wait().unwrap().is_none();
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (first, goes_on, rest, output.status.code(), said)
    });
    let (mut first, goes_on, rest, code, said) = run.await.unwrap();
    assert!(goes_on, "it waits for requests that were under way");
    first.sort();
    let paused = "the vendor refuses more requests (429): the account is paused until 2";
    for (line, account) in first.iter().zip(["zis acme: ", "zuora production: "]) {
        assert!(line.starts_with(&format!("{account}{paused}")), "{line}");
    }
    assert_eq!(rest, ["not every target could be listed"]);
    assert_eq!(code, Some(1));
    // Each account got a response to its first request only.
    assert!(said.contains("zis acme acme_"), "{said}");
    assert_eq!(
        said.matches("rate_limited (HTTP 429)\n").count(),
        2,
        "{said}"
    );
    let unreached = "rate_limited\n  not polled: the vendor pauses the account until 2";
    assert_eq!(said.matches(unreached).count(), 2, "{said}");
}

#[tokio::test]
async fn what_was_not_reached_in_time_counts_as_failed() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = slow_budget(&harness);
    let file = folder.path().join("config.yaml").display().to_string();
    // Within one second, each account can send at most one request.
    let mut command = exporter(&["check", "--timeout=1s", "--config.file", &file]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            ": timeout\n  not polled within the time of this check\n  To do: raise --timeout"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn a_failure_comes_with_what_to_do_and_ends_with_1() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    harness.simulator.fail(Fault {
        target: Some("acme_slack".to_owned()),
        ..Fault::new(Kind::Refuse)
    });
    let (code, said, problems) = check(&harness, &[]).await;
    assert_eq!(
        (code, problems.as_str()),
        (1, "not every target could be listed\n")
    );
    assert!(
        said.contains("zis acme acme_slack: forbidden (HTTP 403)\n"),
        "{said}"
    );
    assert!(
        said.contains("(vendor code Forbidden)") && said.contains("request id is"),
        "{said}"
    );
    assert!(
        said.contains("To do: the credential lacks a permission"),
        "{said}"
    );

    let (code, said, _) = check(&harness, &["--format=json"]).await;
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let targets = report["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 7);
    let failed: Vec<_> = targets
        .iter()
        .filter(|target| !target["failure"].is_null())
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["failure"]["reason"], "forbidden");
}

#[tokio::test]
async fn an_account_whose_targets_cannot_be_listed_is_a_failure_and_not_the_end_of_the_others() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    harness.simulator.fail(Fault {
        endpoint: Some("entities".to_owned()),
        ..Fault::new(Kind::InternalServerError)
    });
    let (code, said, _) = check(&harness, &[]).await;
    assert_eq!(code, 1);
    assert!(
        said.contains("zuora production: its targets could not be listed: server_error"),
        "{said}"
    );
    assert_eq!(said.matches("zis ").count(), 3, "{said}");
}

#[tokio::test]
async fn whoever_has_read_enough_of_a_report_may_go() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&harness, "1h");
    let file = folder.path().join("config.yaml").display().to_string();
    for arguments in [
        &["check", "--fail-on=unlisted", "--config.file"][..],
        &["--config.check", "--config.file"],
    ] {
        let mut command = exporter(arguments);
        command.args([&file, "--log.level=error"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let Output { status, stderr, .. } = output.await.unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{status}: {said}");
        assert_eq!(said, "");
    }
}
